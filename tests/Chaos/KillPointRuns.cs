using Instances.Testing.Kills;

namespace Instances.Chaos;

/// <summary>Runs with kills at named places, for the command line.</summary>
internal static class KillPointRuns
{
    /// <returns>The exit code.</returns>
    public static async Task<int> Run(int seed, int runs, TextWriter output, CancellationToken cancellationToken)
    {
        output.WriteLine($"Seed {seed}: {runs} runs.");
        var report = await KillRuns.Run(seed, runs, output, cancellationToken);
        foreach (var (end, count) in report.Ends) output.WriteLine($"{count,5}  {end}");
        output.WriteLine($"{report.Violations.Count} violations in {report.Kills.Values.Sum()} kills at {report.Kills.Count} places.");
        return report.Violations.Count == 0 ? 0 : 1;
    }
}
