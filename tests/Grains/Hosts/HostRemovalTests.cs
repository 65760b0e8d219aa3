using Instances.Appliances;
using Instances.Doctor;
using Instances.Faults;
using Instances.Hosts;
using Instances.Operations;
using Instances.Testing;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Grains.Tests.Hosts;

/// <summary>A host comes back, and none of its machines has a record there any more: too many to remove without the operator.</summary>
public sealed class HostRemovalTests : IAsyncLifetime
{
    private const string First = "host-1";

    private HostsCluster _cluster = null!;

    public async ValueTask InitializeAsync() => _cluster = await HostsCluster.Start();

    public ValueTask DisposeAsync() => _cluster.DisposeAsync();

    private IHostGrain Host => _cluster.Grains.Host(new(First));

    [Fact]
    public async Task Machines_TooManyToBeRemoved_WaitForTheOperatorWhoDiscardsThem()
    {
        await GivenUp(machines: 6);

        var view = await Host.Get();
        Assert.Equal((HostStatus.Available, 6), (view.Status, view.VirtualMachines));
        Assert.Contains($"silo host discard {First}", view.Problem, StringComparison.Ordinal);
        var report = await _cluster.Grains.Doctor().Examine(fix: true);
        Assert.Contains(report.Findings, finding => finding is { Code: "host-removal-held", Fixable: false });
        Assert.Equal(6, _cluster.HostOf(First).Machines.Count);
        var machines = _cluster.HostOf(First).Machines.Keys.ToList();
        Assert.Equal("removal-held", (await Assert.ThrowsAsync<FaultException>(() => Host.RemoveOrphan(machines[0], []))).Fault.Code);

        await Host.Discard(dryRun: false, [.. machines.Skip(1)]);
        Assert.Equal(RecoveryOutcome.LeftOut, Assert.Single((await Ended()).Machines, machine => machine.Id == machines[0]).Outcome);
        Assert.Equal(machines[0], Assert.Single(_cluster.HostOf(First).Machines).Key);
        await Host.Discard(dryRun: false, machines);

        Assert.All((await Ended()).Machines, machine => Assert.Equal(RecoveryOutcome.Discarded, machine.Outcome));
        Assert.Empty(_cluster.HostOf(First).Machines);
        Assert.Null((await Host.Get()).Problem);
    }

    [Fact]
    public async Task Machines_TooManyToBeRemoved_CanBeAdopted()
    {
        var appliance = await GivenUp(machines: 6);
        var layers = _cluster.HostOf(First).Machines.Values.SelectMany(machine => machine.Disks).SelectMany(disk => disk.Layers).ToHashSet();
        await _cluster.Grains.Library().Sweep();
        Assert.All(layers, layer => Assert.True(_cluster.Layers.Contains(layer)));

        await Host.Adopt(dryRun: true);
        Assert.All((await Ended()).Machines, machine => Assert.Equal(RecoveryOutcome.Adopted, machine.Outcome));
        Assert.Equal(ApplianceStatus.Undeployed, (await appliance.Get()).Status);
        await Host.Adopt(dryRun: false);

        Assert.All((await Ended()).Machines, machine => Assert.Equal(RecoveryOutcome.Adopted, machine.Outcome));
        Assert.Equal(ApplianceStatus.Deployed, (await appliance.Get()).Status);
        Assert.All(await _cluster.Machines(appliance), machine => Assert.Equal((VirtualMachineStatus.Running, First), (machine.Status, machine.Host!.Value.Name)));
        Assert.Equal(OperationStatus.Succeeded, (await _cluster.End(await appliance.CreateInstance(OperationId.New(), new()))).Status);
        Assert.Empty(_cluster.HostOf(First).Machines);
    }

    /// <summary>The appliance was undeployed by force while its host was unreachable, and the host is back.</summary>
    private async Task<IApplianceGrain> GivenUp(int machines)
    {
        var appliance = await _cluster.Deployed(machines);
        await _cluster.Kill(First);
        await Eventually.Holds(async () => (await _cluster.Machines(appliance)).All(machine => machine.Status is VirtualMachineStatus.Unknown), "the machines are Unknown");
        Assert.Equal(OperationStatus.Succeeded, (await _cluster.End(await appliance.Undeploy(OperationId.New(), force: true))).Status);
        await _cluster.Return(First);
        return appliance;
    }

    private async Task<HostRecovery> Ended()
    {
        await Eventually.Holds(async () => (await Host.GetRecovery()).FinishedAt is not null, "the recovery ends");
        var ended = await Host.GetRecovery();
        Assert.Null(ended.Problem);
        return ended;
    }
}
