using Instances.Appliances;
using Instances.Client;
using Instances.Testing;
using Spectre.Console;

namespace Instances.Benchmarks;

/// <summary>The time between the first pause and the last seal, with running guests.</summary>
internal static class ConsistencyWindow
{
    private const double GoalMs = 50;

    public static async Task Measure(Table table, int machines, int rounds)
    {
        await using var data = new DataFolder();
        await using (var server = await ServerProcess.Start(data))
        {
            var client = server.Client;
            var master = await client.ImportGuest();
            var appliance = await client.CreateAppliance(new("window"), default);
            for (var index = 0; index < machines; index++) await client.AddVirtualMachine(appliance.Id, Guest.Spec($"vm{index}", master.Id), default);
            await client.Succeeds(await client.Deploy(appliance.Id, default));
            foreach (var machine in await client.ListVirtualMachines(appliance.Id, default)) await client.WaitForBoot(machine.Id, atLeast: 1);

            // The first capture after a start compiles the code that it runs.
            AddRow(table, $"window of {machines} running machines, first capture", [await Capture(client, appliance.Id, Quiesce.None)]);
            foreach (var quiesce in new[] { Quiesce.None, Quiesce.Freeze })
            {
                var windows = new List<double>();
                for (var round = 0; round < rounds; round++) windows.Add(await Capture(client, appliance.Id, quiesce));
                AddRow(table, $"the same, quiesce {quiesce.ToString().ToLowerInvariant()}, {rounds} captures", windows);
            }

            await client.Succeeds(await client.Undeploy(appliance.Id, default));
        }
    }

    private static void AddRow(Table table, string what, List<double> windows)
    {
        windows.Sort();
        table.AddRow(
            what,
            $"{windows[0]:0.0} / {windows[windows.Count / 2]:0.0} / {windows[^1]:0.0} ms (min / median / max)",
            $"{GoalMs:0} ms",
            windows[^1] < GoalMs ? "[green]within[/]" : windows[windows.Count / 2] < GoalMs ? "[yellow]median within[/]" : "[red]beyond[/]");
    }

    private static async Task<double> Capture(InstancesClient client, ApplianceId appliance, Quiesce quiesce)
    {
        var operation = await client.Succeeds(await client.CreateInstance(appliance, new(Undeploy: false, Quiesce: quiesce), default));
        return operation.Result!.ConsistencyWindowMs!.Value;
    }
}
