using Instances.Appliances;
using Instances.Operations;
using Instances.Sagas;
using Instances.Simulation;
using Xunit;

namespace Instances.Grains.Tests.Appliances;

/// <summary>Create instance after its commit point: it is completed, whatever fails.</summary>
public sealed class CreateInstanceForwardTests(ClusterFixture fixture) : ClusterTest(fixture)
{
    public static TheoryData<string> BehindCommit => ["register", "undeploy", "update", "finish"];

    [Theory]
    [MemberData(nameof(BehindCommit))]
    public Task CreateInstance_FailingBeforeAStepBehindTheCommit_GoesForward(string step) => AssertForward(() => Cluster.Probe.FailBefore = step);

    [Theory]
    [MemberData(nameof(BehindCommit))]
    [InlineData("commit")]
    public Task CreateInstance_FailingAfterAStepFromTheCommitOn_GoesForward(string step) => AssertForward(() => Cluster.Probe.FailAfter = step);

    [Theory]
    [InlineData(true, nameof(SimulatedCall.Remove))]
    [InlineData(false, nameof(SimulatedCall.EndHold))]
    public async Task CreateInstance_WhenTheAnswerOfACallBehindTheCommitIsLost_GoesForward(bool undeploy, string call)
    {
        var scene = await Scene.DeployedInAllPowerStates(Cluster);
        Cluster.Host.LoseNextAnswer(Enum.Parse<SimulatedCall>(call));

        await scene.AssertInstances(await scene.CreateInstance(new(Undeploy: undeploy)), 3);

        await (undeploy ? scene.AssertRestsUndeployed() : scene.AssertRestsDeployed());
    }

    [Fact]
    public async Task CreateInstance_WithAStepThatGoesOnFailingBehindTheCommit_IsStuckUntilItIsRunAgain()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        (Cluster.Probe.FailBefore, Cluster.Probe.FailTimes) = ("register", SagaEngine.Attempts);
        var begun = await scene.Appliance.CreateInstance(OperationId.New(), new());
        await foreach (var view in Cluster.Grains.Operation(begun.Id).Watch(0, TestContext.Current.CancellationToken))
        {
            if (view.Status is not OperationStatus.Stuck) continue;
            Assert.Equal("told-to-fail", view.Fault!.Code);
            Assert.Contains("'register'", view.Fault.Message, StringComparison.Ordinal);
            Assert.False(view.Cancellable);
            break;
        }

        // As the reminder does.
        await scene.Appliance.Nudge(begun.Id);

        await scene.AssertInstances(await Cluster.End(begun), 1);
        await scene.AssertRestsUndeployed();
    }

    private async Task AssertForward(Action trouble)
    {
        var scene = await Scene.DeployedInAllPowerStates(Cluster);
        trouble();

        var operation = await scene.CreateInstance(new(UpdateImages: true));

        await scene.AssertInstances(operation, 3);
        Assert.All(operation.Steps, step => Assert.Equal(StepStatus.Done, step.Status));
        await scene.AssertRestsUndeployed();
    }
}
