using Instances.Appliances;
using Instances.Catalogue;
using Instances.Faults;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;
using Microsoft.Extensions.DependencyInjection;
using Xunit;

namespace Instances.Grains.Tests.Appliances;

public sealed class CreateInstanceTests(ClusterFixture fixture) : ClusterTest(fixture)
{
    [Fact]
    public async Task CreateInstance_OfOneMachineOfSeveral_UndeploysAllAndLeavesTheOthersTheirImages()
    {
        var scene = await Scene.Deployed(Cluster);
        var chosen = (await scene.Machines())[1].Id;

        var operation = await scene.CreateInstance(new([chosen], UpdateImages: true));

        var image = Assert.Single(await scene.AssertInstances(operation, 1));
        Assert.Equal([scene.Master.Id, image.Id, scene.Master.Id], (await scene.Machines()).Select(machine => machine.Image));
        await scene.AssertRestsUndeployed();
    }

    [Fact]
    public async Task CreateInstance_OfAll_LeavesOutMachinesThatWereAddedLater()
    {
        var scene = await Scene.Deployed(Cluster, machines: 2);
        var later = await Cluster.AddMachine(scene.Appliance, scene.Master.Id, "later");

        var operation = await scene.CreateInstance(new());

        Assert.DoesNotContain(later.Id, (await scene.AssertInstances(operation, 2)).Select(image => image.Capture!.VirtualMachine));
        await scene.AssertRestsUndeployed();
    }

    [Fact]
    public async Task CreateInstance_SeveralTimesWithoutUndeploy_CapturesEachAndLeavesNothingBehind()
    {
        var scene = await Scene.DeployedInAllPowerStates(Cluster);
        for (var capture = 1; capture <= 3; capture++)
        {
            var before = await scene.Machines();

            var images = await scene.AssertInstances(await scene.CreateInstance(new(Undeploy: false)), 3);

            Assert.All(images, image => Assert.Equal(1 + capture, Assert.Single(image.Disks).Layers.Count));
            Assert.Equal(before.Select(machine => machine.Status), (await scene.Machines()).Select(machine => machine.Status));
            Assert.All(await scene.Machines(), machine => Assert.Equal(2 + capture, Assert.Single(machine.Disks).Layers.Count));
            await scene.AssertRestsDeployed();
        }

        await scene.Undeploy();
        await scene.AssertRestsUndeployed();

        // Delete all images, the newest first and then its ancestors. Only the master's layers are left.
        foreach (var image in (await Cluster.Catalogue.Images(new(Master: scene.Master.Id), new())).Items) await Cluster.Grains.Image(image.Id).Delete();
        await scene.AssertNothingWithoutOwner();
        Assert.Empty((await Cluster.Catalogue.Images(new(Master: scene.Master.Id), new())).Items);
    }

    [Fact]
    public async Task CreateInstance_AfterADeployFromASlave_BelongsToTheTopMasterAndRecordsItsParent()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        var first = Assert.Single(await scene.AssertInstances(await scene.CreateInstance(new(UpdateImages: true)), 1));
        Cluster.Library.GracePeriod = TimeSpan.FromDays(1);
        await scene.Deploy();

        var second = Assert.Single(await scene.AssertInstances(await scene.CreateInstance(new(UpdateImages: true)), 1));

