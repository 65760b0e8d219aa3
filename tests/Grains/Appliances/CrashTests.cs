using Instances.Appliances;
using Instances.Catalogue;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Grains.Tests.Appliances;

/// <summary>The silo is killed with a saga before each of its steps, and another one starts on the same database and host.</summary>
public sealed class CrashTests(ClusterFixture fixture) : ClusterTest(fixture)
{
    [Theory]
    [InlineData("prepare")]
    [InlineData("quiesce")]
    [InlineData("pause")]
    [InlineData("seal")]
    [InlineData("publish")]
    [InlineData("commit")]
    public async Task CreateInstance_CrashedBeforeTheCommit_IsUndone(string step)
    {
        var scene = await Scene.DeployedInAllPowerStates(Cluster);
        var before = await scene.LookWithoutDisks();

        var end = await CrashAt(step, scene, () => scene.Appliance.CreateInstance(OperationId.New(), new(UpdateImages: true)));

        Assert.Equal((OperationStatus.Failed, "operation-interrupted"), (end.Status, end.Fault!.Code));
        Assert.Equal(before, await scene.LookWithoutDisks());
        await scene.AssertRestsDeployed();
    }

    [Theory]
    [InlineData("register")]
    [InlineData("undeploy")]
    [InlineData("update")]
    [InlineData("finish")]
    public async Task CreateInstance_CrashedBehindTheCommit_GoesForward(string step)
    {
        var scene = await Scene.DeployedInAllPowerStates(Cluster);

        var end = await CrashAt(step, scene, () => scene.Appliance.CreateInstance(OperationId.New(), new(UpdateImages: true)));

        await scene.AssertInstances(end, 3);
        Assert.All(end.Steps, done => Assert.Equal(StepStatus.Done, done.Status));
        await scene.AssertRestsUndeployed();
    }

    [Theory]
    [InlineData("undo publish")]
    [InlineData("undo prepare")]
    public async Task CreateInstance_CrashedWhileItIsUndone_IsUndone(string undo)
    {
        var scene = await Scene.DeployedInAllPowerStates(Cluster);
        var before = await scene.LookWithoutDisks();
        Cluster.Probe.FailBefore = "commit";

        var end = await CrashAt(undo, scene, () => scene.Appliance.CreateInstance(OperationId.New(), new()));

        Assert.Equal((OperationStatus.Failed, "told-to-fail"), (end.Status, end.Fault!.Code));
        Assert.Equal(before, await scene.LookWithoutDisks());
        await scene.AssertRestsDeployed();
    }

    [Theory]
    [InlineData("place")]
    [InlineData("fetch")]
    [InlineData("start")]
    [InlineData("finish")]
    public async Task Deploy_Crashed_IsFinishedByTheNextSilo(string step)
    {
        var scene = await Scene.Undeployed(Cluster);

        var end = await CrashAt(step, scene, () => scene.Appliance.Deploy(OperationId.New()));

        Assert.Equal(OperationStatus.Succeeded, end.Status);
        await scene.AssertRestsDeployed();
    }

    [Theory]
    [InlineData("undeploy")]
    [InlineData("finish")]
    public async Task Undeploy_Crashed_IsFinishedByTheNextSilo(string step)
    {
        var scene = await Scene.DeployedInAllPowerStates(Cluster);

        var end = await CrashAt(step, scene, () => scene.Appliance.Undeploy(OperationId.New(), force: false));

        Assert.Equal(OperationStatus.Succeeded, end.Status);
        await scene.AssertRestsUndeployed();
    }

    [Fact]
    public async Task CreateInstance_CrashedAndTouchedByNobody_ComesToRestByItsReminder()
    {
        var scene = await Scene.Deployed(Cluster);
        Cluster.Probe.HoldBefore = "undeploy";
        await scene.Appliance.CreateInstance(OperationId.New(), new());
        await Cluster.Probe.Arrived;
        await Cluster.Crash();

        // Lists activate no grain.
        await Testing.Eventually.Holds(
            async () => (await Cluster.Catalogue.Appliances(null, new(PageRequest.MaxLimit))).Items.Single(appliance => appliance.Id == scene.Id).Status is ApplianceStatus.Undeployed,
            "the appliance comes to rest");

        await scene.AssertRestsUndeployed();
        Assert.Equal(3, (await Cluster.Catalogue.Images(new(ImageKind.Slave, Master: scene.Master.Id), new())).Items.Count);
    }

    [Fact]
    public async Task Crash_AtRest_LeavesMachinesAsTheyAre()
    {
        var scene = await Scene.DeployedInAllPowerStates(Cluster);
        var before = await scene.Look();

        await Cluster.Crash();

        Assert.Equal(before, await scene.Look());
        await scene.AssertRestsDeployed();
    }

    [Fact]
    public async Task Crash_WithAGuestThatShutsDownMeanwhile_ShowsItStopped()
    {
        var scene = await Scene.Deployed(Cluster, machines: 2);
        var machine = (await scene.Machines())[0];
        Cluster.Host.Machines[machine.Id].Status = VirtualMachineStatus.Stopped;

        await Cluster.Crash();

        Assert.Equal([VirtualMachineStatus.Stopped, VirtualMachineStatus.Running], (await scene.Machines()).Select(view => view.Status));
        await scene.AssertRestsDeployed();
    }

    private async Task<OperationView> CrashAt(string step, Scene scene, Func<Task<OperationView>> begin)
    {
        Cluster.Probe.HoldBefore = step;
        var operation = await begin();
        await Cluster.Probe.Arrived;

        await Cluster.Crash();

        // The call activates the appliance, which resumes its operation. The reminder would do the same a little later.
        await scene.Appliance.Get();
        return await Cluster.End(operation);
    }
}
