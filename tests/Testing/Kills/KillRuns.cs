namespace Instances.Testing.Kills;

/// <summary>Runs in which a server is killed at named places, all on one library.</summary>
internal static class KillRuns
{
    /// <param name="seed">Chooses the order of scenarios and places: each comes once before any comes again.</param>
    public static async Task<KillReport> Run(int seed, int runs, TextWriter output, CancellationToken cancellationToken)
    {
        var (report, random) = (new KillReport(output), new Random(seed));
        var all = KillScenarios.All.SelectMany(scenario => scenario.Points, (scenario, point) => (Scenario: scenario, Point: point)).ToArray();
        var scene = await KillScene.Start(random, report);
        try
        {
            for (var number = 0; number < runs && !cancellationToken.IsCancellationRequested; number++)
            {
                if (number % all.Length == 0) random.Shuffle(all);
                var (scenario, point) = all[number % all.Length];
                if (await IsKept(report, $"run {number + 1}, {scenario.Name}, killed at {point}", () => scenario.Run(scene, point)))
                {
                    report.Say($"{number + 1,4}  {scenario.Name}, killed at {point}: the old state or the new one");
                    continue;
                }

                // Stop, because later runs would only show its consequences.
                await scene.DisposeAsync();
                scene = await KillScene.Start(random, report);
            }

            await IsKept(report, "at the end", () => scene.Look());
        }
        finally
        {
            await scene.DisposeAsync();
        }

        return report;
    }

    private static async Task<bool> IsKept(KillReport report, string when, Func<Task> run)
    {
        try
        {
            await run();
            return true;
        }
        catch (Exception exception)
        {
            report.Violation($"{when}: {(exception is KillException ? exception.Message : exception)}");
            return false;
        }
    }
}
