using System.Diagnostics;

namespace Instances.Chaos;

/// <summary>A disk that is slow or fails, as one process sees it: strace changes the answers of its system calls. Needs root and strace.</summary>
internal static class SystemCalls
{
    private const string Program = "/usr/bin/strace";

    /// <summary>Each write to the disk that a process waits for takes 400 ms longer.</summary>
    public const string SlowDisk = "fsync,fdatasync:delay_enter=400000";

    /// <summary>Each second write to the disk that a process waits for fails with EIO.</summary>
    public const string FailingDisk = "fsync,fdatasync:error=EIO:when=1+2";

    public static bool CanChange => Environment.IsPrivilegedProcess && File.Exists(Program);

    /// <param name="injection">In strace's words, for example <see cref="SlowDisk"/>.</param>
    public static async Task Change(int process, string injection, Func<Task> meanwhile)
    {
        string[] arguments = ["--follow-forks", "--quiet=all", "--output=/dev/null", "--trace=fsync,fdatasync", $"--inject={injection}", $"--attach={process}"];
        using var strace = Process.Start(new ProcessStartInfo(Program, arguments) { RedirectStandardError = true })!;
        await meanwhile();
        // strace detaches when it is asked to end. A SIGKILL would leave the process stopped for a moment, and then detach it too.
        using var end = Process.Start("kill", ["-TERM", $"{strace.Id}"]);
        await end.WaitForExitAsync();
        await strace.WaitForExitAsync();
    }
}
