using System.Text.RegularExpressions;
using Instances.Testing;
using Instances.Testing.Kills;
using Xunit;

namespace Instances.EndToEnd.Tests;

/// <summary>The process is killed (SIGKILL) at named places of the library's work. The long form is <c>tests/Chaos --kill-points</c>.</summary>
public sealed partial class KillPointTests(ITestOutputHelper output)
{
    /// <summary>A seed for an order in which the first runs differ much.</summary>
    private const int Seed = 3;

    private const int Runs = 4;

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Kill_AtNamedPlaces_LeavesTheOldStateOrTheNewOne()
    {
        await using var said = new StringWriter();
        var report = await KillRuns.Run(Seed, Runs, said, Stop);
        output.WriteLine(said.ToString());

        Assert.Empty(report.Violations);
        Assert.Equal(Runs, report.Kills.Values.Sum());
    }

    [Fact]
    public void Places_AreEachInTheCodeAndInAScenario()
    {
        string[] sources = [.. new[] { "grains", "silo" }.SelectMany(project => Directory.EnumerateFiles(Path.Combine(Repository.Root, project), "*.cs", SearchOption.AllDirectories))];
        var reached = sources.Where(file => !file.Contains("/obj/", StringComparison.Ordinal)).SelectMany(file => ReachPattern().Matches(File.ReadAllText(file))).Select(match => match.Groups[1].Value);
        var tried = KillScenarios.All.SelectMany(scenario => scenario.Points).Select(point => point.Split(':')[0]);

        Assert.Equal(KillPoints.All.Order(StringComparer.Ordinal), reached.Distinct().Order(StringComparer.Ordinal));
        Assert.Equal(KillPoints.All.Order(StringComparer.Ordinal), tried.Distinct().Order(StringComparer.Ordinal));
    }

    [GeneratedRegex("""(?:KillPoints\.Reach|Bind)\("([a-z.-]+)"\)""")]
    private static partial Regex ReachPattern();
}
