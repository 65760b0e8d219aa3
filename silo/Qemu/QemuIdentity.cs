using System.Globalization;
using CliWrap;
using Instances.Library;

namespace Instances.Qemu;

/// <summary>The user of one machine's QEMU: its own user if the silo is root, else the silo's user.</summary>
/// <param name="User">Null for the silo's own user.</param>
/// <param name="KvmGroup">The group that may open <c>/dev/kvm</c>, if QEMU needs it for that. Never root's.</param>
internal sealed record QemuIdentity(UnixUser? User, uint? KvmGroup = null)
{
    public static QemuIdentity SiloUser { get; } = new(User: null);

    /// <summary>The prefix of a command line that makes the program run as this user, without a way to become another.</summary>
    public IReadOnlyList<string> Prefix() =>
    [
        "setpriv",
        .. User is { } user
            ? (string[])["--reuid", Text(user.UserId), "--regid", Text(user.GroupId), .. Groups(), "--inh-caps=-all", "--bounding-set=-all"]
            : [],
        "--no-new-privs",
        "--",
    ];

    /// <summary>Lets only this user write to a layer.</summary>
    public void OwnLayer(string path)
    {
        if (User is { } user) UnixFiles.Give(path, user, UnixFiles.PrivateMode);
        else File.SetUnixFileMode(path, UnixFiles.PrivateMode);
    }

    /// <summary>Lets only this user read a file.</summary>
    public void Read(string path)
    {
        if (User is { } user) UnixFiles.Give(path, user, UnixFileMode.UserRead);
    }

    /// <summary>Checks as this user whether a folder can be passed through. The kernel's answer includes access lists and mounts.</summary>
    public async Task<bool> PassesThrough(string folder, CancellationToken cancellationToken)
    {
        var prefix = Prefix();
        var result = await Cli.Wrap(prefix[0])
            .WithArguments([.. prefix.Skip(1), "test", "-x", folder])
            .WithValidation(CommandResultValidation.None)
            .ExecuteAsync(cancellationToken);
        return result.ExitCode == 0;
    }

    private string[] Groups() => KvmGroup is { } kvm ? ["--groups", Text(kvm)] : ["--clear-groups"];

    private static string Text(uint id) => id.ToString(CultureInfo.InvariantCulture);
}
