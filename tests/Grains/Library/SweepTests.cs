using Instances.Doctor;
using Instances.Faults;
using Instances.Library;
using Instances.Operations;
using Xunit;

namespace Instances.Grains.Tests.Library;

public sealed class SweepTests(HandSweptFixture fixture) : ClusterTest<HandSweptFixture>(fixture)
{
    [Fact]
    public async Task Sweep_OfWhatHasNoOwner_RemovesItAndSaysSo()
    {
        var scene = await Scene.Deployed(Cluster);
        await scene.AssertInstances(await scene.CreateInstance(new(Undeploy: false)), 3);
        await Cluster.Grains.Library().Sweep();
        var before = Cluster.Layers.Layers.Keys.ToHashSet();
        var (layer, partial) = (LayerId.New(), LayerId.New());
        (Cluster.Layers.Layers[layer], Cluster.Layers.Layers[partial]) = (true, false);
        var image = (await Cluster.AddManifest(layer, OperationStatus.Failed)).Id;

        var report = await Cluster.Grains.Library().Sweep();

        Assert.Equal((2, 1), (report.Layers, report.Manifests));
        Assert.True(report.Bytes > 0);
        Assert.Equal(before, Cluster.Layers.Layers.Keys.ToHashSet());
        Assert.DoesNotContain(image, Cluster.Layers.Manifests);
        Assert.Equal(new SweepReport(0, 0, 0), await Cluster.Grains.Library().Sweep());
        await scene.AssertRestsDeployed();
    }

    [Theory]
    [InlineData(null)]
    [InlineData(OperationStatus.Running)]
    [InlineData(OperationStatus.Succeeded)]
    public async Task Sweep_OfAManifestThatMayBeAnImageOfALostDatabase_TakesNothing(OperationStatus? operation)
    {
        await Cluster.Grains.Library().Sweep();
        var layer = LayerId.New();
        Cluster.Layers.Layers[layer] = true;
        var manifest = await Cluster.AddManifest(layer, operation);

        Assert.Equal(new SweepReport(0, 0, 0), await Cluster.Grains.Library().Sweep());

        Assert.True(Cluster.Layers.Contains(layer));
        Assert.Contains(manifest.Id, Cluster.Layers.Manifests);
        await Cluster.Layers.DeleteManifest(manifest.Id);
        Assert.Equal(1, (await Cluster.Grains.Library().Sweep()).Layers);
    }

    [Fact]
    public async Task Sweep_WhileAManifestWithoutARecordCannotBeRead_TakesOnlyWhatIsOnItsWay()
    {
        await Cluster.Grains.Library().Sweep();
        var (layer, image) = (LayerId.New(), ImageId.New());
        Cluster.Layers.Layers[layer] = true;
        Cluster.Layers.UnreadableManifests[image] = "It is cut off.";

        Assert.Equal(new SweepReport(0, 0, 0), await Cluster.Grains.Library().Sweep());
        Assert.Equal("manifest-unreadable", Assert.Single((await Cluster.Grains.Doctor().Examine(fix: true)).Findings, finding => finding.Severity is FindingSeverity.Critical).Code);

        Cluster.Layers.UnreadableManifests.Clear();
        Assert.Equal(1, (await Cluster.Grains.Library().Sweep()).Layers);
    }

    [Fact]
    public async Task Sweep_OfAFailedImportWhoseManifestStayed_TakesIt()
    {
        var (image, operation) = (ImageId.New(), OperationId.New());
        var ticket = await Cluster.Grains.Image(image).BeginImport(operation, new("debian", ImageFormat.Qcow2));
        var plan = await Cluster.Grains.Image(image).AcceptUpload(ticket.Secret);
        await Cluster.Grains.Image(image).FailImport(operation, new(FaultKind.Invalid, "image-corrupt", "It is."));
        await Cluster.AddManifest(plan.Layer, operation: null, image);

        Assert.Equal(1, (await Cluster.Grains.Library().Sweep()).Manifests);
        Assert.DoesNotContain(image, Cluster.Layers.Manifests);
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

        // The layers that only the machines had are deleted after the undeployment: an empty layer for each disk.
        var report = await Cluster.Grains.Library().Sweep();
        Assert.Equal((0, true), (report.Manifests, report.Layers == 0 || (step == "update" && report.Layers == 4)));

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
