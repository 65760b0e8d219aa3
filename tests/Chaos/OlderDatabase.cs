using Instances.Appliances;
using Instances.Operations;
using Instances.Testing;

namespace Instances.Chaos;

/// <summary>Starts the silos on a database without the latest changes, as after a restored backup. No guest and no layer may be removed. Then the silos get the current database back.</summary>
internal static class OlderDatabase
{
    private const string Copy = "older";

    /// <summary>Longer than several sweeps of every host and of the library.</summary>
    private static readonly TimeSpan Sweeps = TimeSpan.FromSeconds(15);

    public static async Task Look(ProcessCluster cluster, Faults faults, IReadOnlyList<Tenant> tenants, ChaosReport report)
    {
        report.Say("The silos start on an older database.");
        report.Count("fault: older database");
        await faults.WhileSilosAreStopped(() => cluster.CopyDatabase(Copy));
        foreach (var tenant in tenants) await Work(cluster, tenant, report);

        await faults.WhileSilosAreStopped(() => cluster.ExchangeDatabase(Copy));
        var before = (Layers: Layers(cluster), Guests: cluster.Guests.Ids());
        await Eventually.Holds(
            async () => (await cluster.Client.Examine(fix: true, default)).Findings.Any(finding => finding.Code == "host-unknown-to-database"), "the doctor reports hosts that the database does not know");
        await Task.Delay(Sweeps);
        foreach (var layer in before.Layers.Except(Layers(cluster))) report.Violation($"the layer {layer} was removed on an older database");
        foreach (var guest in before.Guests.Except(cluster.Guests.Ids())) report.Violation($"QEMU {guest} was ended on an older database");

        await faults.WhileSilosAreStopped(() => cluster.ExchangeDatabase(Copy));
    }

    /// <summary>A deployment and a capture that the older database does not have.</summary>
    private static async Task Work(ProcessCluster cluster, Tenant tenant, ChaosReport report)
    {
        var client = cluster.Client;
        if ((await client.GetAppliance(tenant.Appliance, default)).Status is ApplianceStatus.Undeployed) await Succeeds(await client.Deploy(tenant.Appliance, default));
        await Succeeds(await client.CreateInstance(tenant.Appliance, new(Undeploy: false, Quiesce: Quiesce.None), default));

        async Task Succeeds(OperationView operation)
        {
            var ended = await client.End(operation);
            if (ended.Status is not OperationStatus.Succeeded) report.Violation($"{tenant.Name}: {ended.Kind} ended as {ended.Status} without a fault: {ended.Fault?.Message}");
        }
    }

    private static IReadOnlySet<string> Layers(ProcessCluster cluster) =>
        Directory.EnumerateFiles(cluster.Folder, "*.qcow2", SearchOption.AllDirectories).Where(file => !file.Contains("/incoming/", StringComparison.Ordinal)).ToHashSet();
}
