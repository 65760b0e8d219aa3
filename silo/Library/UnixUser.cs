using System.Globalization;

namespace Instances.Library;

/// <summary>A user of this system.</summary>
internal readonly record struct UnixUser(uint UserId, uint GroupId)
{
    public const string RootName = "root";

    public static UnixUser Root { get; } = new(0, 0);

    /// <summary>Finds a local user.</summary>
    /// <returns>Null if there is none of that name.</returns>
    public static UnixUser? Find(string name)
    {
        // name:password:user id:group id:…
        var fields = File.ReadLines("/etc/passwd").Select(line => line.Split(':')).FirstOrDefault(fields => fields.Length >= 4 && fields[0] == name);
        return fields is null
            ? null
            : new(uint.Parse(fields[2], CultureInfo.InvariantCulture), uint.Parse(fields[3], CultureInfo.InvariantCulture));
    }
}
