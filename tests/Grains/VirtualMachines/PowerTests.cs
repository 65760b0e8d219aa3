using Instances.Appliances;
using Instances.Faults;
using Instances.Hosts;
using Instances.Operations;
using Instances.Requests;
using Instances.Simulation;
using Instances.Testing;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Grains.Tests.VirtualMachines;

public sealed class PowerTests(ClusterFixture fixture) : ClusterTest(fixture)
{
    [Theory]
    [InlineData(PowerAction.Pause, VirtualMachineStatus.Paused)]
    [InlineData(PowerAction.Off, VirtualMachineStatus.Stopped)]
    [InlineData(PowerAction.Reset, VirtualMachineStatus.Running)]
    [InlineData(PowerAction.On, VirtualMachineStatus.Running)]
    public async Task Power_OfARunningMachine_IsDoneByItsHost(PowerAction action, VirtualMachineStatus expected)
    {
        var (scene, id) = await Machine();

        var view = await scene.Machine(id).Power(action);

        Assert.Equal((expected, expected, null), (view.Status, view.WishedStatus, view.Problem));
        await scene.AssertRestsDeployed();
    }

    [Fact]
    public async Task Power_WhoseMachineCrashesBeforeItIsRecorded_IsRecordedAllTheSame()
    {
        var (scene, id) = await Machine();

        // The host has carried it out, and the caller has died.
        await Cluster.Grains.Host(new(Cluster.HostOptions.Name)).Power(id, PowerAction.Off);

        await Eventually.Holds(async () => await scene.Machine(id).Get() is { Status: VirtualMachineStatus.Stopped, WishedStatus: VirtualMachineStatus.Stopped }, "the machine is shown stopped");
    }

    [Fact]
    public async Task Observe_OfAMachineThatDies_StartsItAgain()
    {
        Cluster.HostOptions.RestartPause = TimeSpan.FromMilliseconds(10);
        var (scene, id) = await Machine();

        Cluster.Host.Dies(id);

        await Eventually.Holds(() => Task.FromResult(Cluster.Host.Machines[id].Status is VirtualMachineStatus.Running), "the machine runs again");
        await Eventually.Holds(async () => await scene.Machine(id).Get() is { Status: VirtualMachineStatus.Running, Problem: null }, "the machine is shown running");
    }

    [Fact]
    public async Task Observe_OfAMachineThatDiesAgainAndAgain_GivesUpAndSaysSoUntilAPersonPowersItOn()
    {
        Cluster.HostOptions.RestartPause = TimeSpan.FromMilliseconds(1);
        var (scene, id) = await Machine();
        Cluster.Host.Journal.Clear();

        for (var death = 0; death <= Cluster.HostOptions.MaxRestarts; death++)
        {
            // Only the record may not know of the death yet.
            var starts = death;
            await Eventually.Holds(
                async () => Cluster.Host.Journal.Count(call => call == (SimulatedCall.Power, id)) == starts && Cluster.Host.Machines[id].Status is VirtualMachineStatus.Running
                    && await scene.Machine(id).Get() is { Status: VirtualMachineStatus.Running, Problem: null },
                $"the machine runs after {death} deaths");
            Cluster.Host.Dies(id);
        }

        await Eventually.Holds(async () => (await scene.Machine(id).Get()).Problem is { } problem && problem.Contains("not restarted", StringComparison.Ordinal), "the machine is given up");
        var view = await scene.Machine(id).Get();
        Assert.Equal((VirtualMachineStatus.Stopped, VirtualMachineStatus.Running), (view.Status, view.WishedStatus));
        Assert.Equal(Cluster.HostOptions.MaxRestarts, Cluster.Host.Journal.Count(call => call == (SimulatedCall.Power, id)));

        var started = await scene.Machine(id).Power(PowerAction.On);
        Assert.Equal((VirtualMachineStatus.Running, null), (started.Status, started.Problem));
        Cluster.Host.Dies(id);
        await Eventually.Holds(async () => await scene.Machine(id).Get() is { Status: VirtualMachineStatus.Running, Problem: null }
            && Cluster.Host.Machines[id].Status is VirtualMachineStatus.Running, "it is restarted automatically");
    }

