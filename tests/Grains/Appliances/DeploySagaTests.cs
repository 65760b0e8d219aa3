using Instances.Appliances;
using Instances.Faults;
using Instances.Operations;
using Instances.Simulation;
using Instances.Storage;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Grains.Tests.Appliances;

/// <summary>Deploy in the four ways.</summary>
public sealed class DeploySagaTests(ClusterFixture fixture) : ClusterTest(fixture)
{
    [Fact]
    public async Task Deploy_WhenAllGoesWell_RunsEveryMachineOnNewLayersOfItsOwn()
    {
        var scene = await Scene.Undeployed(Cluster, disks: 2, dataDisks: 1);

        var operation = await scene.Deploy();

        Assert.Equal(OperationStatus.Succeeded, operation.Status);
        Assert.All(operation.Steps, step => Assert.Equal(StepStatus.Done, step.Status));
        Assert.All(operation.VirtualMachines, machine => Assert.Equal("running", machine.Activity));
        var machines = await scene.Machines();
        Assert.All(machines, machine =>
        {
            Assert.Equal(VirtualMachineStatus.Running, machine.Status);
            Assert.Equal([2, 2, 1], machine.Disks.Select(disk => disk.Layers.Count));
        });
        Assert.Equal(9, machines.SelectMany(machine => machine.Disks).Select(disk => disk.Layers[^1]).Distinct().Count());
        await scene.AssertRestsDeployed();
    }

    [Fact]
    public async Task Deploy_WithEveryStepRepeated_EndsAsWithout()
    {
        var scene = await Scene.Undeployed(Cluster);
        Cluster.Probe.RepeatEverything = true;

        var operation = await scene.Deploy();

        Assert.Equal(OperationStatus.Succeeded, operation.Status);
        Assert.All(operation.Steps, step => Assert.Equal(StepStatus.Done, step.Status));
        await scene.AssertRestsDeployed();
    }

    [Theory]
    [InlineData("place", true)]
    [InlineData("place", false)]
    [InlineData("fetch", true)]
    [InlineData("fetch", false)]
    [InlineData("start", true)]
    [InlineData("start", false)]
    [InlineData("finish", true)]
    public Task Deploy_FailingAtAStep_LeavesNothing(string step, bool before)
    {
        if (before) Cluster.Probe.FailBefore = step;
        else Cluster.Probe.FailAfter = step;
        return AssertUndone("told-to-fail");
    }

    [Theory]
    [InlineData("place")]
    [InlineData("fetch")]
    [InlineData("start")]
    public Task Deploy_FailingAndEachUndoFailingOnce_LeavesNothing(string step)
    {
        Cluster.Probe.FailAfter = step;
        Cluster.Probe.FailEachUndoOnce = true;
        return AssertUndone("told-to-fail");
    }

    [Fact]
    public Task Deploy_FailingAndEachUndoRepeated_LeavesNothing()
    {
        Cluster.Probe.FailAfter = "start";
        Cluster.Probe.RepeatEverything = true;
        return AssertUndone("told-to-fail");
    }

    [Fact]
    public async Task Deploy_WhenTheAnswerOfItsLastWriteIsLost_IsDeployed()
    {
        var scene = await Scene.Undeployed(Cluster);
        Cluster.Probe.FailAfter = "finish";

        Assert.Equal(OperationStatus.Succeeded, (await scene.Deploy()).Status);

        await scene.AssertRestsDeployed();
    }

    [Fact]
    public Task Deploy_WhenAMachineDoesNotStart_LeavesNothing()
    {
        Cluster.Host.FailNext(SimulatedCall.Start);
        return AssertUndone("hypervisor-failed");
    }

    [Fact]
    public Task Deploy_WhenTheAnswerOfAStartIsLost_LeavesNothing()
    {
        Cluster.Host.LoseNextAnswer(SimulatedCall.Start);
        return AssertUndone("hypervisor-failed");
    }

    [Fact]
    public Task Deploy_WhenAlsoTheAnswerOfARemovalIsLost_LeavesNothing()
    {
        Cluster.Probe.FailAfter = "start";
        Cluster.Host.LoseNextAnswer(SimulatedCall.Remove);
        return AssertUndone("told-to-fail");
    }

    [Fact]
    public async Task Deploy_OfMachinesThatWereAddedLater_StartsThemAndLeavesTheOthersAlone()
    {
        var scene = await Scene.DeployedInAllPowerStates(Cluster);
        var before = await scene.Machines();
        var added = await Cluster.AddMachine(scene.Appliance, scene.Master.Id, "later");

        Assert.Equal(OperationStatus.Succeeded, (await scene.Deploy()).Status);

        var machines = await scene.Machines();
        Assert.Equal(before.Select(machine => (machine.Id, machine.Status)), machines.SkipLast(1).Select(machine => (machine.Id, machine.Status)));
        Assert.Equal((added.Id, VirtualMachineStatus.Running), (machines[^1].Id, machines[^1].Status));
        await scene.AssertRestsDeployed();
    }

    [Fact]
    public async Task Deploy_OfAMachineThatWasAddedLaterAndDoesNotStart_LeavesTheApplianceDeployedAsItWas()
    {
        var scene = await Scene.DeployedInAllPowerStates(Cluster);
        await Cluster.AddMachine(scene.Appliance, scene.Master.Id, "later");
        var before = await scene.Look();
        Cluster.Host.FailNext(SimulatedCall.Start);

        Assert.Equal(OperationStatus.Failed, (await scene.Deploy()).Status);

        Assert.Equal(before, await scene.Look());
        await scene.AssertRestsDeployed();
    }

