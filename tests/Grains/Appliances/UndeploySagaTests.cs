using Instances.Operations;
using Instances.Simulation;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Grains.Tests.Appliances;

/// <summary>The commit point of undeploy is its acceptance: it is completed, whatever fails.</summary>
public sealed class UndeploySagaTests(ClusterFixture fixture) : ClusterTest(fixture)
{
    [Fact]
    public Task Undeploy_WhenAllGoesWell_LeavesNothing() => AssertForward(() => { });

    [Fact]
    public Task Undeploy_WithEveryStepRepeated_EndsAsWithout() => AssertForward(() => Cluster.Probe.RepeatEverything = true);

    [Theory]
    [InlineData("undeploy", true)]
    [InlineData("undeploy", false)]
    [InlineData("finish", true)]
    [InlineData("finish", false)]
    public Task Undeploy_FailingAtAStep_GoesForward(string step, bool before) =>
        AssertForward(() =>
        {
            if (before) Cluster.Probe.FailBefore = step;
            else Cluster.Probe.FailAfter = step;
        });

    [Fact]
    public Task Undeploy_WhenARemovalFails_RepeatsIt() => AssertForward(() => Cluster.Host.FailNext(SimulatedCall.Remove, times: 2));

    [Fact]
    public Task Undeploy_WhenTheAnswerOfARemovalIsLost_RepeatsIt() => AssertForward(() => Cluster.Host.LoseNextAnswer(SimulatedCall.Remove));

    /// <summary>The record is saved by then, and the host sweeps by itself, too.</summary>
    [Fact]
    public async Task Undeploy_WhenTheSweepCannotBeRequested_IsDoneAtTheFirstAttempt()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        Cluster.AfterNext("Instances.Hosts.IHostGrain.SweepSoon", () => throw new TimeoutException("lost"));

        Assert.True(await scene.Machine((await scene.Machines())[0].Id).Undeploy(CaptureEnd.None, force: false));

        await scene.Undeploy();
    }

    private async Task AssertForward(Action trouble)
    {
        var scene = await Scene.DeployedInAllPowerStates(Cluster);
        trouble();

        var operation = await scene.Undeploy();

        Assert.Equal(OperationStatus.Succeeded, operation.Status);
        Assert.All(operation.Steps, step => Assert.Equal(StepStatus.Done, step.Status));
        await scene.AssertRestsUndeployed();
    }
}