    [Fact]
    public async Task Power_OffBeforeADeadMachineIsStartedAgain_LeavesItStopped()
    {
        Cluster.HostOptions.RestartPause = TimeSpan.FromSeconds(1);
        var (scene, id) = await Machine();
        Cluster.Host.Journal.Clear();
        Cluster.Host.Dies(id);
        await Eventually.Holds(async () => (await scene.Machine(id).Get()).Problem == Reconciliation.StartedAgain, "it is about to be started again");

        Assert.Equal((VirtualMachineStatus.Stopped, VirtualMachineStatus.Stopped), await Power(PowerAction.Off));
        var asked = TimeProvider.System.GetTimestamp();
        await Eventually.Holds(() => Task.FromResult(TimeProvider.System.GetElapsedTime(asked) > TimeSpan.FromSeconds(2)), "the pause passes");

        Assert.DoesNotContain((SimulatedCall.Power, id), Cluster.Host.Journal);
        await scene.AssertRestsDeployed();

        async Task<(VirtualMachineStatus, VirtualMachineStatus?)> Power(PowerAction action)
        {
            var view = await scene.Machine(id).Power(action);
            return (view.Status, view.WishedStatus);
        }
    }

    [Fact]
    public async Task Observe_OfADiskThatFails_ReportsItAndLeavesTheMachineToAPerson()
    {
        var (scene, id) = await Machine();

        Cluster.Host.DiskFails(id, "the disk is full");

        await Eventually.Holds(async () => (await scene.Machine(id).Get()).Problem == "the disk is full", "the problem is shown");
        Assert.Equal(VirtualMachineStatus.Running, (await scene.Machine(id).Get()).WishedStatus);
        var view = await scene.Machine(id).Power(PowerAction.Resume);
        Assert.Equal((VirtualMachineStatus.Running, null), (view.Status, view.Problem));
    }

    [Fact]
    public async Task Observe_OfADiskThatMayWorkAgain_ResumesTheMachineAfterAPause()
    {
        Cluster.HostOptions.DiskRetryPause = TimeSpan.FromSeconds(1);
        var (scene, id) = await Machine();
        var failed = TimeProvider.System.GetTimestamp();

        Cluster.Host.DiskFails(id, "the disk is full", mayWorkAgain: true);

        await Eventually.Holds(() => Task.FromResult(Cluster.Host.Machines[id].Status is VirtualMachineStatus.Running), "the machine is resumed");
        Assert.True(TimeProvider.System.GetElapsedTime(failed) > Cluster.HostOptions.DiskRetryPause / 2, "The machine is resumed at once.");
        await Eventually.Holds(async () => await scene.Machine(id).Get() is { Status: VirtualMachineStatus.Running, Problem: null }, "the machine is shown running");
    }

    [Theory]
    [InlineData(VirtualMachineStatus.Running, false, ObserveVerdict.Resume)]
    [InlineData(VirtualMachineStatus.Running, true, ObserveVerdict.Keep)]
    [InlineData(VirtualMachineStatus.Paused, false, ObserveVerdict.Keep)]
    [InlineData(VirtualMachineStatus.Stopped, false, ObserveVerdict.Keep)]
    public void Decide_PauseByADiskThatMayWorkAgain_ResumesOnlyWhatIsToRun(VirtualMachineStatus wished, bool isHeld, ObserveVerdict expected)
    {
        var seen = new MachineObservation(
            VirtualMachineId.New(), ApplianceId.New(), VirtualMachineStatus.Paused, [], [], 0, 1, isHeld ? new(OperationId.New(), default) : null, OperationId.New(), Trouble: "the disk is full", AwaitsDisk: true);
        Assert.Equal(new(VirtualMachineStatus.Paused, wished, "the disk is full", expected), Reconciliation.Decide(VirtualMachineStatus.Running, wished, seen));
    }

    [Fact]
    public async Task Power_WhoseAnswerIsLost_ShowsWhatTheHostDid()
    {
        var (scene, id) = await Machine();
        Cluster.Host.LoseNextAnswer(SimulatedCall.Power);

        Assert.Equal("hypervisor-failed", (await Assert.ThrowsAsync<FaultException>(() => scene.Machine(id).Power(PowerAction.Off))).Fault.Code);

        await scene.AssertRestsDeployed();
        Assert.Equal(VirtualMachineStatus.Running, (await scene.Machine(id).Power(PowerAction.On)).Status);
        await scene.AssertRestsDeployed();
    }

