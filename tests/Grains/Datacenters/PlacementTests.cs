using Instances.Appliances;
using Instances.Datacenters;
using Instances.Faults;
using Instances.Hosts;
using Instances.Operations;
using Instances.Testing;
using Xunit;

namespace Instances.Grains.Tests.Datacenters;

/// <summary>Deployments on three hosts.</summary>
public sealed class PlacementTests
{
    /// <summary>64 processors, overcommitted 16 times.</summary>
    private const int CpuCapacity = 64 * 16;

    [Theory]
    [InlineData(PlacementPolicy.Spread, new[] { 2, 2, 2 })]
    [InlineData(PlacementPolicy.Packed, new[] { 4, 2, 0 })]
    public async Task Deploy_ByPolicy_PlacesTheMachines(PlacementPolicy policy, int[] counts)
    {
        await using var hosts = await SimulatedHosts.Start(hosts: 3, machines: 4, policy);
        var appliance = await hosts.AddAppliance(machines: 6);

        Assert.Equal(OperationStatus.Succeeded, (await hosts.Deploy(appliance)).Status);

        Assert.Equal(counts, hosts.Counts());
        var views = await hosts.Datacenter.Hosts();
        Assert.Equal(["host-1", "host-2", "host-3"], views.Select(view => view.Id.Name));
        Assert.Equal(counts, views.Select(view => view.VirtualMachines));
        Assert.Equal(counts.Select(count => (4 - count) * SimulatedHosts.MachineBytes), views.Select(view => view.FreeMemoryBytes));
        Assert.Equal(counts.Select(count => CpuCapacity - count), views.Select(view => view.FreeCpus));
    }

    [Fact]
    public async Task Deploy_WithAHostInMaintenance_LeavesItOutAndItsMachinesGoOn()
    {
        await using var hosts = await SimulatedHosts.Start(hosts: 3, machines: 4);
        await hosts.Deploy(await hosts.AddAppliance(machines: 3));

        Assert.Equal(HostStatus.Maintenance, (await hosts.Datacenter.SetMaintenance(new("host-2"), true)).Status);
        await hosts.Deploy(await hosts.AddAppliance(machines: 4));
        Assert.Equal([3, 1, 3], hosts.Counts());

        // Its silo starts again: it is in maintenance as before.
        await hosts.Grains.Host(new("host-2")).Start();
        Assert.Equal(HostStatus.Maintenance, (await hosts.Datacenter.Host(new("host-2"))).Status);
        await hosts.Datacenter.SetMaintenance(new("host-2"), false);
        await hosts.Deploy(await hosts.AddAppliance(machines: 2));
        Assert.Equal([3, 3, 3], hosts.Counts());
    }

    [Fact]
    public async Task Deploy_WithAHostThatIsAway_LeavesItOutAndSaysSoWhereNothingFits()
    {
        await using var hosts = await SimulatedHosts.Start(hosts: 3, machines: 2);
        await hosts.Deploy(await hosts.AddAppliance(machines: 3));
        await hosts.Stop("host-3");
        await hosts.Datacenter.SetMaintenance(new("host-2"), true);

        var refused = await hosts.Deploy(await hosts.AddAppliance(machines: 2));

        Assert.Equal((OperationStatus.Failed, FaultKind.Capacity, "no-capacity"), (refused.Status, refused.Fault!.Kind, refused.Fault.Code));
        foreach (var part in (string[])["2 CPUs and 128 MiB", "host-1 has 1023 CPUs, 64 MiB of memory", "host-2 has", "it is in maintenance", "host-3 is left out: it is unreachable"])
            Assert.Contains(part, refused.Fault.Message, StringComparison.Ordinal);
        Assert.Equal(OperationStatus.Succeeded, (await hosts.Deploy(await hosts.AddAppliance(machines: 1))).Status);
        var away = (await hosts.Datacenter.Hosts())[2];
        Assert.Equal(
            (HostStatus.Away, 2 * SimulatedHosts.MachineBytes, 0, 0, 1),
            (away.Status, away.MemoryBytes, away.FreeMemoryBytes, away.FreeCpus, away.VirtualMachines));
    }

