using Instances.Faults;
using Instances.Library;
using Instances.Operations;
using Instances.Testing;
using Orleans.Runtime;
using Xunit;

namespace Instances.Grains.Tests.Library;

/// <summary>A slave is promoted to a master, whatever happens to the slave meanwhile.</summary>
public sealed class PromotionTests(ClusterFixture fixture) : ClusterTest(fixture)
{
    private readonly ImageId _id = ImageId.New();
    private readonly OperationId _operation = OperationId.New();

    private IImageGrain Promoted => Cluster.Grains.Image(_id);

    [Fact]
    public async Task Promotion_MakesAMasterThatSharesNothingWithTheSlave()
    {
        var (scene, slave) = await Slave(disks: 2);

        await Promoted.BeginPromotion(_operation, slave.Id, "gold");
        await Promoted.BeginPromotion(_operation, slave.Id, "gold");
        var plan = Taken();

        Assert.Equal(slave.Disks.Count, plan.Promotion!.Layers.Count);
        Assert.Equal(slave.Disks.SelectMany(disk => disk.Layers).Select(layer => layer.Id), plan.Promotion.Disks.SelectMany(disk => disk.Layers).Select(layer => layer.Id));
        var view = await Cluster.Grains.GetGrain<IOperationGrain>(_operation.Value).Find();
        Assert.Equal((OperationKind.Promote, _id), (view!.Kind, view.Image!.Value));
        Assert.Equal(["check", "convert", "publish"], view.Steps.Select(step => step.Name));
        var master = await Complete(plan);
        Assert.Equal((ImageKind.Master, ImageStatus.Ready, "gold", slave.Id), (master.Kind, master.Status, master.Name, master.Promotion!.Source));
        Assert.Equal(ImageStatus.Ready, (await scene.Image(slave.Id)).Status);
        Assert.Equal(OperationStatus.Succeeded, (await Cluster.Grains.GetGrain<IOperationGrain>(_operation.Value).Find())!.Status);
        await Cluster.Grains.Image(slave.Id).Delete();
        await scene.AssertNothingWithoutOwner();
        Assert.All(plan.Layers, layer => Assert.Contains(layer, Cluster.Layers.Layers.Keys));
    }

    [Fact]
    public async Task Promotion_WithoutAName_HasTheSlavesNameAndDetails()
    {
        var (_, slave) = await Slave();
        slave = await Cluster.Grains.Image(slave.Id).Change(slave.ToSpec() with { Details = slave.Details with { Description = "with a database" } }, ifVersion: null);

        await Promoted.BeginPromotion(_operation, slave.Id, name: null);

        var master = await Complete(Taken());
        Assert.Equal((slave.Name, "with a database"), (master.Name, master.Details.Description));
    }

    [Fact]
    public async Task Promotion_OfASlaveThatIsDeletedMeanwhile_KeepsItsLayersUntilItsEnd()
    {
        var (scene, slave) = await Slave();
        await Promoted.BeginPromotion(_operation, slave.Id, name: null);
        await Cluster.Grains.Image(slave.Id).Delete();
        await Cluster.Grains.Library().Sweep();

        var plan = Taken();

        Assert.All(plan.Promotion!.Disks.SelectMany(disk => disk.Layers), layer => Assert.Contains(layer.Id, Cluster.Layers.Layers.Keys));
        await Complete(plan);
        await scene.AssertNothingWithoutOwner();
        Assert.DoesNotContain(plan.Promotion.Disks[0].Layers[^1].Id, Cluster.Layers.Layers.Keys);
    }

    [Fact]
    public async Task Promotion_OfASlaveThatIsDeletedBetweenItsLookAndItsRecord_IsRefusedAndLeavesNothing()
    {
        var (scene, slave) = await Slave();
        Cluster.AfterNext("Instances.Library.IImageGrain.Get", () => Cluster.Grains.Image(slave.Id).Delete());

        Assert.Equal("image-not-found", (await Assert.ThrowsAsync<FaultException>(() => Promoted.BeginPromotion(_operation, slave.Id, name: null))).Fault.Code);

        Assert.DoesNotContain(Cluster.Imports.TakenPromotions, plan => plan.Operation == _operation);
        Assert.DoesNotContain(_id, await Cluster.Catalogue.KnownImages());
        await scene.AssertNothingWithoutOwner();
    }