    [Fact]
    public async Task Power_PauseWhoseAnswerIsLost_KeepsTheMachinePaused()
    {
        var (scene, id) = await Machine();
        Cluster.Host.LoseNextAnswer(SimulatedCall.Power);

        await Assert.ThrowsAsync<FaultException>(() => scene.Machine(id).Power(PowerAction.Pause));

        var view = await scene.Machine(id).Get();
        Assert.Equal((VirtualMachineStatus.Paused, VirtualMachineStatus.Paused), (view.Status, view.WishedStatus));
        await scene.AssertRestsDeployed();
    }

    [Fact]
    public async Task Observe_OfAMachineThatIsPausedByNobody_ResumesIt()
    {
        var (scene, id) = await Machine();
        Cluster.Host.FailNext(SimulatedCall.Power);

        Cluster.Host.PausesLate(id);

        await Eventually.Holds(() => Task.FromResult(Cluster.Host.Machines[id].Status is VirtualMachineStatus.Running), "the machine is resumed, though the first try fails");
        await Eventually.Holds(async () => await scene.Machine(id).Get() is { Status: VirtualMachineStatus.Running, Problem: null }, "it is shown running");
    }

    [Fact]
    public async Task Power_OfAMachineThatItsHostDoesNotHave_IsRefusedAndTheMachineIsUnknown()
    {
        var (scene, id) = await Machine();
        Cluster.Host.Machines.TryRemove(id, out _);

        Assert.Equal("virtual-machine-not-on-host", (await Assert.ThrowsAsync<FaultException>(() => scene.Machine(id).Power(PowerAction.Reset))).Fault.Code);

        var view = await scene.Machine(id).Get();
        Assert.Equal(VirtualMachineStatus.Unknown, view.Status);
        Assert.Contains("lost", view.Problem, StringComparison.Ordinal);
        Assert.Equal(OperationStatus.Succeeded, (await scene.Undeploy()).Status);
    }

    [Fact]
    public async Task Observe_OfAGuestThatShutsDown_ShowsItStopped()
    {
        var (scene, id) = await Machine();

        Cluster.Host.GuestPowersOff(id);

        await Eventually.Holds(async () => (await scene.Machine(id).Get()).Status is VirtualMachineStatus.Stopped, "the machine is shown stopped");
        Assert.Equal(VirtualMachineStatus.Stopped, (await scene.Machine(id).Get()).WishedStatus);
        await scene.AssertRestsDeployed();
    }

    [Fact]
    public async Task Observe_OfAMachineThatBelongsToNobody_RemovesIt()
    {
        var (scene, id) = await Machine();
        var known = Cluster.Host.Machines[id];
        var orphan = VirtualMachineId.New();
        Cluster.Host.Machines[orphan] = new(known.Spec with { Id = orphan });

        Cluster.Host.GuestPowersOff(orphan);

        await Eventually.Holds(() => Task.FromResult(!Cluster.Host.Machines.ContainsKey(orphan)), "the orphan goes");
        await scene.AssertRestsDeployed();
    }

    [Fact]
    public async Task Reset_RepeatedWithItsRequest_ActsOnce()
    {
        var (scene, id) = await Machine();
        var request = RequestId.New();
        await scene.Machine(id).Power(PowerAction.Reset, request);
        await scene.Machine(id).Power(PowerAction.Pause);

        Assert.Equal(VirtualMachineStatus.Paused, (await scene.Machine(id).Power(PowerAction.Reset, request)).Status);
        Assert.Equal("power-conflict", (await Assert.ThrowsAsync<FaultException>(() => scene.Machine(id).Power(PowerAction.Reset, RequestId.New()))).Fault.Code);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Reset_WhoseOutcomeIsUnknown_IsNotRepeated(bool hostAnswers)
    {
        var (scene, id) = await Machine();
        var request = RequestId.New();
        if (hostAnswers) Cluster.Host.LoseNextAnswer(SimulatedCall.Power);
        else Cluster.AfterNext("Instances.Hosts.IHostGrain.Power", () => throw new TimeoutException("lost"));
        await Assert.ThrowsAnyAsync<Exception>(() => scene.Machine(id).Power(PowerAction.Reset, request));

        var refusal = (await Assert.ThrowsAsync<FaultException>(() => scene.Machine(id).Power(PowerAction.Reset, request))).Fault;

        Assert.Equal("power-uncertain", refusal.Code);
        Assert.Contains("did not confirm", refusal.Message, StringComparison.Ordinal);
        await scene.Machine(id).Power(PowerAction.Reset, RequestId.New());
    }

    private async Task<(Scene Scene, VirtualMachineId Id)> Machine()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        return (scene, (await scene.Machines())[0].Id);
    }
}
