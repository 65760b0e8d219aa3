using System.Diagnostics;
using System.Globalization;
using System.Text;
using Instances.Library;
using Instances.VirtualMachines;

namespace Instances.Qemu;

/// <summary>A process, identified by its pid and its start time.</summary>
internal readonly record struct QemuProcess(int Pid, ulong StartTime)
{
    // A shell redirects the output, and then becomes setsid, setpriv and QEMU in turn, all with one pid. So QEMU is in its own session, without
    // descriptors of the silo, and outlives the silo and its terminal. QEMU's own -daemonize needs setsid(), which its sandbox denies.
    // The script resets the score for the out-of-memory killer, and joins the control group before it drops its rights.
    private const string Script = "umask 077; { echo 0 >/proc/self/oom_score_adj; } 2>/dev/null; { [ \"$0\" = sh ] || echo $$ >\"$0\"; } 2>>" + RunFolder.LogFromQemu + "; exec \"$@\" </dev/null >>" + RunFolder.LogFromQemu + " 2>&1";
    private const int ProcessPollMs = 5;

    public static Guid BootId { get; } = Guid.Parse(File.ReadAllText("/proc/sys/kernel/random/boot_id"));

    /// <summary>Whether it runs. A zombie does not.</summary>
    public bool IsAlive => ReadStart(Pid) == StartTime;

    /// <summary>Bytes that it has caused to be written to disks, or 0 if the system does not say.</summary>
    public long WrittenBytes()
    {
        try
        {
            const string Field = "write_bytes: ";
            var line = File.ReadLines($"/proc/{Pid}/io").FirstOrDefault(line => line.StartsWith(Field, StringComparison.Ordinal));
            return line is null ? 0 : long.Parse(line[Field.Length..], CultureInfo.InvariantCulture);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return 0;
        }
    }

    /// <summary>Whether the process may read the files of a group. True if the process has ended.</summary>
    public bool ReadsFilesOf(uint group)
    {
        const int OnFiles = 3;
        try
        {
            var ids = File.ReadLines($"/proc/{Pid}/status").Select(line => line.Split((char[])[':', '\t', ' '], StringSplitOptions.RemoveEmptyEntries))
                .Where(fields => fields is ["Uid" or "Gid" or "Groups", ..]).ToDictionary(fields => fields[0], fields => fields[1..]);
            var id = group.ToString(CultureInfo.InvariantCulture);
            return ids["Uid"][OnFiles] == "0" || ids["Gid"][OnFiles] == id || ids["Groups"].Contains(id);
        }
        catch (IOException)
        {
            return true;
        }
    }

    /// <summary>Starts QEMU in a machine's folder, where its output goes to a log.</summary>
    /// <param name="group">See <see cref="MachineCgroups.Prepare"/>.</param>
    public static QemuProcess Start(RunFolder folder, QemuIdentity identity, string? group, string binary, IReadOnlyList<string> arguments)
    {
        var start = new ProcessStartInfo("/bin/sh")
        {
            WorkingDirectory = folder.QemuPath,
            // Redirect, so that the runtime does not treat it as a user of the silo's terminal. The shell replaces these descriptors at once.
            RedirectStandardInput = true,
            RedirectStandardOutput = true,
            RedirectStandardError = true,
        };
        foreach (var argument in (string[])["-c", Script, group ?? "sh", "setsid", .. identity.Prefix(), binary, .. arguments]) start.ArgumentList.Add(argument);
        // The silo's own environment may contain secrets.
        var path = Environment.GetEnvironmentVariable("PATH");
        start.Environment.Clear();
        start.Environment["PATH"] = path;
        start.Environment["LC_ALL"] = "C";
        UnixFiles.KeepDescriptorsFromChildren();
        using var process = Process.Start(start) ?? throw new IOException("The shell could not be started.");
        return new(process.Id, ReadStart(process.Id) ?? 0);
    }

    /// <summary>The processes of the machines in a run folder, by machine, including those that no file names.</summary>
    /// <param name="root">The path as the kernel reports it, without links.</param>
    public static IReadOnlyDictionary<VirtualMachineId, QemuProcess> FindAll(string root)
    {
        var found = new Dictionary<VirtualMachineId, QemuProcess>();
        foreach (var entry in Directory.EnumerateDirectories("/proc"))
        {
            if (int.TryParse(Path.GetFileName(entry), NumberStyles.None, CultureInfo.InvariantCulture, out var pid)
                && MachineOf(pid, root) is { } machine
                && ReadStart(pid) is { } startTime)
                found[machine] = new(pid, startTime);
        }

        return found;
    }

    /// <summary>Waits until it has ended.</summary>
    /// <returns>False if it still runs after the bound.</returns>
    public async Task<bool> WaitForEnd(TimeSpan bound, TimeProvider time, CancellationToken cancellationToken)
    {
        var since = time.GetTimestamp();
        while (IsAlive)
        {
            if (time.GetElapsedTime(since) > bound) return false;
            await Task.Delay(TimeSpan.FromMilliseconds(ProcessPollMs), time, cancellationToken);
        }

        return true;
    }

    public void Kill()
    {
        if (!IsAlive) return;
        try
        {
            using var process = Process.GetProcessById(Pid);
            process.Kill();
        }
        catch (Exception e) when (e is ArgumentException or InvalidOperationException)
        {
            // It has ended meanwhile.
        }
    }

    /// <summary>The machine that a process runs: its working folder is the machine's, and its arguments have the id. Also for the shell that is about to become QEMU.</summary>
    private static VirtualMachineId? MachineOf(int pid, string root)
    {
        try
        {
            var folder = new FileInfo($"/proc/{pid}/cwd").LinkTarget;
            if (folder is null || !folder.StartsWith(root + "/", StringComparison.Ordinal)) return null;
            // Only the machine's own user can enter QEMU's folder. Users of other machines could enter the folder above it, and imitate the process.
            if (folder[(root.Length + 1)..].Split('/') is not [var id, RunFolder.QemuName or RunFolder.QemuName + " (deleted)"]) return null;
            if (!VirtualMachineId.TryParse(id, CultureInfo.InvariantCulture, out var machine)) return null;
            var arguments = Encoding.UTF8.GetString(File.ReadAllBytes($"/proc/{pid}/cmdline")).Split('\0');
            var option = Array.IndexOf(arguments, "-uuid");
            return option >= 0 && option + 1 < arguments.Length && arguments[option + 1] == id ? machine : null;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }

    /// <summary>Field 22 of the process' status; null if there is no such process, or it is a zombie.</summary>
    private static ulong? ReadStart(int pid)
    {
        try
        {
            var text = File.ReadAllText($"/proc/{pid}/stat");
            // The second field is the program's name in parentheses, and may contain any character.
            var fields = text[(text.LastIndexOf(')') + 2)..].Split(' ');
            return fields[0] is "Z" or "X" ? null : ulong.Parse(fields[19], CultureInfo.InvariantCulture);
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return null;
        }
    }
}
