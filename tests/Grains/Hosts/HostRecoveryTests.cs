using Instances.Appliances;
using Instances.Faults;
using Instances.Hosts;
using Instances.Operations;
using Instances.Simulation;
using Instances.Testing;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Grains.Tests.Hosts;

/// <summary>Machines of a host that have no record: the database was lost, or their appliance was undeployed by force.</summary>
public sealed class HostRecoveryTests : IAsyncLifetime
{
    private SimulatedCluster _cluster = null!;

    /// <summary>The host reports again what it could not report 10 times a second.</summary>
    public async ValueTask InitializeAsync()
    {
        _cluster = await SimulatedCluster.Start(holdBound: TimeSpan.FromSeconds(2.4));
        _cluster.HostOptions.DiskRetryPause = TimeSpan.FromMilliseconds(10);
        await Host.Start();
    }

    public ValueTask DisposeAsync() => _cluster.DisposeAsync();

    private IHostGrain Host => _cluster.Grains.Host(new(_cluster.HostOptions.Name));

    [Fact]
    public async Task Adopt_AfterTheDatabaseIsLost_KeepsMachinesInEveryState()
    {
        var scene = await Scene.Deployed(_cluster, machines: 5);
        var ids = (await scene.Machines()).Select(machine => machine.Id).ToList();
        await scene.Machine(ids[1]).Power(PowerAction.Pause);
        await scene.Machine(ids[2]).Power(PowerAction.Off);
        var (awaitsDisk, held) = (_cluster.Host.Machines[ids[3]], _cluster.Host.Machines[ids[4]]);
        (awaitsDisk.Status, awaitsDisk.Trouble, awaitsDisk.AwaitsDisk) = (VirtualMachineStatus.Paused, "The disk is full.", true);
        (held.Status, held.Hold, held.WasPaused) = (VirtualMachineStatus.Paused, new(OperationId.New(), TimeProvider.System.GetUtcNow()), true);

        await IsStranger();
        await Adopt();

        Assert.Equal(ids.ToHashSet(), _cluster.Host.Machines.Keys.ToHashSet());
        await Eventually.Holds(
            async () => (await Task.WhenAll(ids.Select(id => scene.Machine(id).Get()))).Select(machine => machine.Status).SequenceEqual(
                [VirtualMachineStatus.Running, VirtualMachineStatus.Paused, VirtualMachineStatus.Stopped, VirtualMachineStatus.Running, VirtualMachineStatus.Running]),
            "each machine is as its user left it");
        Assert.Equal((HostStatus.Available, null), ((await Host.Get()).Status, (await Host.Get()).Problem));
        await scene.AssertRestsDeployed();
    }

    [Fact]
    public async Task Adopt_ARecordDoesNotAnswerAtTheEnd_ItsMachineStays()
    {
        var scene = await Scene.Deployed(_cluster, machines: 2);
        var ids = (await scene.Machines()).Select(machine => machine.Id).ToList();
        await IsStranger();
        var failed = new TaskCompletionSource();
        _cluster.AfterNext("Instances.Datacenters.IDatacenterGrain.Register", () =>
        {
            _cluster.FailNext["Observe"] = new TimeoutException("The database does not answer.");
            failed.SetResult();
            return Task.CompletedTask;
        });

        await Adopt();

        Assert.True(failed.Task.IsCompleted);
        Assert.Empty(_cluster.FailNext);
        Assert.Equal(ids.ToHashSet(), _cluster.Host.Machines.Keys.ToHashSet());
        await scene.AssertRestsDeployed();
    }

    [Fact]
    public async Task Adopt_MachineWithBinaryUserData_KeepsIt()
    {
        const string Data = "H4sA/w==";
        var scene = await Scene.Undeployed(_cluster, machines: 6);
        var machine = (await scene.Machines())[0].Id;
        await scene.Appliance.PatchVirtualMachine(machine, new($$"""{"userDataBase64":"{{Data}}"}"""), []);
        await scene.Deploy();
        await IsGivenUp(scene);

        await Adopt();

        Assert.Equal(Data, (await scene.Machine(machine).GetSpec()).UserDataBase64);
    }

    [Fact]
    public async Task GivenUp_ManyAtOnceOnARunningHost_AreJudgedTogether()
    {
        var scene = await Scene.Deployed(_cluster, machines: 12);
        _cluster.Host.SetLatency(SimulatedCall.Remove, TimeSpan.FromMilliseconds(100));

        await IsGivenUp(scene);

        Assert.InRange(_cluster.Host.Machines.Count, 12 - RemovalRule.Few, 12);
        await Host.Discard(dryRun: false, [.. _cluster.Host.Machines.Keys]);
        await Ended();
        Assert.Empty(_cluster.Host.Machines);
    }

    [Fact]
    public async Task GivenUp_AndDeployedAgain_NoLongerWaitForTheOperator()
    {
        var scene = await Scene.Deployed(_cluster, machines: 6);
        await IsGivenUp(scene);

        Assert.Equal(OperationStatus.Succeeded, (await scene.Deploy()).Status);

        Assert.Null((await Host.Get()).Problem);
        await scene.AssertRestsDeployed();
    }

    /// <summary>A host of the release that had no bindings.</summary>
    [Fact]
    public async Task Start_WithoutABindingAndWithAMachineThatCannotBeTakenOver_GoesByTheMachinesRecord()
    {
        var scene = await Scene.Deployed(_cluster, machines: 1);
        var machine = (await scene.Machines())[0].Id;
        _cluster.Host.Machines.TryRemove(machine, out _);
        _cluster.Host.Leftovers[machine] = new(machine, HasRunFolder: true, ProcessId: 4711);
        _cluster.Host.Binding = null;
        await _cluster.Crash();

        Assert.Equal(HostStatus.Available, (await Host.Start()).Status);
    }

    private async Task IsStranger()
    {
        await _cluster.LoseDatabase();
        var machines = _cluster.Host.Machines.Count;
        Assert.Equal((HostStatus.Blocked, machines), ((await Host.Start()).Status, _cluster.Host.Machines.Count));
        Assert.Equal("host-unknown-to-database", (await Assert.ThrowsAsync<FaultException>(() => Host.RemoveOrphan(_cluster.Host.Machines.Keys.First(), []))).Fault.Code);
        await _cluster.Grains.Library().Rebuild(dryRun: false);
        await Eventually.Holds(async () => (await _cluster.Grains.Library().GetRebuild()).FinishedAt is not null, "the library's records are there");
    }

    /// <summary>The appliance is undeployed by force while the host cannot remove its machines, and then the host can.</summary>
    private async Task IsGivenUp(Scene scene)
    {
        _cluster.Host.FailNext(SimulatedCall.Remove, times: 1_000_000);
        Assert.Equal(OperationStatus.Succeeded, (await _cluster.End(await scene.Appliance.Undeploy(OperationId.New(), force: true))).Status);
        _cluster.Host.FailNext(SimulatedCall.Remove, times: 0);
        await Eventually.Holds(async () => (await Host.Get()).Problem?.StartsWith($"{_cluster.Host.Machines.Count} ", StringComparison.Ordinal) == true, "the machines wait for the operator");
    }

    private async Task Adopt()
    {
        await Host.Adopt(dryRun: false);
        Assert.All((await Ended()).Machines, machine => Assert.Equal(RecoveryOutcome.Adopted, machine.Outcome));
    }

    private async Task<HostRecovery> Ended()
    {
        await Eventually.Holds(async () => (await Host.GetRecovery()).FinishedAt is not null, "the recovery ends");
        var ended = await Host.GetRecovery();
        Assert.Null(ended.Problem);
        return ended;
    }
}
