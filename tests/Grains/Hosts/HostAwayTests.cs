using Instances.Appliances;
using Instances.Faults;
using Instances.Operations;
using Instances.Simulation;
using Instances.Testing;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Grains.Tests.Hosts;

/// <summary>Hosts that become unreachable, and come back or do not.</summary>
public sealed class HostAwayTests : IAsyncLifetime
{
    private const string First = "host-1";
    private const string Second = "host-2";

    private HostsCluster _cluster = null!;

    public async ValueTask InitializeAsync() => _cluster = await HostsCluster.Start();

    public ValueTask DisposeAsync() => _cluster.DisposeAsync();

    [Fact]
    public async Task Machines_WhenTheirHostGoesAndComesBack_AreUnknownAndThenAsTheyWere()
    {
        var appliance = await _cluster.Deployed(machines: 3);
        var machines = await _cluster.Machines(appliance);
        await Machine(machines[1].Id).Power(PowerAction.Pause);
        await Machine(machines[2].Id).Power(PowerAction.Off);
        var before = await _cluster.Machines(appliance);

        await _cluster.Kill(First);
        await BecomeUnknown(appliance);

        Assert.All(await _cluster.Machines(appliance), machine => Assert.Contains(First, machine.Problem, StringComparison.Ordinal));
        Assert.Equal(before.Select(machine => machine.WishedStatus), (await _cluster.Machines(appliance)).Select(machine => machine.WishedStatus));
        Assert.Equal("host-unavailable", (await Assert.ThrowsAsync<FaultException>(() => Machine(machines[2].Id).Power(PowerAction.On))).Fault.Code);
        Assert.Equal("host-unavailable", (await Assert.ThrowsAsync<FaultException>(() => appliance.CreateInstance(OperationId.New(), new()))).Fault.Code);

        await _cluster.Return(First);

        await Eventually.Holds(async () => Json(await _cluster.Machines(appliance)) == Json(before), "the machines are as they were");
        Assert.DoesNotContain(_cluster.HostOf(First).Journal.Skip(1), call => call.Call is SimulatedCall.Remove);
        Assert.Empty(_cluster.HostOf(Second).Machines);
    }

    [Fact]
    public async Task Machines_WhenTheirHostIsRestarted_AreStartedAgainAsWished()
    {
        var appliance = await _cluster.Deployed(machines: 2);
        var machines = await _cluster.Machines(appliance);
        await Machine(machines[1].Id).Power(PowerAction.Off);

        await _cluster.Kill(First);
        _cluster.HostOf(First).Reboot();
        await _cluster.Return(First);

        await Eventually.Holds(
            async () => (await _cluster.Machines(appliance)).Select(machine => machine.Status).SequenceEqual([VirtualMachineStatus.Running, VirtualMachineStatus.Stopped]), "as wished");
        Assert.Equal(
            [VirtualMachineStatus.Running, VirtualMachineStatus.Stopped], machines.Select(machine => _cluster.HostOf(First).Machines[machine.Id].Status));
    }

    [Fact]
    public async Task Machine_ThatItsHostHasLost_IsUnknownAndCanBeUndeployed()
    {
        var appliance = await _cluster.Deployed(machines: 2);
        var machines = await _cluster.Machines(appliance);

        await _cluster.Kill(First);
        await BecomeUnknown(appliance);
        _cluster.HostOf(First).Machines.TryRemove(machines[0].Id, out _);
        await _cluster.Return(First);

        await Eventually.Holds(
            async () => await Machine(machines[0].Id).Get() is { Status: VirtualMachineStatus.Unknown, Problem: { } problem } && problem.Contains("lost", StringComparison.Ordinal), "it is lost");
        Assert.Equal(VirtualMachineStatus.Running, (await Machine(machines[1].Id).Get()).Status);
        Assert.Equal(OperationStatus.Succeeded, (await _cluster.End(await appliance.Undeploy(OperationId.New(), force: false))).Status);
        Assert.Equal(ApplianceStatus.Undeployed, (await appliance.Get()).Status);
        Assert.Empty(_cluster.HostOf(First).Machines);
    }

    [Fact]
    public async Task ForcedUndeploy_AndDeployElsewhere_NeverRunsAMachineTwiceWhenTheHostIsBack()
    {
        var appliance = await _cluster.Deployed(machines: 2);
        var machines = await _cluster.Machines(appliance);
        await _cluster.Kill(First);
        await BecomeUnknown(appliance);

        var key = OperationId.New();
        Assert.Equal(OperationStatus.Succeeded, (await _cluster.End(await appliance.Undeploy(key, force: true))).Status);
        Assert.Equal(key, (await appliance.Undeploy(key, force: true)).Id);
        Assert.Equal("idempotency-key-reused", (await Assert.ThrowsAsync<FaultException>(() => appliance.Undeploy(key, force: false))).Fault.Code);
        Assert.Equal(OperationStatus.Succeeded, (await _cluster.End(await appliance.Deploy(OperationId.New()))).Status);
        Assert.Equal(2, _cluster.HostOf(Second).Machines.Count);

        // Its remaining machines are stopped. They would be restarted if they had records.
        _cluster.HostOf(First).Reboot();
        _cluster.HostOf(First).Journal.Clear();
        await _cluster.Return(First);

        await Eventually.Holds(() => Task.FromResult(_cluster.HostOf(First).Machines.IsEmpty), "what was given up is removed");
        Assert.DoesNotContain(_cluster.HostOf(First).Journal, call => call.Call is SimulatedCall.Start or SimulatedCall.Power);
        Assert.All(await _cluster.Machines(appliance), machine => Assert.Equal((VirtualMachineStatus.Running, Second), (machine.Status, machine.Host!.Value.Name)));
        Assert.All(machines, machine => Assert.Equal(VirtualMachineStatus.Running, _cluster.HostOf(Second).Machines[machine.Id].Status));
    }

