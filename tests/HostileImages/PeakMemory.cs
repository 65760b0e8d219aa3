using System.Globalization;

namespace Instances.Library.Import;

/// <summary>The peak of resident memory of any program that this process has run since.</summary>
/// <remarks>
/// The kernel keeps each program's peak (VmHWM) while it lives, and that is read every few milliseconds: it misses only the last milliseconds of a program.
/// getrusage for ended children cannot be used: it includes the memory that a child shares with this process until it becomes another program.
/// </remarks>
internal sealed class PeakMemory : IDisposable
{
    private static readonly TimeSpan s_period = TimeSpan.FromMilliseconds(2);
    private static readonly string[] s_programs = ["qemu-img", "gzip", "xz", "zstd"];

    private readonly CancellationTokenSource _stop = new();
    private readonly Task _watch;
    private long _bytes;
    private long _allocated;

    public PeakMemory() => _watch = Task.Factory.StartNew(Watch, TaskCreationOptions.LongRunning);

    public long Bytes => Interlocked.Read(ref _bytes);

    /// <summary>What the watching itself has allocated in this process: the more, the longer it watches.</summary>
    public long AllocatedByWatching => Interlocked.Read(ref _allocated);

    public void Dispose()
    {
        _stop.Cancel();
        _watch.GetAwaiter().GetResult();
        _stop.Dispose();
    }

    private void Watch()
    {
        while (!_stop.Token.WaitHandle.WaitOne(s_period))
        {
            foreach (var child in Directory.EnumerateDirectories("/proc/self/task").SelectMany(task => Read($"{task}/children").Split(' ', StringSplitOptions.RemoveEmptyEntries)))
                _bytes = Math.Max(_bytes, PeakOf(Read($"/proc/{child}/status").Split('\n')));
            _allocated = GC.GetAllocatedBytesForCurrentThread();
        }
    }

    private static long PeakOf(string[] status) =>
        status.Length > 0 && s_programs.Contains(Value(status, "Name:")) && Value(status, "VmHWM:") is { Length: > 0 } kibibytes
            ? long.Parse(kibibytes.Split(' ')[0], CultureInfo.InvariantCulture) * 1024
            : 0;

    private static string Value(string[] status, string key) => status.FirstOrDefault(line => line.StartsWith(key, StringComparison.Ordinal))?[key.Length..].Trim() ?? "";

    private static string Read(string path)
    {
        try
        {
            return File.ReadAllText(path);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            return ""; // It has ended meanwhile.
        }
    }
}
