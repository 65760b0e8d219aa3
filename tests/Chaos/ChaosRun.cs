using Instances.Client;
using Instances.Testing;

namespace Instances.Chaos;

/// <summary>One run: a cluster, users who work with it, faults, a quiet phase, and an inspection.</summary>
internal static class ChaosRun
{
    /// <summary>Memory for four guests, each with the overhead of an emulating QEMU. Simulated machines are larger than this host, so they run elsewhere.</summary>
    private const long GuestHostMemory = 4 * (Guest.MemoryBytes + (256L << 20));

    private const int SimulatedTenants = 4;

    public static async Task<ChaosReport> Run(ChaosOptions options, TextWriter output, CancellationToken cancellationToken)
    {
        var report = new ChaosReport(output);
        var random = new Random(options.Seed);
        report.Say($"Seed {options.Seed}: {options.Faults.TotalSeconds:0} s of faults.");
        using var small = SmallDisk.TryMake();
        using var library = options.WithMoreFaults ? SmallDisk.TryMake() : null;
        if (small is null) report.Say("Disks that fill up are left out: they need root.");
        if (options.WithMoreFaults && !SystemCalls.CanChange) report.Say("Slow and failing disks are left out: they need root and strace.");
        if (options.WithMoreFaults && !ClockSteps.CanChange) report.Say("Steps of clocks are left out: they need libfaketime.");
        await using var doors = new FlakyDoors();
        ClusterHost[] hosts =
        [
            new(GuestTenant.Host.ToString(), "qemu", GuestHostMemory),
            new("host-2", Configuration: ["--LayerStore:Transfer=Http", doors.Open("host-2")]),
            // With the policy packed, it gets machines before the host that has room for all.
            new("host-3", MemoryBytes: 10 * Tenant.SimulatedMemory, Folder: small?.Path, Configuration: ["--LayerStore:Transfer=Http", "--Host:DiskHeadroomBytes=1048576", doors.Open("host-3")]),
        ];
        await using var cluster = await ProcessCluster.Start(
            controls: 2, hosts, gateways: 2, environment: options.WithMoreFaults ? ClockSteps.Environment : null, prepare: built => LeadDoors(doors, built), control: number => number == 1 ? [doors.Open("control-1"), .. library is null ? [] : (string[])[$"--Library:Folder={library.Path}"]] : [],
            everywhere:
            [
            "--Placement:Policy=packed", "--LayerStore:MinimumFreeBytes=1048576", "--Library:SweepPeriod=00:00:05", "--Library:MaxChainDepth=3", "--Library:CompactionPeriod=00:00:02", "--Host:HoldBound=00:00:20"]);
        cluster.KeepFolder = options.Keep;
        report.Say($"The cluster is ready in {cluster.Folder}.");

        var master = await cluster.Client.ImportGuest();
        using var repeats = Repeats.CreateClient([.. cluster.Gateways.Select(gateway => gateway.Address)], new Random(random.Next()), report);
        var client = new InstancesClient(repeats);
        List<Tenant> tenants = [new GuestTenant("guests", client, master, new Random(random.Next()), report)];
        for (var number = 1; number <= SimulatedTenants; number++) tenants.Add(new Tenant($"tenant-{number}", client, master, new Random(random.Next()), report));
        foreach (var tenant in tenants) await tenant.SetUp();

        var faults = new Faults(cluster, doors, small, library, options.WithMoreFaults, new Random(random.Next()), report);
        using var over = new CancellationTokenSource();
        var supervising = faults.Supervise(over.Token);
        using (var end = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken))
        {
            end.CancelAfter(options.Faults);
            var work = tenants.Select(tenant => tenant.Work(end.Token)).ToList();
            await faults.Make(end.Token);
            report.Say("No more faults.");
            await Task.WhenAll(work);
        }

        cancellationToken.ThrowIfCancellationRequested();
        try
        {
            if (options.WithOlderDatabase)
            {
                await Inspection.Settled(cluster, tenants, report);
                await OlderDatabase.Look(cluster, faults, tenants, report);
            }

            await Inspection.Look(cluster, tenants, report);
        }
        catch (Exception exception)
        {
            report.Violation($"the cluster cannot be inspected: {exception}");
        }

        await over.CancelAsync();
        await supervising;
        report.Summary();
        cluster.KeepFolder = options.Keep && !report.Violations.IsEmpty;
        return report;
    }

    private static void LeadDoors(FlakyDoors doors, ProcessCluster cluster)
    {
        doors.LeadTo("control-1", cluster.Controls[0].Address);
        doors.LeadTo("host-2", cluster.Hosts[1].Address);
        doors.LeadTo("host-3", cluster.Hosts[2].Address);
    }
}
