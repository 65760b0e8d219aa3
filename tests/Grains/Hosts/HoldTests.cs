using Instances.Appliances;
using Instances.Faults;
using Instances.Hosts;
using Instances.Operations;
using Instances.Simulation;
using Instances.Testing;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Grains.Tests.Hosts;

/// <summary>A host that checks its holds every 40 ms.</summary>
public sealed class QuickHoldFixture : IAsyncLifetime
{
    internal static readonly TimeSpan Quick = TimeSpan.FromSeconds(1);

    internal SimulatedCluster Cluster { get; private set; } = null!;

    public async ValueTask InitializeAsync() => Cluster = await SimulatedCluster.Start(holdBound: Quick);

    public ValueTask DisposeAsync() => Cluster.DisposeAsync();
}

/// <summary>The dead man's switch of a host. The test shortens its bound at the right moment.</summary>
public sealed class HoldTests : IClassFixture<QuickHoldFixture>
{
    private readonly SimulatedCluster _cluster;

    public HoldTests(QuickHoldFixture fixture)
    {
        _cluster = fixture.Cluster;
        _cluster.Reset();
        _cluster.HostOptions.HoldBound = new HostOptions().HoldBound;
    }

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

        _cluster.HostOptions.HoldBound = TimeSpan.FromMilliseconds(100);
        await Eventually.Holds(
            () => Task.FromResult(_cluster.Host.Machines.Values.All(machine => !machine.IsFrozen && !machine.WasPaused && !machine.WasShutDown)), "the machines are released");
        Assert.Equal(
            [VirtualMachineStatus.Running, VirtualMachineStatus.Paused, VirtualMachineStatus.Stopped],
            (await scene.Machines()).Select(machine => _cluster.Host.Machines[machine.Id].Status));
        _cluster.HostOptions.HoldBound = new HostOptions().HoldBound;
        _cluster.Probe.Release();

