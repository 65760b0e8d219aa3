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
    private readonly string[] _isolation;

    /// <param name="user">The unprivileged user that the programs become; null to stay this process's user.</param>
    public ProcessConfinement(string? user, ILogger<ProcessConfinement> logger)
    {
        var isolation = new List<string>();
        if (Permitted(["unshare", "--net", "true"]))
            isolation.AddRange(["unshare", "--net"]);
        else if (Permitted(["unshare", "--map-root-user", "--net", "true"]))
            isolation.AddRange(["unshare", "--map-root-user", "--net"]);
        else
            LogWithNetwork(logger);

        if (user is not null && Environment.IsPrivilegedProcess && UnixUser.Find(user) is { } found)
        {
            string[] become =
            [
                "setpriv", $"--reuid={found.UserId}", $"--regid={found.GroupId}", "--clear-groups", "--no-new-privs", "--inh-caps=-all", "--bounding-set=-all",
            ];
            if (Permitted([.. become, "true"]))
            {
                User = found;
                isolation.AddRange(become);
            }
        }

        if (User is null && Environment.IsPrivilegedProcess)
            LogPrivileged(logger);
        _isolation = [.. isolation];
    }

    /// <summary>The user that confined programs are, where it is not this process's: files must be theirs. </summary>
    public UnixUser? User { get; }

    /// <summary>What to put before a command.</summary>
    public IReadOnlyList<string> Prefix(ProcessBounds bounds) =>
    [
        "env", "-i", "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL=C",
        "prlimit", $"--as={Number(bounds.MemoryBytes)}", $"--cpu={Number(bounds.CpuSeconds)}", $"--fsize={Number(bounds.FileBytes)}", "--core=0", "--nofile=64",
        .. _isolation,
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
    private static partial void LogWithNetwork(ILogger logger);

    [LoggerMessage(LogLevel.Warning, "Image checks run as root: there is no unprivileged user for them. Set Import:User to one.")]
    private static partial void LogPrivileged(ILogger logger);
}
