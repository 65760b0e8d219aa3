using Instances.Appliances;
using Instances.Faults;
using Instances.Operations;
using Instances.Simulation;
using Instances.Testing;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Grains.Tests.Appliances;

/// <summary>Operations that a reachable host keeps from ending, and how force ends them.</summary>
public sealed class ForceTests(ClusterFixture fixture) : ClusterTest(fixture)
{
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task CreateInstance_OfAMachineThatItsHostDoesNotHave_EndsAndTheMachineIsUnknown(bool undeploy)
    {
        var scene = await Scene.Deployed(Cluster, machines: 2);
        var lost = (await scene.Machines())[0].Id;
        Cluster.Host.Machines.TryRemove(lost, out _);

        var end = await scene.CreateInstance(new(Undeploy: undeploy));

        Assert.Equal((OperationStatus.Failed, "virtual-machine-not-on-host"), (end.Status, end.Fault!.Code));
        var machines = await scene.Machines();
        Assert.Equal([VirtualMachineStatus.Unknown, VirtualMachineStatus.Running], machines.Select(machine => machine.Status));
        Assert.Contains("lost", machines[0].Problem, StringComparison.Ordinal);
        Assert.Equal(OperationStatus.Succeeded, (await scene.Undeploy()).Status);
        await scene.AssertRestsUndeployed();
    }

    [Fact]
    public async Task CreateInstance_WhoseMachineIsLostAfterTheCommit_EndsWithoutForce()
    {
        var scene = await Scene.Deployed(Cluster, machines: 2);
        Cluster.Probe.HoldBefore = "undeploy";
        var operation = await scene.Appliance.CreateInstance(OperationId.New(), new(Undeploy: false));
        await Cluster.Probe.Arrived;
        Cluster.Host.Machines.TryRemove((await scene.Machines())[0].Id, out _);
        Cluster.Probe.Release();

        await scene.AssertInstances(await Cluster.End(operation), 2);
        Assert.Equal(VirtualMachineStatus.Unknown, (await scene.Machines())[0].Status);
        Assert.Equal(OperationStatus.Succeeded, (await scene.Undeploy()).Status);
        await scene.AssertNothingWithoutOwner();
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Undeploy_OfAMachineThatItsHostFailsToRemove_EndsByForceAndTheHostRemovesItLater(bool fromTheStart)
    {
        var scene = await Scene.Deployed(Cluster, machines: 2);
        Cluster.Host.FailNext(SimulatedCall.Remove, times: int.MaxValue);

        var operation = await scene.Appliance.Undeploy(OperationId.New(), force: fromTheStart);
        if (!fromTheStart)
        {
            await ShowsProblem(operation, "undeploy", "told to fail at Remove");
            await Cluster.Grains.Operation(operation.Id).Force();
        }

        Assert.Equal(OperationStatus.Succeeded, (await Cluster.End(operation)).Status);
        Assert.Equal(ApplianceStatus.Undeployed, (await scene.Appliance.Get()).Status);
        Cluster.Host.FailNext(SimulatedCall.Remove, times: 0);
        await Eventually.Holds(() => Task.FromResult(!Cluster.Host.Machines.Values.Any(machine => machine.Spec.Appliance == scene.Id)), "the host removes what was given up");
        await scene.AssertRestsUndeployed();
    }

    [Fact]
    public async Task Capture_WhoseUndoTheHostFails_EndsByForceAndTheMachineIsReleasedLater()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        var id = (await scene.Machines())[0].Id;
        Cluster.Host.FailNext(SimulatedCall.Seal);
        Cluster.Host.FailNext(SimulatedCall.Resume, times: int.MaxValue);
        Cluster.Host.FailNext(SimulatedCall.EndHold, times: int.MaxValue);

        var operation = await scene.Appliance.CreateInstance(OperationId.New(), new());
        await ShowsProblem(operation, "pause", "told to fail at Resume");
        Assert.Equal("appliance-busy", (await Assert.ThrowsAsync<FaultException>(() => scene.Appliance.Undeploy(OperationId.New(), force: true))).Fault.Code);
        await Cluster.Grains.Operation(operation.Id).Force();

        Assert.Equal(OperationStatus.Failed, (await Cluster.End(operation)).Status);
        var machine = await scene.Machine(id).Get();
        Assert.Equal((VirtualMachineStatus.Unknown, VirtualMachineStatus.Running), (machine.Status, machine.WishedStatus));
        Assert.Contains("did not release", machine.Problem, StringComparison.Ordinal);

        Cluster.Host.FailNext(SimulatedCall.Resume, times: 0);
        Cluster.Host.FailNext(SimulatedCall.EndHold, times: 0);
        await Eventually.Holds(async () => await scene.Machine(id).Get() is { Status: VirtualMachineStatus.Running, Problem: null }, "the machine is released");
        await scene.AssertRestsDeployed();
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Capture_WhoseUndoFailsForOneMachine_ReleasesTheOtherAtOnce(bool force)
    {
        var scene = await Scene.Deployed(Cluster, machines: 2);
        var machines = (await scene.Machines()).Select(machine => Cluster.Host.Machines[machine.Id]).ToList();
        var failing = machines[0].Spec.Id;
        SimulatedCall[] calls = [SimulatedCall.Resume, SimulatedCall.Unquiesce, SimulatedCall.EndHold];
        Cluster.Host.FailNext(SimulatedCall.Seal);
        foreach (var call in calls) Cluster.Host.FailNext(call, int.MaxValue, failing);

        var operation = await scene.Appliance.CreateInstance(OperationId.New(), new());
        await ShowsProblem(operation, "pause", "told to fail at Resume");
        Assert.Equal((VirtualMachineStatus.Running, false), (machines[1].Status, machines[1].IsFrozen));
        if (force)
        {
            await Cluster.Grains.Operation(operation.Id).Force();
            Assert.Equal(OperationStatus.Failed, (await Cluster.End(operation)).Status);
            Assert.Equal([VirtualMachineStatus.Unknown, VirtualMachineStatus.Running], (await scene.Machines()).Select(machine => machine.Status));
        }

        foreach (var call in calls) Cluster.Host.FailNext(call, times: 0);
        Assert.Equal(OperationStatus.Failed, (await Cluster.End(operation)).Status);
        await Eventually.Holds(async () => await scene.Machine(failing).Get() is { Status: VirtualMachineStatus.Running, Problem: null }, "the machine is released");
        await scene.AssertRestsDeployed();
    }

    [Fact]
    public async Task Power_OffOfAMachineThatCouldNotBeReleased_EndsIt()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        var id = (await scene.Machines())[0].Id;
        Cluster.Host.FailNext(SimulatedCall.Seal);
        Cluster.Host.FailNext(SimulatedCall.EndHold, times: int.MaxValue);
        var operation = await scene.Appliance.CreateInstance(OperationId.New(), new());
        await ShowsProblem(operation, "prepare", "told to fail at EndHold");
        await Cluster.Grains.Operation(operation.Id).Force();
        await Cluster.End(operation);

        Assert.Equal("host-unavailable", (await Assert.ThrowsAsync<FaultException>(() => scene.Machine(id).Power(PowerAction.Reset))).Fault.Code);
        Assert.Equal(VirtualMachineStatus.Stopped, (await scene.Machine(id).Power(PowerAction.Off)).Status);

        Cluster.Host.FailNext(SimulatedCall.EndHold, times: 0);
        await Eventually.Holds(() => Task.FromResult(Cluster.Host.Machines[id].Hold is null), "the machine is released");
        Assert.Equal(VirtualMachineStatus.Running, (await scene.Machine(id).Power(PowerAction.On)).Status);
        await scene.AssertRestsDeployed();
    }