    [Fact]
    public async Task Undeploy_OfAHostThatIsAway_IsStuckUntilItIsForced()
    {
        var appliance = await _cluster.Deployed(machines: 2);
        await _cluster.Kill(First);

        var operation = await appliance.Undeploy(OperationId.New(), force: false);
        await Eventually.Holds(async () => await _cluster.Grains.Operation(operation.Id).Find() is { Status: OperationStatus.Stuck, Fault.Code: "host-unavailable" }, "it is stuck");
        Assert.Contains("force the operation", (await _cluster.Grains.Operation(operation.Id).Find())!.Fault!.Message, StringComparison.Ordinal);

        await _cluster.Grains.Operation(operation.Id).Force();

        Assert.Equal(OperationStatus.Succeeded, (await _cluster.End(operation)).Status);
        Assert.Equal(ApplianceStatus.Undeployed, (await appliance.Get()).Status);
        await _cluster.Return(First);
        await Eventually.Holds(() => Task.FromResult(_cluster.HostOf(First).Machines.IsEmpty), "what was given up is removed");
    }

    [Fact]
    public async Task Undeploy_OfAHostThatIsAway_GoesOnWhenItIsBack()
    {
        var appliance = await _cluster.Deployed(machines: 2);
        await _cluster.Kill(First);
        var operation = await appliance.Undeploy(OperationId.New(), force: false);
        await Eventually.Holds(async () => await _cluster.Grains.Operation(operation.Id).Find() is { Status: OperationStatus.Stuck }, "it is stuck");

        await _cluster.Return(First);

        Assert.Equal(OperationStatus.Succeeded, (await _cluster.End(operation)).Status);
        Assert.Empty(_cluster.HostOf(First).Machines);
    }

    [Fact]
    public async Task Deploy_WhoseHostGoes_IsUndoneByForceAndCleanedWhenTheHostIsBack()
    {
        var appliance = await _cluster.Undeployed(machines: 2);
        var arrived = _cluster.HostOf(First).HoldNext(SimulatedCall.Start);
        var operation = await appliance.Deploy(OperationId.New());
        await arrived.WaitAsync(Bounds.Wait, TestContext.Current.CancellationToken);
        await _cluster.Kill(First);
        await Eventually.Holds(async () => await _cluster.Grains.Operation(operation.Id).Find() is { Status: OperationStatus.Stuck }, "its undo is stuck");

        await _cluster.Grains.Operation(operation.Id).Force();

        Assert.Equal(OperationStatus.Failed, (await _cluster.End(operation)).Status);
        Assert.Equal(ApplianceStatus.Undeployed, (await appliance.Get()).Status);
        await _cluster.Return(First);
        Assert.Empty(_cluster.HostOf(First).Machines);
    }

    [Fact]
    public async Task Capture_WhoseHostGoes_IsUndoneByForceAndTheMachineGoesOnWhenTheHostIsBack()
    {
        var appliance = await _cluster.Deployed(machines: 1);
        var machine = (await _cluster.Machines(appliance))[0];
        var arrived = _cluster.HostOf(First).HoldNext(SimulatedCall.Seal);
        var operation = await appliance.CreateInstance(OperationId.New(), new());
        await arrived.WaitAsync(Bounds.Wait, TestContext.Current.CancellationToken);
        await _cluster.Kill(First);
        await Eventually.Holds(async () => await _cluster.Grains.Operation(operation.Id).Find() is { Status: OperationStatus.Stuck }, "its undo is stuck");

        await _cluster.Grains.Operation(operation.Id).Force();

        Assert.Equal(OperationStatus.Failed, (await _cluster.End(operation)).Status);
        Assert.Equal((ApplianceStatus.Deployed, VirtualMachineStatus.Unknown), ((await appliance.Get()).Status, (await Machine(machine.Id).Get()).Status));

        await _cluster.Return(First);

        await Eventually.Holds(async () => await Machine(machine.Id).Get() is { Status: VirtualMachineStatus.Running, Problem: null }, "the machine keeps running");
        var found = _cluster.HostOf(First).Machines[machine.Id];
        Assert.Equal((VirtualMachineStatus.Running, null, false), (found.Status, found.Hold, found.IsFrozen));
        Assert.Equal(OperationStatus.Succeeded, (await _cluster.End(await appliance.CreateInstance(OperationId.New(), new()))).Status);
    }

    private IVirtualMachineGrain Machine(VirtualMachineId id) => _cluster.Grains.VirtualMachine(id);

    private Task BecomeUnknown(IApplianceGrain appliance) => Eventually.Holds(
        async () => (await _cluster.Machines(appliance)).All(machine => machine.Status is VirtualMachineStatus.Unknown), "the machines are Unknown");

    private static string Json<T>(T value) => System.Text.Json.JsonSerializer.Serialize(value, InstancesJson.Options);
}