    [Fact]
    public async Task Promotion_OfAMaster_IsRefused()
    {
        var (scene, _) = await Slave();
        await Refused("image-is-master", () => Promoted.BeginPromotion(_operation, scene.Master.Id, name: null));
        await Refused("image-not-found", () => Promoted.BeginPromotion(_operation, ImageId.New(), name: null));
    }

    [Fact]
    public async Task Promotion_OfARetiredSlave_IsRefused()
    {
        Cluster.Library.GracePeriod = TimeSpan.FromHours(1);
        var (_, slave) = await Slave();
        await Cluster.Grains.Image(slave.Id).Delete();

        await Refused("image-not-ready", () => Promoted.BeginPromotion(_operation, slave.Id, name: null));
    }

    [Fact]
    public async Task Promotion_WithABadNameOrWithoutSpace_IsRefused()
    {
        var (_, slave) = await Slave();
        await Refused("name-invalid", () => Promoted.BeginPromotion(_operation, slave.Id, name: ""));
        var free = Cluster.Layers.FreeBytes;
        Cluster.Layers.FreeBytes = 1;
        await Refused("no-space", () => Promoted.BeginPromotion(_operation, slave.Id, name: null));
        Cluster.Layers.FreeBytes = free;
    }

    [Fact]
    public async Task Promotion_ThatIsCancelledOrFails_LeavesTheSlave()
    {
        var (scene, slave) = await Slave();
        await Promoted.BeginPromotion(_operation, slave.Id, name: null);
        await Cluster.Grains.GetGrain<IOperationGrain>(_operation.Value).Cancel();
        Assert.False(await Promoted.ReportImport(_operation, ImportStage.Converting, 1));

        var (other, operation) = (ImageId.New(), OperationId.New());
        await Cluster.Grains.Image(other).BeginPromotion(operation, slave.Id, name: null);
        await Cluster.Grains.Image(other).FailImport(operation, new(FaultKind.Conflict, "layer-corrupt", "It is corrupt."));

        Assert.Equal(ImageStatus.Failed, (await Cluster.Grains.Image(other).Get()).Status);
        Assert.Equal(ImageStatus.Ready, (await scene.Image(slave.Id)).Status);
        await scene.AssertNothingWithoutOwner();
    }

    [Fact]
    public async Task Promotion_ThatASiloForgets_IsTakenUpByTheReminder()
    {
        Cluster.Library.UploadIdleBound = TimeSpan.Zero;
        var (_, slave) = await Slave();
        await Promoted.BeginPromotion(_operation, slave.Id, name: null);
        var plan = Taken();
        await Cluster.Crash();

        await Promoted.AsReference<IRemindable>().ReceiveReminder("import", new TickStatus(), TestContext.Current.CancellationToken);

        Assert.Equal(plan.Layers, Taken().Layers);
        Assert.Equal(ImageStatus.Ready, (await Complete(plan)).Status);
    }

    private static async Task Refused(string code, Func<Task> call) => Assert.Equal(code, (await Assert.ThrowsAsync<FaultException>(call)).Fault.Code);

    private async Task<(Scene Scene, ImageView Slave)> Slave(int disks = 1)
    {
        var scene = await Scene.Deployed(Cluster, machines: 1, disks);
        return (scene, (await scene.AssertInstances(await scene.CreateInstance(new()), 1))[0]);
    }

    private UploadPlan Taken()
    {
        UploadPlan? last = null;
        while (Cluster.Imports.TakenPromotions.TryDequeue(out var plan)) last = plan;
        Assert.NotNull(last);
        return last;
    }

    /// <summary>As the library's silo does.</summary>
    private async Task<ImageView> Complete(UploadPlan plan)
    {
        Assert.True(await Promoted.ReportImport(_operation, ImportStage.Receiving, 0));
        Assert.True(await Promoted.ReportImport(_operation, ImportStage.Converting, 1));
        foreach (var layer in plan.Layers) Cluster.Layers.Layers[layer] = true;
        var manifest = new ImageManifest(
            _id, plan.Command.Name, ImageKind.Master, Master: null, Parent: null,
            [.. plan.Promotion!.Disks.Zip(plan.Layers, (disk, layer) => new DiskManifest([new(layer, Parent: null, Bytes: 1, _id)], disk.VirtualSizeBytes))], TimeProvider.System.GetUtcNow())
        {
            Details = plan.Command.Details!,
            Promotion = new(_operation, TimeProvider.System.GetUtcNow(), plan.Promotion.Source),
        };
        await Cluster.Layers.WriteManifest(manifest);
        return await Promoted.CompleteImport(_operation, manifest);
    }
}
