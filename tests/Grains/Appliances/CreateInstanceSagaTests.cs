using Instances.Appliances;
using Instances.Operations;
using Instances.Simulation;
using Xunit;

namespace Instances.Grains.Tests.Appliances;

/// <summary>Create instance in the four ways: it succeeds, every step repeated, a failure at every step, a failure with each undo repeated.</summary>
public sealed class CreateInstanceSagaTests(ClusterFixture fixture) : ClusterTest(fixture)
{
    public static TheoryData<string> BeforeCommit => ["prepare", "quiesce", "pause", "seal", "publish"];

    public static TheoryData<string> CallsBeforeCommit =>
    [
        nameof(SimulatedCall.AddNextLayers), nameof(SimulatedCall.Quiesce), nameof(SimulatedCall.Pause), nameof(SimulatedCall.Seal),
    ];

    public static TheoryData<string> CallsOfUndo =>
    [
        nameof(SimulatedCall.RemoveNextLayers), nameof(SimulatedCall.Unquiesce), nameof(SimulatedCall.Resume), nameof(SimulatedCall.EndHold),
    ];

    [Theory]
    [InlineData(true, true)]
    [InlineData(true, false)]
    [InlineData(false, true)]
    [InlineData(false, false)]
    public async Task CreateInstance_WhenAllGoesWell_LeavesSlavesAndTheApplianceAsAsked(bool undeploy, bool update)
    {
        var scene = await Scene.DeployedInAllPowerStates(Cluster);
        var before = await scene.Machines();

        var operation = await scene.CreateInstance(new(Undeploy: undeploy, UpdateImages: update));

        var images = await scene.AssertInstances(operation, before.Count);
        Assert.All(operation.Steps, step => Assert.Equal(StepStatus.Done, step.Status));
        Assert.Equal(before.Select(machine => (machine.Id, 2)), images.Select(image => (image.Capture!.VirtualMachine, image.Disks.Single().Layers.Count)));
        Assert.Equal(update ? images.Select(image => image.Id) : before.Select(machine => machine.Image), (await scene.Machines()).Select(machine => machine.Image));
        await AssertCommitted(scene, undeploy);
        if (!undeploy) Assert.Equal(before.Select(machine => machine.Status), (await scene.Machines()).Select(machine => machine.Status));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task CreateInstance_WithEveryStepRepeated_EndsAsWithout(bool undeploy)
    {
        var scene = await Scene.DeployedInAllPowerStates(Cluster);
        var before = await scene.Machines();
        Cluster.Probe.RepeatEverything = true;

        var operation = await scene.CreateInstance(new(UpdateImages: true, Undeploy: undeploy));

        await scene.AssertInstances(operation, before.Count);
        Assert.All(operation.Steps, step => Assert.Equal(StepStatus.Done, step.Status));
        await AssertCommitted(scene, undeploy);
        if (!undeploy) Assert.Equal(before.Select(machine => machine.Status), (await scene.Machines()).Select(machine => machine.Status));
    }

    [Theory]
    [MemberData(nameof(BeforeCommit))]
    [InlineData("commit")]
    public Task CreateInstance_FailingBeforeAStepUpToTheCommit_LeavesEverythingAsItWas(string step)
    {
        Cluster.Probe.FailBefore = step;
        return AssertUndone(failed: step, new(UpdateImages: true), "told-to-fail");
    }

    [Theory]
    [MemberData(nameof(BeforeCommit))]
    public Task CreateInstance_FailingAfterAStepBeforeTheCommit_LeavesEverythingAsItWas(string step)
    {
        Cluster.Probe.FailAfter = step;
        return AssertUndone(failed: step, new(UpdateImages: true), "told-to-fail");
    }

    [Theory]
    [MemberData(nameof(BeforeCommit))]
    public Task CreateInstance_FailingAndEachUndoFailingOnce_LeavesEverythingAsItWas(string step)
    {
        Cluster.Probe.FailAfter = step;
        Cluster.Probe.FailEachUndoOnce = true;
        return AssertUndone(failed: step, new(Undeploy: false), "told-to-fail");
    }

    [Theory]
    [MemberData(nameof(BeforeCommit))]
    public Task CreateInstance_FailingAndEachUndoRepeated_LeavesEverythingAsItWas(string step)
    {
        Cluster.Probe.FailAfter = step;
        Cluster.Probe.RepeatEverything = true;
        return AssertUndone(failed: step, new(Quiesce: Quiesce.Shutdown), "told-to-fail");
    }

    [Theory]
    [MemberData(nameof(CallsBeforeCommit))]
    public Task CreateInstance_WhenACallToTheHostFails_LeavesEverythingAsItWas(string call)
    {
        Cluster.Host.FailNext(Enum.Parse<SimulatedCall>(call));
        return AssertUndone(failed: null, new(), "hypervisor-failed");
    }

    [Theory]
    [MemberData(nameof(CallsBeforeCommit))]
    public Task CreateInstance_WhenTheAnswerOfACallToTheHostIsLost_LeavesEverythingAsItWas(string call)
    {
        Cluster.Host.LoseNextAnswer(Enum.Parse<SimulatedCall>(call));
        return AssertUndone(failed: null, new(), "hypervisor-failed");
    }

    [Theory]
    [MemberData(nameof(CallsOfUndo))]
    public Task CreateInstance_WhenTheAnswerOfAnUndoIsLost_LeavesEverythingAsItWas(string call)
    {
        Cluster.Probe.FailAfter = "pause";
        Cluster.Host.LoseNextAnswer(Enum.Parse<SimulatedCall>(call));
        return AssertUndone(failed: "pause", new(), "told-to-fail");
    }

    private async Task AssertUndone(string? failed, CreateInstanceCommand command, string code)
    {
        var scene = await Scene.DeployedInAllPowerStates(Cluster);
        var before = await scene.LookWithoutDisks();

        var operation = await scene.CreateInstance(command);

        Assert.Equal((OperationStatus.Failed, code), (operation.Status, operation.Fault!.Code));
        Assert.Null(operation.Result);
        Assert.DoesNotContain(operation.Steps, step => step.Status is StepStatus.Running);
        Assert.All(operation.Steps.TakeWhile(step => step.Name != "commit"), step => Assert.Equal(StepStatus.Undone, step.Status));
        if (failed == "commit") Assert.Equal(StepStatus.Failed, operation.Steps.Single(step => step.Name == "commit").Status);
        Cluster.Reset();
        Assert.Equal(before, await scene.LookWithoutDisks());
        await scene.AssertRestsDeployed();

        // Nothing of it prevents the next one.
        await scene.AssertInstances(await scene.CreateInstance(new()), 3);
        await scene.AssertRestsUndeployed();
    }

    private static Task AssertCommitted(Scene scene, bool undeploy) => undeploy ? scene.AssertRestsUndeployed() : scene.AssertRestsDeployed();
}
