using System.Text.Json.Serialization;

namespace Instances.Library;

/// <summary>Which database a library's folder belongs to. Stands in both: in the folder beside the manifests, and in the library's record.</summary>
/// <remarks>
/// Without it an empty database, or an old one from a backup, would make every image of the folder somebody's leftover, and the next sweep would take them all.
/// The database's number is raised and stored before the folder's, so that the folder's is never higher than that of its own database.
/// </remarks>
/// <param name="Database">Made when the first library was bound to it.</param>
/// <param name="Number">Raised by every sweep and rebuild. A folder with a higher one than the database's has seen a later state of that database.</param>
public sealed record LibraryBinding(Guid Database, long Number)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData]
    public UnknownMembers? Unknown { get; init; }

    /// <summary>No database's.</summary>
    public static LibraryBinding Unreadable { get; } = new(Guid.Empty, 0);

    /// <summary>Why this folder is not the database's, or null if it is.</summary>
    /// <param name="folder">Null for a folder that was never bound.</param>
    /// <param name="database">Null for a database that was never bound.</param>
    /// <param name="manifests">The images that have manifests in the folder. Where there are none, there is nothing to lose, and the folder is anybody's.</param>
    /// <param name="known">The images that have records.</param>
    public static string? FindStranger(LibraryBinding? folder, LibraryBinding? database, IReadOnlyCollection<ImageId> manifests, IReadOnlySet<ImageId> known) =>
        (folder, database) switch
        {
            _ when IsBound(folder, database) => folder!.Number <= database!.Number ? null
                : $"The library was last used with a later state of this database ({folder.Number}, and the database is at {database.Number}): the database was restored from a backup.",
            _ when manifests.Count == 0 => null,
            (null, _) => manifests.Any(known.Contains) ? null : $"The library has manifests of {manifests.Count} images, and the database knows none of them.",
            _ => $"The library belongs to another database, and has manifests of {manifests.Count} images: the database was lost, or this is the folder of another datacenter.",
        };

    /// <summary>Both are of one database.</summary>
    public static bool IsBound(LibraryBinding? folder, LibraryBinding? database) => folder is not null && folder.Database == database?.Database;
}