    [Fact]
    public async Task Deploy_OfTwoAppliancesAtOnce_NeverOverbooks()
    {
        await using var hosts = await SimulatedHosts.Start(hosts: 3, machines: 2);
        var appliances = new[] { await hosts.AddAppliance(machines: 4), await hosts.AddAppliance(machines: 4) };

        // The first placed operation waits before any of its machines is on a host.
        hosts.Probe.HoldBefore = "start";
        var operations = await Task.WhenAll(appliances.Select(appliance => appliance.Deploy(OperationId.New())));
        OperationView?[] ended = [];
        await Eventually.Holds(async () =>
        {
            ended = await Task.WhenAll(operations.Select(operation => hosts.Grains.Operation(operation.Id).Find()));
            return ended.Any(view => view!.IsFinished);
        }, "one of them is refused");
        Assert.Equal("no-capacity", ended.Single(view => view!.IsFinished)!.Fault!.Code);
        Assert.Equal([0, 0, 0], hosts.Counts());
        hosts.Probe.Release();

        var ends = await Task.WhenAll(operations.Select(hosts.End));
        Assert.Equal([OperationStatus.Succeeded, OperationStatus.Failed], ends.Select(end => end.Status).Order());
        Assert.Equal(4, hosts.Counts().Sum());
        Assert.All(hosts.Counts(), count => Assert.InRange(count, 1, 2));
    }

    [Theory]
    [InlineData("start")]
    [InlineData("finish")]
    public async Task Deploy_ThatFails_ReleasesItsReservations(string step)
    {
        await using var hosts = await SimulatedHosts.Start(hosts: 3, machines: 2);
        var appliance = await hosts.AddAppliance(machines: 6);
        hosts.Probe.FailBefore = step;

        Assert.Equal(OperationStatus.Failed, (await hosts.Deploy(appliance)).Status);

        Assert.All(await hosts.Datacenter.Hosts(), view => Assert.Equal(view.MemoryBytes, view.FreeMemoryBytes));
        Assert.Equal(OperationStatus.Succeeded, (await hosts.Deploy(appliance)).Status);
        Assert.Equal([2, 2, 2], hosts.Counts());
    }

    [Fact]
    public async Task Hosts_WithOneThatDoesNotAnswer_ListsItAsAwayAndTheOthersAsTheyAre()
    {
        await using var hosts = await SimulatedHosts.Start(hosts: 2, machines: 2, silent: "host-2");

        var views = await hosts.Datacenter.Hosts();

        Assert.Equal([HostStatus.Available, HostStatus.Away], views.Select(view => view.Status));
        Assert.Equal(OperationStatus.Succeeded, (await hosts.Deploy(await hosts.AddAppliance(machines: 2))).Status);
        Assert.Equal([2, 0], hosts.Counts());
    }

    [Fact]
    public async Task Forget_OfAHost_IsAllowedWhereItIsAwayWithoutMachines()
    {
        await using var hosts = await SimulatedHosts.Start(hosts: 3, machines: 2);
        foreach (var other in (string[])["host-1", "host-3"]) await hosts.Datacenter.SetMaintenance(new(other), true);
        await hosts.Deploy(await hosts.AddAppliance(machines: 1));
        Assert.Equal([0, 1, 0], hosts.Counts());
        Assert.Equal("host-not-away", await Code(() => hosts.Datacenter.Forget(new("host-3"))));
        foreach (var call in (Func<HostId, Task>[])[hosts.Datacenter.Forget, hosts.Datacenter.Host, host => hosts.Datacenter.SetMaintenance(host, true)])
            Assert.Equal("host-not-found", await Code(() => call(new("elsewhere"))));

        await hosts.Stop("host-3");
        await hosts.Datacenter.Forget(new("host-3"));
        await hosts.Stop("host-2");

        Assert.Equal("host-has-machines", await Code(() => hosts.Datacenter.Forget(new("host-2"))));
        Assert.Equal(["host-1", "host-2"], (await hosts.Datacenter.Hosts()).Select(view => view.Id.Name));
    }

    [Fact]
    public async Task Forget_OfAHostThatUsedTheLibrarysFolder_LetsTheLibrarySweepAgain()
    {
        await using var hosts = await SimulatedHosts.Start(hosts: 2, machines: 2);
        await hosts.Stop("host-2");
        // A host that has registered, and one from before the database was recreated.
        foreach (var host in (HostId[])[new("host-2"), new("host-9")])
        {
            hosts.Layers.AddUser(host);
            await hosts.Datacenter.Forget(host);
            Assert.DoesNotContain(host, hosts.Layers.Users());
            Assert.Equal("host-not-found", await Code(() => hosts.Datacenter.Forget(host)));
        }
    }

    private static async Task<string> Code(Func<Task> call) => (await Assert.ThrowsAsync<FaultException>(call)).Fault.Code;
}
