using System.CommandLine;
using Instances.Chaos;

var seconds = new Option<int>("--seconds") { Description = "How long each run injects faults, before it waits until the cluster is idle and inspects it.", DefaultValueFactory = _ => 60 };
seconds.Validators.Add(result =>
{
    if (result.GetValueOrDefault<int>() is < 1 or > 86_400) result.AddError("--seconds is 1 to 86400.");
});
var seed = new Option<int>("--seed") { Description = "What faults and requests come, and in which order. When they meet is the machine's affair.", DefaultValueFactory = _ => 1 };
var runs = new Option<int>("--runs") { Description = "How many runs, each on a cluster of its own, with the seeds that follow.", DefaultValueFactory = _ => 1 };
runs.Validators.Add(result =>
{
    if (result.GetValueOrDefault<int>() is < 1 or > 10_000) result.AddError("--runs is 1 to 10000.");
});
var keep = new Option<bool>("--keep") { Description = "Keep the folder of a run that found violations: logs, layers, machines." };

var more = new Option<bool>("--more-faults") { Description = "Also kill all hosts at once, start second hosts of taken names, make disks slow or failing (needs root and strace), set the clocks of silos forward and back (needs libfaketime), and delete on a full disk." };

var older = new Option<bool>("--older-database") { Description = "After the faults of each run, start the silos on an older database for a while: no guest and no layer may go." };

var kills = new Option<bool>("--kill-points")
{
    Description = "Instead: a server on real files is killed (SIGKILL) at a named place in each run, while it imports, retires, restores, promotes, compacts, collects, scrubs, renames or rebuilds; started again, it has to show the old state or the new one.",
};

var root = new RootCommand(
    "Breaks a cluster of real processes on a real PostgreSQL, with real QEMU guests (few) and simulated machines (many), while people work with it; then looks whether "
    + "every promise was kept and nothing is left over. Exits with 0 when there was no violation, with 1 otherwise.")
{
    seconds, seed, runs, keep, older, more, kills,
};
root.SetAction(async (arguments, cancellationToken) =>
{
    if (arguments.GetValue(kills)) return await KillPointRuns.Run(arguments.GetValue(seed), arguments.GetValue(runs), Console.Out, cancellationToken);
    var violations = 0;
    var first = arguments.GetValue(seed);
    for (var number = 0; number < arguments.GetValue(runs); number++)
    {
        var report = await ChaosRun.Run(new(first + number, TimeSpan.FromSeconds(arguments.GetValue(seconds)), arguments.GetValue(keep), arguments.GetValue(older), arguments.GetValue(more)), Console.Out, cancellationToken);
        violations += report.Violations.Count;
    }

    Console.Out.WriteLine($"{violations} violations in {arguments.GetValue(runs)} runs.");
    return violations == 0 ? 0 : 1;
});
// If it is interrupted, it still ends the processes that it has started.
return await root.Parse(args).InvokeAsync(new() { ProcessTerminationTimeout = TimeSpan.FromSeconds(60) });