    [Fact]
    public async Task Deploy_ThatIsCancelledWhileItIsHeld_IsCancelledAndLeavesNothing()
    {
        var scene = await Scene.Undeployed(Cluster);
        Cluster.Probe.HoldBefore = "finish";
        var operation = await scene.Appliance.Deploy(OperationId.New());
        await Cluster.Probe.Arrived;

        await Cluster.Grains.Operation(operation.Id).Cancel();
        Cluster.Probe.Release();

        var end = await Cluster.End(operation);
        Assert.Equal((OperationStatus.Cancelled, "operation-cancelled"), (end.Status, end.Fault!.Code));
        await scene.AssertRestsUndeployed();
    }

    [Fact]
    public async Task Deploy_WhoseRunWasInterruptedAndThatIsCancelled_IsCancelledAndLeavesNothing()
    {
        var scene = await Scene.Undeployed(Cluster);
        (Cluster.Probe.FailAfter, Cluster.Probe.FailWith) = ("start", new StateWriteException(new IOException("The disk is full.")));
        var operation = await scene.Appliance.Deploy(OperationId.New());
        await Testing.Eventually.Holds(() => Task.FromResult(Cluster.Probe.Failures == 1), "the run is interrupted");

        await Cluster.Grains.Operation(operation.Id).Cancel();

        Assert.Equal(OperationStatus.Cancelled, (await Cluster.End(operation)).Status);
        await scene.AssertRestsUndeployed();
    }

    [Fact]
    public async Task Deploy_ThatIsCancelledWhileAStartCannotBe_RemovesTheMachineBehindItsStart()
    {
        var scene = await Scene.Undeployed(Cluster, machines: 1);
        var held = Cluster.Host.HoldNext(SimulatedCall.Start, isDeaf: true);
        var operation = await scene.Appliance.Deploy(OperationId.New());
        await held.WaitAsync(Testing.Bounds.Wait, TestContext.Current.CancellationToken);

        await Cluster.Grains.Operation(operation.Id).Cancel();
        await Testing.Eventually.Holds(
            async () => (await Cluster.Grains.Operation(operation.Id).Find())!.VirtualMachines[0].Activity == "removing", "the machine is being removed");
        Cluster.Host.Release(SimulatedCall.Start);

        Assert.Equal(OperationStatus.Cancelled, (await Cluster.End(operation)).Status);
        Assert.Equal([SimulatedCall.Start, SimulatedCall.Remove], Cluster.Host.Journal.Select(call => call.Call));
        await scene.AssertRestsUndeployed();
    }

    [Fact]
    public async Task Deploy_ThatIsCancelledWhileMachinesStart_LeavesNothing()
    {
        var scene = await Scene.Undeployed(Cluster, machines: 12);
        for (var round = 0; round < 10; round++)
        {
            Cluster.Host.SetLatency(SimulatedCall.Start, TimeSpan.FromMilliseconds(round));
            var operation = await scene.Appliance.Deploy(OperationId.New());
            try
            {
                await Cluster.Grains.Operation(operation.Id).Cancel();
            }
            catch (FaultException exception) when (exception.Fault.Code is "operation-past-commit" or "operation-finished")
            {
                // The deployment was faster.
            }

            var end = await Cluster.End(operation);
            if (end.Status is OperationStatus.Succeeded)
            {
                await scene.AssertRestsDeployed();
                await scene.Undeploy();
            }
            else
            {
                Assert.Equal(OperationStatus.Cancelled, end.Status);
            }

            await scene.AssertRestsUndeployed();
        }
    }

    [Theory]
    [InlineData(nameof(IOperationGrain.Begin))]
    [InlineData(nameof(IOperationGrain.Finish))]
    public async Task Deploy_WhoseRecordFailsAsNobodyExpects_IsTakenUpAgain(string call)
    {
        var scene = await Scene.Undeployed(Cluster, machines: 1);
        var first = OperationId.New();
        Cluster.FailNext[call] = new FormatException("no fault of the product");

        // The call that meets the failure may get it; later calls do not.
        try
        {
            await scene.Appliance.Deploy(first);
        }
        catch (FaultException exception) when (exception.Fault.Kind is FaultKind.Internal)
        {
        }

        var end = await Cluster.End(await scene.Appliance.Deploy(first));
        Assert.Equal((OperationStatus.Succeeded, null), (end.Status, end.Fault?.Code));
        await scene.AssertRestsDeployed();
        await scene.Undeploy();
        await scene.AssertRestsUndeployed();
    }

    [Fact]
    public async Task Deploy_OfMoreThanTheHostsHold_FailsWithTheNumbersAndLeavesNothing()
    {
        var scene = await Scene.Undeployed(Cluster, machines: 1);
        await scene.Appliance.AddVirtualMachine(VirtualMachineId.New(), new("huge", scene.Master.Id, MemoryBytes: VirtualMachineSpecRules.MaxMemoryBytes));

        var operation = await scene.Deploy();

        Assert.Equal((OperationStatus.Failed, FaultKind.Capacity, "no-capacity"), (operation.Status, operation.Fault!.Kind, operation.Fault.Code));
        Assert.Contains("1024.1 GiB", operation.Fault.Message, StringComparison.Ordinal);
        await scene.AssertRestsUndeployed();
    }

    private async Task AssertUndone(string code)
    {
        var scene = await Scene.Undeployed(Cluster);
        var before = await scene.Look();

        var operation = await scene.Deploy();

        Assert.Equal((OperationStatus.Failed, code), (operation.Status, operation.Fault!.Code));
        Assert.All(operation.Steps.SkipLast(1), step => Assert.Equal(StepStatus.Undone, step.Status));
        Cluster.Reset();
        Assert.Equal(before, await scene.Look());
        await scene.AssertRestsUndeployed();

        Assert.Equal(OperationStatus.Succeeded, (await scene.Deploy()).Status);
        await scene.AssertRestsDeployed();
    }
}