        var end = await _cluster.End(operation);
        Assert.Equal((OperationStatus.Failed, "hold-expired"), (end.Status, end.Fault!.Code));
        Assert.Equal(before, await scene.LookWithoutDisks());
        await scene.AssertRestsDeployed();
        await scene.AssertInstances(await scene.CreateInstance(new()), 3);
    }

    [Fact]
    public async Task Quiesce_DiskOfOneMachineIsStillSynced_FreezesNoGuest()
    {
        var scene = await Scene.Deployed(_cluster, machines: 2);
        var machines = (await scene.Machines()).Select(machine => _cluster.Host.Machines[machine.Id]).ToList();
        _cluster.Probe.HoldBefore = "quiesce";
        var operation = await scene.Appliance.CreateInstance(OperationId.New(), new(Undeploy: false));
        await _cluster.Probe.Arrived;
        _cluster.Host.Journal.Clear();
        var busy = _cluster.Host.HoldNext(SimulatedCall.SyncTops, machine: machines[0].Spec.Id);
        _cluster.Probe.Release();
        await busy.WaitAsync(Bounds.Wait, TestContext.Current.CancellationToken);
        await Eventually.Holds(() => Task.FromResult(_cluster.Host.Journal.Contains((SimulatedCall.SyncTops, machines[1].Spec.Id))), "the idle machine is synced");

        // The host's grain has done by then what it does without waiting.
        await _cluster.Grains.Host(new(_cluster.HostOptions.Name)).Get();
        Assert.DoesNotContain(_cluster.Host.Journal, call => call.Call is SimulatedCall.Quiesce);
        Assert.All(machines, machine => Assert.False(machine.IsFrozen));
        _cluster.Host.Release(SimulatedCall.SyncTops);
        await scene.AssertInstances(await _cluster.End(operation), 2);
        await scene.AssertRestsDeployed();
    }

    [Fact]
    public async Task Quiesce_UndoneWhileDisksAreSynced_FreezesNoGuest()
    {
        var scene = await Scene.Deployed(_cluster, machines: 1);
        var machine = _cluster.Host.Machines[(await scene.Machines())[0].Id];
        _cluster.Probe.HoldBefore = "quiesce";
        var operation = await scene.Appliance.CreateInstance(OperationId.New(), new());
        await _cluster.Probe.Arrived;
        var host = _cluster.Grains.Host(new(_cluster.HostOptions.Name));
        var synced = _cluster.Host.HoldNext(SimulatedCall.SyncTops, isDeaf: true);
        var late = host.Quiesce(operation.Id, [machine.Spec.Id], Quiesce.Freeze, TestContext.Current.CancellationToken);
        await synced.WaitAsync(Bounds.Wait, TestContext.Current.CancellationToken);
        await host.Unquiesce(operation.Id, [machine.Spec.Id]);
        _cluster.Host.Release(SimulatedCall.SyncTops);

        Assert.Equal("hold-expired", (await Assert.ThrowsAsync<FaultException>(() => late)).Fault.Code);
        Assert.False(machine.IsFrozen);
        _cluster.Probe.Release();
        await scene.AssertInstances(await _cluster.End(operation), 1);
    }

    [Fact]
    public async Task Hold_OneMachineCannotBeResumed_TheOtherIsReleased()
    {
        var scene = await Scene.Deployed(_cluster, machines: 2);
        var machines = (await scene.Machines()).Select(machine => _cluster.Host.Machines[machine.Id]).ToList();
        _cluster.Probe.HoldBefore = "seal";
        var operation = await scene.Appliance.CreateInstance(OperationId.New(), new());
        await _cluster.Probe.Arrived;
        Assert.All(machines, machine => Assert.Equal((VirtualMachineStatus.Paused, true), (machine.Status, machine.IsFrozen)));

        _cluster.Host.FailNext(SimulatedCall.Resume, int.MaxValue, machines[0].Spec.Id);
        _cluster.Host.FailNext(SimulatedCall.Unquiesce, int.MaxValue, machines[0].Spec.Id);
        _cluster.HostOptions.HoldBound = TimeSpan.FromMilliseconds(100);
        await Eventually.Holds(() => Task.FromResult(machines[1] is { Status: VirtualMachineStatus.Running, IsFrozen: false }), "the other machine is released");
        Assert.Equal((VirtualMachineStatus.Paused, true), (machines[0].Status, machines[0].IsFrozen));

        _cluster.Host.FailNext(SimulatedCall.Resume, times: 0);
        _cluster.Host.FailNext(SimulatedCall.Unquiesce, times: 0);
        await Eventually.Holds(() => Task.FromResult(machines[0] is { Status: VirtualMachineStatus.Running, IsFrozen: false }), "the host has tried again");
        _cluster.Probe.Release();
        Assert.Equal("hold-expired", (await _cluster.End(operation)).Fault!.Code);
        await scene.AssertRestsDeployed();
    }

    [Fact]
    public async Task Hold_LongerThanTheBoundBehindTheCommit_KeepsTheMachinesPaused()
    {
        var scene = await Scene.Deployed(_cluster);
        _cluster.Probe.HoldBefore = "undeploy";
        var operation = await scene.Appliance.CreateInstance(OperationId.New(), new());
        await _cluster.Probe.Arrived;

        _cluster.HostOptions.HoldBound = TimeSpan.FromMilliseconds(100);

        // When the host asks, the answer is to keep them. In half a second it asks ten times.
        Assert.Equal(HoldVerdict.Keep, await scene.Appliance.ReleaseHold(operation.Id));
        Assert.Equal(HoldVerdict.Release, await scene.Appliance.ReleaseHold(OperationId.New()));
        var machines = _cluster.Host.Machines.Values.Where(machine => machine.Hold?.Operation == operation.Id).ToList();
        await Eventually.Holds(() => Task.FromResult(machines.All(HeldFor(TimeSpan.FromSeconds(0.6)))), "the bound passes");
        Assert.Equal(3, machines.Count);
        Assert.All(machines, machine => Assert.Equal(VirtualMachineStatus.Paused, machine.Status));
        _cluster.Probe.Release();

        await scene.AssertInstances(await _cluster.End(operation), 3);
        await scene.AssertRestsUndeployed();
    }

    [Fact]
    public async Task Hold_FoundAfterARestartBeforeTheCommit_IsReleased()
    {
        var scene = await Scene.DeployedInAllPowerStates(_cluster);
        _cluster.Probe.HoldBefore = "publish";
        var operation = await scene.Appliance.CreateInstance(OperationId.New(), new());
        await _cluster.Probe.Arrived;
        Assert.Contains(_cluster.Host.Machines.Values, machine => machine.WasPaused);
        _cluster.HostOptions.HoldBound = QuickHoldFixture.Quick;

        await _cluster.Crash();

        // Only the host calls the appliance, and activates it by that.
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
        _cluster.HostOptions.HoldBound = QuickHoldFixture.Quick;

        await _cluster.Crash();

        await scene.AssertInstances(await _cluster.End(operation), 3);
        Assert.DoesNotContain(_cluster.Host.Journal, call => call.Call is SimulatedCall.Resume or SimulatedCall.Unquiesce);
        await scene.AssertRestsUndeployed();
    }

    private static Func<SimulatedMachine, bool> HeldFor(TimeSpan time) => machine => TimeProvider.System.GetUtcNow() - machine.Hold!.Since > time;
}