        Assert.Equal((scene.Master.Id, scene.Master.Id), (first.Master!.Value, first.Parent!.Value));
        Assert.Equal((scene.Master.Id, first.Id), (second.Master!.Value, second.Parent!.Value));
        Assert.Equal([.. first.Disks[0].ToChain().Layers, second.Disks[0].Layers[^1].Id], second.Disks[0].ToChain().Layers);
        Assert.Equal([scene.Master.Id, first.Id, second.Id], second.Disks[0].Layers.Select(layer => layer.Image));
        Assert.Equal(second.Disks[0].Layers[^1].Bytes, second.Bytes);
    }

    [Fact]
    public async Task CreateInstance_OfSeveralDisks_CapturesEachAndUsesThemFromThen()
    {
        var scene = await Scene.Deployed(Cluster, machines: 2, disks: 2, dataDisks: 2);

        var images = await scene.AssertInstances(await scene.CreateInstance(new(UpdateImages: true)), 2);

        Assert.All(images, image => Assert.Equal([2, 2, 1, 1], image.Disks.Select(disk => disk.Layers.Count)));
        await scene.AssertRestsUndeployed();
        Assert.All(await scene.Machines(), machine => Assert.Empty(machine.DataDisks));
        await scene.Deploy();
        Assert.All(await scene.Machines(), machine => Assert.Equal([3, 3, 2, 2], machine.Disks.Select(disk => disk.Layers.Count)));
        await scene.AssertRestsDeployed();
    }

    [Theory]
    [InlineData(Quiesce.Freeze, ConsistencyLevel.Application)]
    [InlineData(Quiesce.Shutdown, ConsistencyLevel.Offline)]
    [InlineData(Quiesce.None, ConsistencyLevel.Crash)]
    public async Task CreateInstance_WithAQuiesceMode_RecordsWhatWasReached(Quiesce mode, ConsistencyLevel ofRunning)
    {
        var scene = await Scene.DeployedInAllPowerStates(Cluster);

        var operation = await scene.CreateInstance(new(Quiesce: mode, Undeploy: false));

        var images = await scene.AssertInstances(operation, 3);
        Assert.Equal([ofRunning, ConsistencyLevel.Crash, ConsistencyLevel.Offline], images.Select(image => image.Capture!.Consistency));
        Assert.Equal(images.Select(image => image.Capture!.Consistency), operation.Result!.Instances!.Select(instance => instance.Consistency));
        Assert.All(images, image => Assert.Equal(operation.Result.ConsistencyWindowMs, image.Capture!.ConsistencyWindowMs));
        Assert.Equal(
            [VirtualMachineStatus.Running, VirtualMachineStatus.Paused, VirtualMachineStatus.Stopped], (await scene.Machines()).Select(machine => machine.Status));
        await scene.AssertRestsDeployed();
    }

    [Fact]
    public async Task CreateInstance_WithUpdate_RetiresPreviousVersionsButNeverAMasterAndNoneThatAnotherUses()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        var first = Assert.Single(await scene.AssertInstances(await scene.CreateInstance(new(UpdateImages: true)), 1));
        await scene.Deploy();
        var second = Assert.Single(await scene.AssertInstances(await scene.CreateInstance(new(UpdateImages: true)), 1));
        await scene.Deploy();
        var other = await Scene.Undeployed(Cluster, machines: 0);
        var user = await Cluster.AddMachine(other.Appliance, second.Id, "user");

        var operation = await scene.CreateInstance(new(UpdateImages: true));

        var third = Assert.Single(await scene.AssertInstances(operation, 1));
        Assert.Empty(operation.Result!.Retired!);
        var kept = Assert.Single(operation.Result.Kept!);
        Assert.Equal(second.Id, kept.Image);
        Assert.Contains(user.Id.ToString(), kept.Reason, StringComparison.Ordinal);
        Assert.Equal(ImageStatus.Ready, (await scene.Image(second.Id)).Status);
        Assert.Equal(ImageStatus.Ready, (await scene.Image(scene.Master.Id)).Status);
        await AssertGone(first.Id);
        Assert.Equal(third.Id, Assert.Single(await scene.Machines()).Image);
        await scene.AssertRestsUndeployed();
    }

    [Fact]
    public async Task CreateInstance_WithoutUpdate_RetiresNothing()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        var first = Assert.Single(await scene.AssertInstances(await scene.CreateInstance(new(UpdateImages: true)), 1));
        await scene.Deploy();

        var operation = await scene.CreateInstance(new());

        Assert.Empty(operation.Result!.Retired!);
        Assert.Equal(ImageStatus.Ready, (await scene.Image(first.Id)).Status);
        Assert.Equal(first.Id, Assert.Single(await scene.Machines()).Image);
    }

    [Fact]
    public async Task CreateInstance_WithUpdateAndAGracePeriod_RetiresAndASweepDeletesLater()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        var first = Assert.Single(await scene.AssertInstances(await scene.CreateInstance(new(UpdateImages: true)), 1));
        await scene.Deploy();
        Cluster.Library.GracePeriod = TimeSpan.FromDays(1);

        var operation = await scene.CreateInstance(new(UpdateImages: true));

        Assert.Equal([first.Id], operation.Result!.Retired!);
        await Cluster.Grains.Library().Sweep();
        Assert.Equal(ImageStatus.Retired, (await scene.Image(first.Id)).Status);
        Assert.DoesNotContain(first.Id, (await Cluster.Catalogue.Images(new(Master: scene.Master.Id), new())).Items.Select(image => image.Id));
        Cluster.Library.GracePeriod = TimeSpan.FromTicks(1);
        await Cluster.Grains.Library().Sweep();
        await AssertGone(first.Id);
        await scene.AssertRestsUndeployed();
        Assert.Equal(OperationStatus.Succeeded, (await scene.Deploy()).Status);
    }

    [Fact]
    public async Task CreateInstance_Repeated_AnswersWithTheSameOperation()
    {
        var scene = await Scene.Deployed(Cluster, machines: 2);
        var (id, all) = (OperationId.New(), (await scene.Machines()).Select(machine => machine.Id).ToList());

        var first = await scene.Appliance.CreateInstance(id, new(all));
        var again = await scene.Appliance.CreateInstance(id, new([all[1], all[0]]));
        var end = await Cluster.End(first);
        var late = await scene.Appliance.CreateInstance(id, new(all));

        Assert.Equal((first.Id, first.StartedAt), (again.Id, again.StartedAt));
        Assert.Equal((end.Version, OperationStatus.Succeeded), (late.Version, late.Status));
        Assert.Equal(2, (await Cluster.Catalogue.Images(new(Master: scene.Master.Id), new())).Items.Count);
    }

    [Fact]
    public async Task CreateInstance_WithTheIdOfAnotherCommand_IsRefused()
    {
        var scene = await Scene.Deployed(Cluster, machines: 2);
        var id = OperationId.New();
        await Cluster.End(await scene.Appliance.CreateInstance(id, new(Undeploy: false)));
        var one = (await scene.Machines())[0].Id;

        Func<Task>[] calls =
        [
            () => scene.Appliance.CreateInstance(id, new(Undeploy: true)),
            () => scene.Appliance.CreateInstance(id, new([one], Undeploy: false)),
            () => scene.Appliance.CreateInstance(id, new(Undeploy: false, UpdateImages: true)),
            () => scene.Appliance.CreateInstance(id, new(Undeploy: false, Quiesce: Quiesce.None)),
            () => scene.Appliance.Undeploy(id, force: false),
            () => scene.Appliance.Deploy(id),
        ];
        foreach (var call in calls) await scene.AssertRefused(call, FaultKind.Invalid, "idempotency-key-reused", "another request");
    }

    [Theory]
    [InlineData("prepare")]
    [InlineData("quiesce")]
    [InlineData("pause")]
    [InlineData("seal")]
    [InlineData("publish")]
    [InlineData("commit")]
    public async Task CreateInstance_CancelledBeforeTheCommit_IsCancelledAndEverythingIsAsBefore(string step)
    {
        var scene = await Scene.DeployedInAllPowerStates(Cluster);
        var before = await scene.LookWithoutDisks();
        Cluster.Probe.HoldBefore = step;
        var operation = await scene.Appliance.CreateInstance(OperationId.New(), new(UpdateImages: true));
        await Cluster.Probe.Arrived;

        await Cluster.Grains.Operation(operation.Id).Cancel();
        await Cluster.Grains.Operation(operation.Id).Cancel();
        Cluster.Probe.Release();

        var end = await Cluster.End(operation);
        Assert.Equal((OperationStatus.Cancelled, "operation-cancelled", false), (end.Status, end.Fault!.Code, end.Cancellable));
        Assert.Equal(before, await scene.LookWithoutDisks());
        await scene.AssertRestsDeployed();
        Assert.Equal(end.Version, (await Cluster.Grains.Operation(operation.Id).Cancel()).Version);
    }

    [Theory]
    [InlineData("register")]
    [InlineData("undeploy")]
    [InlineData("finish")]
    public async Task CreateInstance_CancelledBehindTheCommit_IsRefusedAndGoesForward(string step)
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        Cluster.Probe.HoldBefore = step;
        var operation = await scene.Appliance.CreateInstance(OperationId.New(), new());
        await Cluster.Probe.Arrived;

        var refused = await Assert.ThrowsAsync<FaultException>(() => Cluster.Grains.Operation(operation.Id).Cancel());
        Cluster.Probe.Release();

        Assert.Equal((FaultKind.Conflict, "operation-past-commit"), (refused.Fault.Kind, refused.Fault.Code));
        await scene.AssertInstances(await Cluster.End(operation), 1);
        var finished = await Assert.ThrowsAsync<FaultException>(() => Cluster.Grains.Operation(operation.Id).Cancel());
        Assert.Equal("operation-finished", finished.Fault.Code);
        await scene.AssertRestsUndeployed();
    }

    [Fact]
    public async Task CreateInstance_RightBehindAnotherOperation_IsRunAtOnce()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        for (var round = 0; round < 10; round++)
        {
            // The appliance is idle before its operation's record has the outcome: so the appliance is read first.
            var first = await scene.Appliance.CreateInstance(OperationId.New(), new(Undeploy: false));
            while ((await scene.Appliance.Get()).Operation is not null) TestContext.Current.CancellationToken.ThrowIfCancellationRequested();
            var second = await Cluster.End(await scene.Appliance.CreateInstance(OperationId.New(), new(Undeploy: false)));

            Assert.Equal(OperationStatus.Succeeded, second.Status);
            Assert.Equal(OperationStatus.Succeeded, (await Cluster.Grains.Operation(first.Id).Find())!.Status);
        }

        await scene.AssertRestsDeployed();
    }

    private async Task AssertGone(ImageId image) =>
        Assert.Equal("image-not-found", (await Assert.ThrowsAsync<FaultException>(() => Cluster.Grains.Image(image).Get())).Fault.Code);

    [Fact]
    public async Task CreateInstance_OfAMachineThatWasCapturedBefore_LeavesTheEarlierLayersToTheEarlierImage()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        var first = (await scene.CreateInstance(new(Undeploy: false))).Result!.Instances![0].Image;
        var second = (await scene.CreateInstance(new(Undeploy: false))).Result!.Instances![0].Image;

        var layers = (await scene.Image(second)).Disks[0].Layers;
        Assert.Equal([scene.Master.Id, first, second], layers.Select(layer => layer.Image));
        Assert.Equal(layers[^1].Bytes, (await scene.Image(second)).Bytes);
    }

    [Fact]
    public async Task DeleteImage_WhileItsCreateInstanceRuns_IsRefused()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        Cluster.Probe.HoldBefore = "finish";
        var operation = await scene.Appliance.CreateInstance(OperationId.New(), new());
        await Cluster.Probe.Arrived;
        var image = (await Cluster.Services.GetRequiredService<ICatalogue>().CapturedFrom((await scene.Machines())[0].Id))[0];

        await scene.AssertRefused(() => Cluster.Grains.Image(image).Delete(), FaultKind.Conflict, "image-busy", names: "Ready");

        Cluster.Probe.Release();
        await Cluster.End(operation);
        Assert.Equal(ImageStatus.Ready, (await scene.Image(image)).Status);
    }
}
