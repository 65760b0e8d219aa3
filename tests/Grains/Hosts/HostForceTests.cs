using Instances.Appliances;
using Instances.Hosts;
using Instances.Operations;
using Instances.Simulation;
using Instances.Testing;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Grains.Tests.Hosts;

/// <summary>Hosts that become unreachable during an operation: healthy hosts do not wait for them, and force ends an operation that waits.</summary>
public sealed class HostForceTests : IAsyncLifetime
{
    private const string First = "host-1";
    private const string Second = "host-2";

    private HostsCluster _cluster = null!;

    public async ValueTask InitializeAsync() => _cluster = await HostsCluster.Start();

    public ValueTask DisposeAsync() => _cluster.DisposeAsync();

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Undeploy_WithoutAnyHostSilo_EndsByForce(bool fromTheStart)
    {
        var appliance = await _cluster.Deployed(machines: 2);
        await _cluster.Kill(Second);
        await _cluster.Kill(First);
        await Eventually.Holds(
            async () => (await _cluster.Machines(appliance)).All(machine => machine.Status is VirtualMachineStatus.Unknown), "the machines are Unknown");

        var operation = await appliance.Undeploy(OperationId.New(), force: fromTheStart);
        if (!fromTheStart)
        {
            await IsStuck(operation);
            await _cluster.Grains.Operation(operation.Id).Force();
        }

        var end = await _cluster.End(operation);
        Assert.Equal(OperationStatus.Succeeded, end.Status);
        Assert.All(end.VirtualMachines, machine => Assert.Contains("given up", machine.Activity, StringComparison.Ordinal));
        Assert.Equal(ApplianceStatus.Undeployed, (await appliance.Get()).Status);
    }

    [Fact]
    public async Task Undeploy_WhileOneHostIsAway_RemovesTheMachinesOfTheOthers()
    {
        var appliance = await DeployedOnBoth(onFirst: FanOut.PerHost + 1);
        await _cluster.Kill(First);

        var operation = await appliance.Undeploy(OperationId.New(), force: false);
        await IsStuck(operation);

        Assert.Empty(_cluster.HostOf(Second).Machines);
        await _cluster.Return(First);
        Assert.Equal(OperationStatus.Succeeded, (await _cluster.End(operation)).Status);
        Assert.Empty(_cluster.HostOf(First).Machines);
    }

    [Fact]
    public async Task Capture_WhoseHostGoes_ReleasesTheMachinesOfTheOtherHosts()
    {
        var appliance = await DeployedOnBoth(onFirst: 1);
        var other = _cluster.HostOf(Second).Machines.Values.Single();
        var arrived = _cluster.HostOf(First).HoldNext(SimulatedCall.Seal);
        var operation = await appliance.CreateInstance(OperationId.New(), new());
        await arrived.WaitAsync(Bounds.Wait, TestContext.Current.CancellationToken);
        await _cluster.Kill(First);

        await IsStuck(operation);

        Assert.Equal((VirtualMachineStatus.Running, null, false), (other.Status, other.Hold, other.IsFrozen));
        await _cluster.Grains.Operation(operation.Id).Force();
        Assert.Equal(OperationStatus.Failed, (await _cluster.End(operation)).Status);
        Assert.Equal(VirtualMachineStatus.Running, (await _cluster.Grains.VirtualMachine(other.Spec.Id).Get()).Status);
    }

    [Fact]
    public async Task CommittedCapture_WhoseHostGoes_KeepsTheLayersOfItsImageAfterTheMachineIsUndeployed()
    {
        var appliance = await _cluster.Deployed(machines: 1);
        var machine = (await _cluster.Machines(appliance))[0];
        var arrived = _cluster.HostOf(First).HoldNext(SimulatedCall.EndHold);
        var operation = await appliance.CreateInstance(OperationId.New(), new(Undeploy: false));
        await arrived.WaitAsync(Bounds.Wait, TestContext.Current.CancellationToken);
        await _cluster.Kill(First);
        await IsStuck(operation);
        await _cluster.Grains.Operation(operation.Id).Force();
        var end = await _cluster.End(operation);
        Assert.Equal(OperationStatus.Succeeded, end.Status);

        await _cluster.Return(First);
        await Eventually.Holds(
            async () => await _cluster.Grains.VirtualMachine(machine.Id).Get() is { Status: VirtualMachineStatus.Running, Problem: null }, "the machine is seen again");
        Assert.Equal(OperationStatus.Succeeded, (await _cluster.End(await appliance.Undeploy(OperationId.New(), force: false))).Status);

        var image = await _cluster.Grains.Image(end.Result!.Instances![0].Image).Get();
        Assert.All(image.Disks.SelectMany(disk => disk.Layers), layer => Assert.Contains(layer.Id, _cluster.Layers.Layers.Keys));
    }

    /// <summary>The first host gets this number of machines, and the second host one machine.</summary>
    private async Task<IApplianceGrain> DeployedOnBoth(int onFirst)
    {
        var appliance = await _cluster.Deployed(onFirst);
        await _cluster.Grains.Datacenter().SetMaintenance(new(First), maintenance: true);
        var image = (await _cluster.Machines(appliance))[0].Image;
        await appliance.AddVirtualMachine(VirtualMachineId.New(), new("other", image, MemoryBytes: 64L << 20));
        Assert.Equal(OperationStatus.Succeeded, (await _cluster.End(await appliance.Deploy(OperationId.New()))).Status);
        Assert.Equal((onFirst, 1), (_cluster.HostOf(First).Machines.Count, _cluster.HostOf(Second).Machines.Count));
        return appliance;
    }

    private Task IsStuck(OperationView operation) => Eventually.Holds(
        async () => await _cluster.Grains.Operation(operation.Id).Find() is { Status: OperationStatus.Stuck, Fault.Code: "host-unavailable" }, "the operation is stuck, and says that a host is unreachable");
}
