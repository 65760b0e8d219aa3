using System.Diagnostics;
using System.Globalization;

namespace Instances.Library;

/// <summary>How programs that read files of unknown origin are held: limits always; no network, no privileges and a user of their own where this system lets us.</summary>
/// <remarks>
/// Each tool of the chain replaces itself by the next one, so one process is left. The environment is empty: what this process was given is not
/// for a program that a hostile file may have taken over.
/// </remarks>
internal sealed partial class ProcessConfinement
{
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

    /// <summary>Makes confined programs an unprivileged user, where this process is root and that user can reach the folder that they work in.</summary>
    public void Become(string user, string folder)
    {
        if (!Environment.IsPrivilegedProcess)
            return;

        if (UnixUser.Find(user) is { } found)
        {
            string[] become =
            [
                "setpriv", $"--reuid={found.UserId}", $"--regid={found.GroupId}", "--clear-groups", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all",
            ];
            UnixFiles.ChangeOwner(folder, found);
            if (Permitted([.. become, "test", "-w", folder]))
            {
                _user = become;
                _owner = found;
                return;
            }

            UnixFiles.ChangeOwner(folder, UnixUser.Root);
        }

        LogPrivileged(user, folder);
    }

    /// <summary>Lets confined programs work on a file that this process made.</summary>
    public void Give(string path)
    {
        if (_owner is { } owner)
            UnixFiles.ChangeOwner(path, owner);
    }

    /// <summary>What to put before a command.</summary>
    public IReadOnlyList<string> Prefix(ProcessBounds bounds) =>
    [
        "env", "-i", "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL=C",
        "prlimit", $"--as={Number(bounds.MemoryBytes)}", $"--cpu={Number(bounds.CpuSeconds)}", $"--fsize={Number(bounds.FileBytes)}", "--core=0", "--nofile=64",
        .. _network, .. _user,
    ];

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

    [LoggerMessage(LogLevel.Warning, "This system lets no process be cut off from the network (unshare --net): image checks run with it. Images that name other places are refused before.")]
    private partial void LogWithNetwork();

    [LoggerMessage(LogLevel.Warning, "Image checks run as root: the user {User} does not exist or cannot reach {Folder}. Set Import:User, or let everybody pass through the folders above.")]
    private partial void LogPrivileged(string user, string folder);
}
