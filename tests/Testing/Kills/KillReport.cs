namespace Instances.Testing.Kills;

/// <summary>The results of runs with kills.</summary>
internal sealed class KillReport(TextWriter output)
{
    private readonly System.Diagnostics.Stopwatch _clock = System.Diagnostics.Stopwatch.StartNew();

    public List<string> Violations { get; } = [];

    /// <summary>How often the process died at each place.</summary>
    public Dictionary<string, int> Kills { get; } = [];

    /// <summary>How often each outcome was seen, such as <c>import in parts: succeeded</c>.</summary>
    public SortedDictionary<string, int> Ends { get; } = [];

    public void Say(string what) => output.WriteLine($"{_clock.Elapsed.TotalSeconds,7:0.0} s  {what}");

    public void Violation(string what)
    {
        Violations.Add(what);
        Say($"VIOLATION: {what}");
    }

    public void End(string what) => Ends[what] = Ends.GetValueOrDefault(what) + 1;
}
