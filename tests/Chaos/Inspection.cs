using System.Diagnostics;
using Instances.Appliances;
using Instances.Client;
using Instances.Faults;
using Instances.Library;
using Instances.Operations;
using Instances.Testing;
using Instances.VirtualMachines;

namespace Instances.Chaos;

/// <summary>Checks the cluster after the faults: everything must be idle, every promise kept, and nothing left without an owner.</summary>
internal static class Inspection
{
    /// <summary>Appliances that have not settled after this time are stuck. A quiet machine needs about 10 s.</summary>
    private static readonly TimeSpan RestBound = Bounds.Wait;

    private const int GuestImagesTried = 4;

    public static async Task Look(ProcessCluster cluster, IReadOnlyList<Tenant> tenants, ChaosReport report)
    {
        await Settled(cluster, tenants, report);
        foreach (var tenant in tenants) await OperationsEnded(cluster, tenant, report);
        foreach (var tenant in tenants) await ImagesAreAsPromised(cluster, tenant, report);
        foreach (var tenant in tenants) await Undeploy(cluster, tenant, report);
        foreach (var tenant in tenants) await ImagesDeploy(cluster, tenant, report);
        if (cluster.Guests.Ids() is { Count: > 0 } guests) report.Violation($"{guests.Count} QEMU processes are left though nothing is deployed: {string.Join(", ", guests)}");
        await DoctorFindsNothing(cluster, report);
    }

    /// <summary>Waits until every process is ready and every appliance has settled.</summary>
    public static async Task Settled(ProcessCluster cluster, IReadOnlyList<Tenant> tenants, ChaosReport report)
    {
        foreach (var process in cluster.All) await Eventually.Holds(async () => process.IsRunning && await process.IsReady(), $"{process.Name} is ready; see {process.LogPath}");
        var clock = Stopwatch.StartNew();
        foreach (var tenant in tenants) await Rests(cluster, tenant, clock, report);
        report.Say($"Everything has settled {clock.Elapsed.TotalSeconds:0.0} s after all processes were ready.");
    }

    private static async Task Rests(ProcessCluster cluster, Tenant tenant, Stopwatch clock, ChaosReport report)
    {
        while (true)
        {
            // The list activates no grain: so the appliance must settle without help.
            var appliance = (await cluster.Client.ListAppliances(default)).Single(listed => listed.Id == tenant.Appliance);
            if (appliance is { Operation: null, Status: ApplianceStatus.Deployed or ApplianceStatus.Undeployed }) return;
            if (clock.Elapsed > RestBound)
            {
                var operation = appliance.Operation is { } running ? await cluster.Client.GetOperation(running, default) : null;
                report.Violation($"{tenant.Name} does not rest: {appliance.Status}, operation {operation?.Kind} {operation?.Id} {operation?.Status} in {operation?.Step}: {operation?.Fault?.Message}");
                return;
            }

            await Task.Delay(TimeSpan.FromMilliseconds(250));
        }
    }

    private static async Task OperationsEnded(ProcessCluster cluster, Tenant tenant, ChaosReport report)
    {
        var ended = (await cluster.Client.ListOperations(tenant.Appliance, default)).ToDictionary(operation => operation.Id);
        foreach (var operation in ended.Values.Where(operation => !operation.IsFinished))
            report.Violation($"{tenant.Name}: operation {operation.Kind} {operation.Id} has not ended: {operation.Status} in {operation.Step}");
        foreach (var unexplained in ended.Values.Where(operation => operation.Fault is { Kind: FaultKind.Internal }))
            report.Violation($"{tenant.Name}: operation {unexplained.Kind} {unexplained.Id} failed, and its reason does not say what to do: {unexplained.Fault!.Code} {unexplained.Fault.Message}");
        foreach (var back in ended.Values.Where(operation => operation.FinishedAt < operation.StartedAt))
            report.Violation($"{tenant.Name}: operation {back.Kind} {back.Id} started at {back.StartedAt:O} and finished before, at {back.FinishedAt:O}");
        foreach (var seen in tenant.Operations.Values)
        {
            if (!ended.TryGetValue(seen.Id, out var now)) report.Violation($"{tenant.Name}: operation {seen.Kind} {seen.Id} was accepted and is not known");
            else if (seen.IsFinished && seen.Status != now.Status) report.Violation($"{tenant.Name}: operation {seen.Id} was said to be {seen.Status} and is {now.Status}");
        }
    }

