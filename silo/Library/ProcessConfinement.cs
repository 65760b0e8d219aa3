using System.Diagnostics;
using System.Globalization;
using Instances.Library.Import;
using Microsoft.Extensions.Options;

namespace Instances.Library;

/// <summary>Confines programs that read untrusted files: always with limits; without network and privileges, and as another user, if this system allows it.</summary>
/// <remarks>
/// Each tool of the chain replaces itself by the next one, so that one process remains. The environment is empty, because a hostile file may take over
/// the program, and this process' environment may contain secrets.
/// </remarks>
internal sealed partial class ProcessConfinement
{
    /// <summary>The path at which a confined program finds its input file. It may also write to it if the file was given to it. It is also the standard input.</summary>
    public const string Source = "/dev/fd/0";

    /// <summary>The path at which a confined program finds its output file.</summary>
    public const string Target = "/dev/fd/3";

    private readonly string[] _network;
    private readonly ILogger<ProcessConfinement> _logger;
    private string[] _user = [];
    private UnixUser? _owner;

    public ProcessConfinement(ILogger<ProcessConfinement> logger)
    {
        _logger = logger;
        string[][] ways = [["unshare", "--net"], ["unshare", "--map-root-user", "--net"]];
        _network = ways.FirstOrDefault(way => Permitted([.. way, "true"])) ?? [];
        if (_network.Length == 0)
            LogWithNetwork();
    }

    /// <summary>Makes confined programs run as another user, if this process is root.</summary>
    /// <exception cref="OptionsValidationException">There is no such user, or this system does not allow to become it.</exception>
    public void Become(string user)
    {
        if (!Environment.IsPrivilegedProcess)
            return;
        if (user == UnixUser.RootName)
        {
            LogPrivileged();
            return;
        }

        if (UnixUser.Find(user) is not { } found)
            throw Refusal($"the user '{user}' of Import:User does not exist. Create that user, or name another one.");
        string[] become =
        [
            "setpriv", $"--reuid={found.UserId}", $"--regid={found.GroupId}", "--clear-groups", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all",
        ];
        if (!Permitted([.. become, "true"]))
            throw Refusal($"no program can be started as the user '{user}' of Import:User. Install util-linux, and let the server keep CAP_SETUID, CAP_SETGID and CAP_SETPCAP.");
        (_user, _owner) = (become, found);
    }

    /// <summary>Lets confined programs work on a file that this process made: they get it as an open file, and cannot reach any folder.</summary>
    public void Give(string path)
    {
        if (_owner is { } owner)
            UnixFiles.Give(path, owner, UnixFiles.PrivateMode, maxLinks: 1);
    }

    /// <summary>What to put before a command.</summary>
    public IReadOnlyList<string> Prefix(ProcessBounds bounds) =>
    [
        "env", "-i", "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL=C",
        "prlimit", $"--as={Number(bounds.MemoryBytes)}", $"--cpu={Number(bounds.CpuSeconds)}", $"--fsize={Number(bounds.FileBytes)}", "--core=0", "--nofile=64",
        .. _network, .. _user, .. BoundedProcess.DieWithParent,
    ];

    /// <summary>What to put before a command that works on files of this process: a shell opens them before it becomes the program, which finds them as
    /// <see cref="Source"/> and <see cref="Target"/>.</summary>
    /// <param name="target">One that was given (<see cref="Give"/>), or null.</param>
    public IReadOnlyList<string> Prefix(ProcessBounds bounds, string source, string? target = null) => target is null
        ? ["/bin/sh", "-c", "exec \"$@\" <\"$0\"", source, .. Prefix(bounds)]
        : ["/bin/sh", "-c", "target=$1; shift; exec \"$@\" <\"$0\" 3<>\"$target\"", source, target, .. Prefix(bounds)];

    private static OptionsValidationException Refusal(string reason) =>
        new("Import", typeof(ImportOptions), [$"Uploads would be checked as root: {reason} Import:User=root accepts the risk."]);

    private static string Number(long value) => value.ToString(CultureInfo.InvariantCulture);

    private static bool Permitted(string[] command)
    {
        try
        {
            var start = new ProcessStartInfo(command[0], command[1..]) { RedirectStandardError = true, RedirectStandardOutput = true };
            using var process = Process.Start(start)!;
            process.WaitForExit();
            return process.ExitCode == 0;
        }
        catch (System.ComponentModel.Win32Exception)
        {
            return false; // The tool is not installed.
        }
    }

    [LoggerMessage(LogLevel.Warning, "This system does not allow to run processes without network (unshare --net): image checks have network access. Images that name other files or hosts are refused before")]
    private partial void LogWithNetwork();

    [LoggerMessage(LogLevel.Warning, "Image checks run as root, because Import:User says so: a hostile image that takes over qemu-img controls this host")]
    private partial void LogPrivileged();
}
