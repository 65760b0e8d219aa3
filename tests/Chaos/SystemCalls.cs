using System.Diagnostics;

namespace Instances.Chaos;

/// <summary>Makes a disk slow or failing for one process: strace changes the results of its system calls. Needs root and strace.</summary>
internal static class SystemCalls
{
    private const string Program = "/usr/bin/strace";

    /// <summary>Each synchronous write to the disk takes 400 ms longer.</summary>
    public const string SlowDisk = "fsync,fdatasync:delay_enter=400000";

    /// <summary>Every second synchronous write to the disk fails with EIO.</summary>
    public const string FailingDisk = "fsync,fdatasync:error=EIO:when=1+2";

    public static bool CanChange => Environment.IsPrivilegedProcess && File.Exists(Program);

    /// <param name="injection">In strace's syntax, for example <see cref="SlowDisk"/>.</param>
    public static async Task Change(int process, string injection, Func<Task> meanwhile)
    {
        string[] arguments = ["--follow-forks", "--quiet=all", "--output=/dev/null", "--trace=fsync,fdatasync", $"--inject={injection}", $"--attach={process}"];
        using var strace = Process.Start(new ProcessStartInfo(Program, arguments) { RedirectStandardError = true })!;
        await meanwhile();
        // SIGTERM makes strace detach. A SIGKILL would also detach it, but stop the process for a moment.
        using var end = Process.Start("kill", ["-TERM", $"{strace.Id}"]);
        await end.WaitForExitAsync();
        await strace.WaitForExitAsync();
    }
}
