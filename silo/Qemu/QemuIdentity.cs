using System.Globalization;
using CliWrap;
using CliWrap.Buffered;

namespace Instances.Qemu;

/// <summary>Whom QEMU runs as: an unprivileged user where the silo is root, the silo's own user otherwise.</summary>
internal sealed class QemuIdentity
{
    private readonly uint? _user;
    private readonly uint? _group;
    private readonly uint? _kvmGroup;

    private QemuIdentity(uint? user, uint? group, uint? kvmGroup)
    {
        _user = user;
        _group = group;
        _kvmGroup = kvmGroup;
    }

    public static QemuIdentity SiloUser { get; } = new(null, null, null);

    public static QemuIdentity Of(uint user, uint group, uint? kvmGroup) => new(user, group, kvmGroup);

    public bool IsSiloUser => _user is null;

    /// <summary>Looks a user up; null where there is none of that name.</summary>
    public static async Task<QemuIdentity?> Find(string user, bool withKvm, CancellationToken cancellationToken)
    {
        if (await Id("-u", user, cancellationToken) is not { } userId || await Id("-g", user, cancellationToken) is not { } groupId) return null;
        return Of(userId, groupId, withKvm ? Posix.Statistics(Accelerator.KvmDevice).Group : null);
    }

    /// <summary>What stands before a program's arguments so that it runs as this user, and can never become another.</summary>
    public IReadOnlyList<string> Prefix() =>
    [
        "setpriv",
        .. _user is { } user ? (string[])["--reuid", Text(user), "--regid", Text(_group!.Value), .. Groups()] : [],
        "--no-new-privs",
        "--",
    ];

    /// <summary>Gives a file or folder to this user.</summary>
    public void Own(string path)
    {
        if (_user is { } user) Posix.ChangeOwner(path, user, _group!.Value);
    }

    /// <summary>Lets this user, and nobody else, write to a layer.</summary>
    public void OwnLayer(string path)
    {
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead);
        Own(path);
    }

    /// <summary>Lets this user read a file of the silo's user.</summary>
    public void Share(string path)
    {
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead);
        if (_group is { } group) Posix.ChangeOwner(path, 0, group);
    }

    /// <summary>Asks the kernel, as this user, whether a folder can be reached: that respects every ancestor, access list and mount.</summary>
    public async Task<bool> Reaches(string folder, CancellationToken cancellationToken)
    {
        if (IsSiloUser) return true;
        var prefix = Prefix();
        var result = await Cli.Wrap(prefix[0])
            .WithArguments([.. prefix.Skip(1), "test", "-x", folder])
            .WithValidation(CommandResultValidation.None)
            .ExecuteAsync(cancellationToken);
        return result.ExitCode == 0;
    }

    private string[] Groups() => _kvmGroup is { } kvm ? ["--groups", Text(kvm)] : ["--clear-groups"];

    private static async Task<uint?> Id(string option, string user, CancellationToken cancellationToken)
    {
        var result = await Cli.Wrap("id").WithArguments([option, user]).WithValidation(CommandResultValidation.None).ExecuteBufferedAsync(cancellationToken);
        return result.ExitCode == 0 ? uint.Parse(result.StandardOutput.Trim(), CultureInfo.InvariantCulture) : null;
    }

    private static string Text(uint id) => id.ToString(CultureInfo.InvariantCulture);
}
