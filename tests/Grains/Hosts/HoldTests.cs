using Instances.Appliances;
using Instances.Hosts;
using Instances.Operations;
using Instances.Testing;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Grains.Tests.Hosts;

/// <summary>The dead man's switch of a host, with a bound of one second.</summary>
public sealed class HoldTests : IAsyncLifetime
{
    private SimulatedCluster _cluster = null!;

    public async ValueTask InitializeAsync() => _cluster = await SimulatedCluster.Start(holdBound: TimeSpan.FromSeconds(1));

    public ValueTask DisposeAsync() => _cluster.DisposeAsync();

    [Theory]
    [InlineData("pause", Quiesce.Freeze)]
    [InlineData("seal", Quiesce.Freeze)]
    [InlineData("seal", Quiesce.Shutdown)]
    [InlineData("publish", Quiesce.Freeze)]
    [InlineData("commit", Quiesce.Freeze)]
    public async Task Hold_LongerThanTheBoundBeforeTheCommit_LetsTheMachinesGoAndFailsTheOperation(string step, Quiesce quiesce)
    {
        var scene = await Scene.DeployedInAllPowerStates(_cluster);
        var before = await scene.LookWithoutDisks();
        _cluster.Probe.HoldBefore = step;
        var operation = await scene.Appliance.CreateInstance(OperationId.New(), new(Quiesce: quiesce));
        await _cluster.Probe.Arrived;

        await Eventually.Holds(
            () => Task.FromResult(_cluster.Host.Machines.Values.All(machine => !machine.IsFrozen && !machine.WasPaused && !machine.WasShutDown)), "the machines go on");
        Assert.Equal(
            [VirtualMachineStatus.Running, VirtualMachineStatus.Paused, VirtualMachineStatus.Stopped],
            (await scene.Machines()).Select(machine => _cluster.Host.Machines[machine.Id].Status));
        _cluster.Probe.Release();

        var end = await _cluster.End(operation);
        Assert.Equal((OperationStatus.Failed, "hold-expired"), (end.Status, end.Fault!.Code));
        Assert.Equal(before, await scene.LookWithoutDisks());
        await scene.AssertRestsDeployed();
        await scene.AssertInstances(await scene.CreateInstance(new()), 3);
    }

    [Fact]
    public async Task Hold_LongerThanTheBoundBehindTheCommit_KeepsTheMachinesPaused()
    {
        var scene = await Scene.Deployed(_cluster);
        _cluster.Probe.HoldBefore = "undeploy";
        var operation = await scene.Appliance.CreateInstance(OperationId.New(), new());
        await _cluster.Probe.Arrived;

        // The host asks every 40 ms: when it asks now, it is told to keep them.
        Assert.Equal(HoldVerdict.Keep, await scene.Appliance.ReleaseHold(operation.Id));
        Assert.Equal(HoldVerdict.Release, await scene.Appliance.ReleaseHold(OperationId.New()));
        await Eventually.Holds(() => Task.FromResult(_cluster.Host.Machines.Values.All(HeldFor(TimeSpan.FromSeconds(1.5)))), "the bound passes");
        Assert.All(_cluster.Host.Machines.Values, machine => Assert.Equal(VirtualMachineStatus.Paused, machine.Status));
        _cluster.Probe.Release();

        await scene.AssertInstances(await _cluster.End(operation), 3);
        await scene.AssertRestsUndeployed();
    }

    [Fact]
    public async Task Hold_FoundAfterARestartBeforeTheCommit_IsReleased()
    {
        var scene = await Scene.DeployedInAllPowerStates(_cluster);
        _cluster.HostOptions.HoldBound = TimeSpan.FromMinutes(2);
        _cluster.Probe.HoldBefore = "publish";
        var operation = await scene.Appliance.CreateInstance(OperationId.New(), new());
        await _cluster.Probe.Arrived;
        Assert.Contains(_cluster.Host.Machines.Values, machine => machine.WasPaused);
        _cluster.HostOptions.HoldBound = TimeSpan.FromSeconds(1);

        await _cluster.Crash();

        // Nobody asks: the host does, and wakes the appliance by it.
        await Eventually.Holds(() => Task.FromResult(_cluster.Host.Machines.Values.All(machine => machine.Hold is null)), "the host lets the machines go");
        var end = await _cluster.End(operation);
        Assert.Equal(OperationStatus.Failed, end.Status);
        await scene.AssertRestsDeployed();
    }

    [Fact]
    public async Task Hold_FoundAfterARestartBehindTheCommit_IsKeptUntilTheMachinesAreUndeployed()
    {
        var scene = await Scene.Deployed(_cluster);
        _cluster.Probe.HoldBefore = "register";
        var operation = await scene.Appliance.CreateInstance(OperationId.New(), new());
        await _cluster.Probe.Arrived;
        _cluster.Host.Journal.Clear();

        await _cluster.Crash();

        await scene.AssertInstances(await _cluster.End(operation), 3);
        Assert.DoesNotContain(_cluster.Host.Journal, call => call.Call is Simulation.SimulatedCall.Resume or Simulation.SimulatedCall.Unquiesce);
        await scene.AssertRestsUndeployed();
    }

    private static Func<Simulation.SimulatedMachine, bool> HeldFor(TimeSpan time) => machine => TimeProvider.System.GetUtcNow() - machine.Hold!.Since > time;
}
