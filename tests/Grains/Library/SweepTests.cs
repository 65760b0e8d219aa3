using Instances.Faults;
using Instances.Library;
using Instances.Operations;
using Xunit;

namespace Instances.Grains.Tests.Library;

public sealed class SweepTests(ClusterFixture fixture) : ClusterTest(fixture)
{
    [Fact]
    public async Task Sweep_OfWhatHasNoOwner_RemovesItAndSaysSo()
    {
        var scene = await Scene.Deployed(Cluster);
        await scene.AssertInstances(await scene.CreateInstance(new(Undeploy: false)), 3);
        await Cluster.Grains.Library().Sweep();
        var before = Cluster.Layers.Layers.Keys.ToHashSet();
        var (layer, partial, image) = (LayerId.New(), LayerId.New(), ImageId.New());
        (Cluster.Layers.Layers[layer], Cluster.Layers.Layers[partial]) = (true, false);
        await Cluster.Layers.WriteManifest(new(
            image, "nobody's", ImageKind.Master, Master: null, Parent: null, [new([new(layer, Parent: null, Bytes: 1, image)], 1L << 20)], TimeProvider.System.GetUtcNow()));

        var report = await Cluster.Grains.Library().Sweep();

        Assert.Equal((2, 1), (report.Layers, report.Manifests));
        Assert.True(report.Bytes > 0);
        Assert.Equal(before, Cluster.Layers.Layers.Keys.ToHashSet());
        Assert.DoesNotContain(image, Cluster.Layers.Manifests);
        Assert.Equal(new SweepReport(0, 0, 0), await Cluster.Grains.Library().Sweep());
        await scene.AssertRestsDeployed();
    }

    [Theory]
    [InlineData("quiesce", true)]
    [InlineData("seal", true)]
    [InlineData("publish", true)]
    [InlineData("commit", true)]
    [InlineData("register", true)]
    [InlineData("register", false)]
    [InlineData("undeploy", true)]
    [InlineData("update", true)]
    public async Task Sweep_WhileAnInstanceIsCreated_TakesNothing(string step, bool undeploy)
    {
        var scene = await Scene.Deployed(Cluster, machines: 2, dataDisks: 1);
        await Cluster.Grains.Library().Sweep();
        Cluster.Probe.HoldBefore = step;
        var operation = await scene.Appliance.CreateInstance(OperationId.New(), new(UpdateImages: true, Undeploy: undeploy));
        await Cluster.Probe.Arrived;

        Assert.Equal(new SweepReport(0, 0, 0), await Cluster.Grains.Library().Sweep());

        Cluster.Probe.Release();
        await scene.AssertInstances(await Cluster.End(operation), 2);
        if (!undeploy) await scene.Undeploy();
        await scene.AssertRestsUndeployed();
        Assert.Equal(OperationStatus.Succeeded, (await scene.Deploy()).Status);
    }

    [Fact]
    public async Task Sweep_WhileMachinesAreDeployed_TakesNothing()
    {
        var scene = await Scene.Undeployed(Cluster, machines: 2);
        await Cluster.Grains.Library().Sweep();
        Cluster.Probe.HoldBefore = "finish";
        var operation = await scene.Appliance.Deploy(OperationId.New());
        await Cluster.Probe.Arrived;

        Assert.Equal(new SweepReport(0, 0, 0), await Cluster.Grains.Library().Sweep());

        Cluster.Probe.Release();
        await Cluster.End(operation);
        await scene.AssertRestsDeployed();
    }

    [Fact]
    public async Task Delete_WhoseLookForUsersFails_TakesItsMarkBack()
    {
        var scene = await Scene.Undeployed(Cluster, machines: 1);
        Cluster.FailingCatalogue.FailNextUsersOf();

        await Assert.ThrowsAsync<FaultException>(() => Cluster.Grains.Image(scene.Master.Id).Delete());

        Assert.Equal(ImageStatus.Ready, (await scene.Image(scene.Master.Id)).Status);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Delete_InterruptedByACrashBeforeItsLook_IsTakenBackByTheNextLook(bool byRepeating)
    {
        Cluster.Library.GracePeriod = TimeSpan.FromDays(1);
        var scene = await Scene.Undeployed(Cluster, machines: 1);
        var reached = Cluster.FailingCatalogue.HoldNextUsersOf();
        var deletion = Cluster.Grains.Image(scene.Master.Id).Delete();
        await reached;
        await Cluster.Crash();
        await Assert.ThrowsAnyAsync<Exception>(() => deletion);

        Cluster.Library.GracePeriod = TimeSpan.FromTicks(1);
        if (byRepeating) await Assert.ThrowsAsync<FaultException>(() => Cluster.Grains.Image(scene.Master.Id).Delete());
        else await Cluster.Grains.Library().Sweep();

        Assert.Equal(ImageStatus.Ready, (await scene.Image(scene.Master.Id)).Status);
        Assert.Equal(OperationStatus.Succeeded, (await scene.Deploy()).Status);
    }
}
