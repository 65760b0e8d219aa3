using System.Collections.Concurrent;
using System.Diagnostics;

namespace Instances.Chaos;

/// <param name="Faults">How long faults are injected.</param>
/// <param name="Keep">Whether the folder of a run with violations is kept.</param>
/// <param name="WithMoreFaults">Whether the run includes the faults that a short run leaves out.</param>
/// <param name="WithOlderDatabase">Whether the silos start on an older database for a while after the faults.</param>
internal sealed record ChaosOptions(int Seed, TimeSpan Faults, bool Keep, bool WithOlderDatabase, bool WithMoreFaults);

/// <summary>The actions and findings of a run.</summary>
internal sealed class ChaosReport(TextWriter output)
{
    private readonly long _started = Stopwatch.GetTimestamp();
    private readonly ConcurrentDictionary<string, int> _counts = new();

    public ConcurrentQueue<string> Violations { get; } = new();

    public void Count(string what) => _counts.AddOrUpdate(what, 1, (_, count) => count + 1);

    public void Say(string what)
    {
        lock (output) output.WriteLine($"{Stopwatch.GetElapsedTime(_started).TotalSeconds,7:0.0} s  {what}");
    }

    public void Violation(string what)
    {
        Violations.Enqueue(what);
        Say($"VIOLATION: {what}");
    }

    public void Summary()
    {
        foreach (var (what, count) in _counts.OrderBy(pair => pair.Key, StringComparer.Ordinal)) Say($"{count,5}  {what}");
        Say($"{Violations.Count,5}  violations");
    }
}