    /// <summary>Checks that the library has exactly the images that successful captures created and later ones did not replace.</summary>
    private static async Task ImagesAreAsPromised(ProcessCluster cluster, Tenant tenant, ChaosReport report)
    {
        var succeeded = (await cluster.Client.ListOperations(tenant.Appliance, default)).Where(operation => operation.Status is OperationStatus.Succeeded).Select(operation => operation.Result!).ToList();
        var promised = succeeded.SelectMany(result => result.Instances ?? []).Select(instance => instance.Image).Except(succeeded.SelectMany(result => result.Retired ?? [])).ToHashSet();
        var found = (await Own(cluster, tenant)).ToDictionary(image => image.Id);
        foreach (var image in promised.Where(image => !found.ContainsKey(image))) report.Violation($"{tenant.Name}: the image {image} was promised and is not in the library");
        foreach (var image in found.Values.Where(image => !promised.Contains(image.Id))) report.Violation($"{tenant.Name}: the image {image.Id} is in the library and no operation that succeeded has made it");
        foreach (var image in found.Values.Where(image => image.Status is not ImageStatus.Ready)) report.Violation($"{tenant.Name}: the image {image.Id} is {image.Status}");
        foreach (var machine in await cluster.Client.ListVirtualMachines(tenant.Appliance, default))
        {
            if (await cluster.Client.FindImage(machine.Image, default) is not { Status: ImageStatus.Ready })
                report.Violation($"{tenant.Name}: the image {machine.Image} of {machine.Name} is not Ready");
        }
    }

    private static async Task Undeploy(ProcessCluster cluster, Tenant tenant, ChaosReport report)
    {
        if ((await cluster.Client.GetAppliance(tenant.Appliance, default)).Status is not ApplianceStatus.Deployed) return;
        var ended = await cluster.Client.End(await cluster.Client.Undeploy(tenant.Appliance, default));
        if (ended.Status is not OperationStatus.Succeeded) report.Violation($"{tenant.Name}: undeploy ended as {ended.Status}: {ended.Fault?.Message}");
    }

    /// <summary>Checks that every image of the tenant can be deployed, and that guests find what was captured.</summary>
    private static async Task ImagesDeploy(ProcessCluster cluster, Tenant tenant, ChaosReport report)
    {
        var images = await Own(cluster, tenant);
        if (tenant is GuestTenant) images = [.. images.TakeLast(GuestImagesTried)];
        if (images.Count == 0) return;
        var appliance = await cluster.Client.CreateAppliance(new($"{tenant.Name}-look"), default);
        var machines = new Dictionary<VirtualMachineId, ImageView>();
        foreach (var (index, image) in images.Index())
            machines[(await cluster.Client.AddVirtualMachine(appliance.Id, tenant.Spec($"look{index}", image.Id), default)).Id] = image;
        var ended = await cluster.Client.End(await cluster.Client.Deploy(appliance.Id, default));
        if (ended.Status is not OperationStatus.Succeeded) report.Violation($"{tenant.Name}: its {images.Count} images do not deploy: {ended.Fault?.Message}");
        else if (tenant is GuestTenant guests) await Boot(cluster, guests, machines, report);
        report.Count($"looked at: {(tenant is GuestTenant ? "guest" : "simulated")} images deployed");

        if ((await cluster.Client.GetAppliance(appliance.Id, default)).Status is ApplianceStatus.Deployed) await cluster.Client.End(await cluster.Client.Undeploy(appliance.Id, default));
        await cluster.Client.DeleteAppliance(appliance.Id, default);
    }

    private static async Task Boot(ProcessCluster cluster, GuestTenant tenant, Dictionary<VirtualMachineId, ImageView> machines, ChaosReport report)
    {
        foreach (var (machine, image) in machines)
        {
            if ((await cluster.Client.GetVirtualMachine(machine, default)).Host != GuestTenant.Host)
            {
                report.Violation($"{tenant.Name}: the guest of image {image.Id} was not placed on the host that runs real guests, which has room");
                continue;
            }

            try
            {
                var boots = await cluster.Client.WaitForBoot(machine, atLeast: 1);
                var captured = tenant.Boots.GetValueOrDefault(image.Id);
                if (boots <= captured) report.Violation($"{tenant.Name}: the image {image.Id} was captured after {captured} starts and its guest counts {boots}");
                report.Count("looked at: guests booted from what was captured");
            }
            catch (TimeoutException)
            {
                report.Violation($"{tenant.Name}: the guest of image {image.Id} does not boot");
            }
        }
    }

    private static async Task DoctorFindsNothing(ProcessCluster cluster, ChaosReport report)
    {
        // Sweeps run every few seconds here, and have deleted everything unreferenced by this time.
        var clock = Stopwatch.StartNew();
        while (true)
        {
            var examined = await cluster.Client.Examine(fix: false, default);
            var findings = examined.Findings.Where(finding => finding.Severity is not Doctor.FindingSeverity.Info).ToList();
            if (findings.Count == 0) return;
            if (clock.Elapsed > RestBound)
            {
                foreach (var finding in findings) report.Violation($"doctor: {finding.Code} {finding.Subject}: {finding.Message}");
                return;
            }
        }
    }

    private static async Task<IReadOnlyList<ImageView>> Own(ProcessCluster cluster, Tenant tenant) =>
        [.. (await cluster.Client.ListImages(new(Kind: ImageKind.Slave), default)).Where(image => image.Capture?.Appliance == tenant.Appliance)];
}