    [Fact]
    public async Task Capture_WhoseLibraryFails_ResumesTheGuestsAtOnce()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        var id = (await scene.Machines())[0].Id;
        Cluster.Probe.FailAfter = "publish";
        Cluster.Layers.ManifestFailure = FaultException.Unavailable("library-fails", "The library was told to fail.");

        var operation = await scene.Appliance.CreateInstance(OperationId.New(), new());
        await ShowsProblem(operation, "publish", "library was told to fail");

        Assert.Equal((VirtualMachineStatus.Running, false), (Cluster.Host.Machines[id].Status, Cluster.Host.Machines[id].IsFrozen));
        await Cluster.Grains.Operation(operation.Id).Force();
        Assert.Equal(OperationStatus.Failed, (await Cluster.End(operation)).Status);
        Cluster.Layers.ManifestFailure = null;
        await scene.AssertRestsDeployed();
    }

    [Fact]
    public async Task Deploy_ThatComesToTheHostAfterItWasGivenUp_IsRefused()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        var (id, spec) = Cluster.Host.Machines.Where(machine => machine.Value.Spec.Appliance == scene.Id).Select(machine => (machine.Key, machine.Value.Spec)).Single();
        await scene.Undeploy();
        var host = Cluster.Grains.Host(new(Cluster.HostOptions.Name));

        Assert.Equal("deployment-ended", (await Assert.ThrowsAsync<FaultException>(() => host.Deploy(spec, TestContext.Current.CancellationToken))).Fault.Code);

        Assert.DoesNotContain(id, Cluster.Host.Machines.Keys);
        await scene.AssertRestsUndeployed();
    }

    [Fact]
    public async Task Deploy_ThatIsGivenUpWhileTheHostStartsTheMachine_LeavesNothing()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        var (id, spec) = Cluster.Host.Machines.Where(machine => machine.Value.Spec.Appliance == scene.Id).Select(machine => (machine.Key, machine.Value.Spec)).Single();
        Cluster.Host.Machines.TryRemove(id, out _);
        var host = Cluster.Grains.Host(new(Cluster.HostOptions.Name));
        var arrived = Cluster.Host.HoldNext(SimulatedCall.Start, isDeaf: true);
        var late = host.Deploy(spec, TestContext.Current.CancellationToken);
        await arrived;
        Cluster.Host.FailNext(SimulatedCall.Remove, times: 1);
        var undeployed = await scene.Appliance.Undeploy(OperationId.New(), force: true);

        Cluster.Host.Release(SimulatedCall.Start);
        await late;

        Assert.Equal(OperationStatus.Succeeded, (await Cluster.End(undeployed)).Status);
        await Eventually.Holds(() => Task.FromResult(!Cluster.Host.Machines.ContainsKey(id)), "the host removes the orphan");
    }

    private Task ShowsProblem(OperationView operation, string step, string problem) => Eventually.Holds(
        async () => (await Cluster.Grains.Operation(operation.Id).Find())!.Steps.Any(view => view.Name == step && view.Problem?.Contains(problem, StringComparison.Ordinal) is true),
        $"the operation shows why {step} is repeated");
}
