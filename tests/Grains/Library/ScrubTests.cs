using Instances.Faults;
using Instances.Library;
using Instances.Operations;
using Instances.Simulation;
using Instances.Testing;
using Xunit;

namespace Instances.Grains.Tests.Library;

/// <summary>A layer that is not what it was makes its images Corrupt, and a host that has a good copy makes them Ready again.</summary>
public sealed class ScrubTests(ClusterFixture fixture) : ClusterTest(fixture)
{
    private IScrubGrain Scrub => Cluster.Grains.Scrub();

    [Fact]
    public async Task Verify_OfASoundLibrary_ReadsEveryLayerAndFindsNothing()
    {
        var scene = await Scene.Deployed(Cluster);
        var image = (await scene.AssertInstances(await scene.CreateInstance(new()), 3))[0];
        var before = TimeProvider.System.GetUtcNow();

        var health = await Verified();

        Assert.True(health.Layers >= 4);
        Assert.Equal((health.Layers, health.Bytes), (health.LayersRead, health.BytesRead));
        Assert.True(health.OldestRead >= before);
        Assert.Empty(health.Corrupt);
        Assert.All((await Image(image.Id)).Disks[0].Layers, layer => Assert.Equal(SimulatedLayerStore.Sound, layer.Sha256));
    }

    [Fact]
    public async Task Verify_WithACorruptLayer_MakesCorruptWhatStandsOnItAndNothingElse()
    {
        var scene = await Scene.Deployed(Cluster, machines: 2);
        var captured = await scene.AssertInstances(await scene.CreateInstance(new(UpdateImages: true)), 2);
        var (bad, good) = (captured[0], captured[1]);
        var layer = bad.Disks[0].Layers[^1].Id;
        await Verified();
        Cluster.Layers.Digests[layer] = "0bad";

        var corrupt = Assert.Single((await Verified()).Corrupt);

        Assert.Equal((layer, SimulatedLayerStore.Sound, "0bad"), (corrupt.Layer, corrupt.Expected, corrupt.Found));
        Assert.Equal([bad.Id], corrupt.Images);
        await BecomesStatus(bad.Id, ImageStatus.Corrupt);
        Assert.Equal([layer], (await Image(bad.Id)).CorruptLayers);
        Assert.Equal(ImageStatus.Ready, (await Image(good.Id)).Status);
        Assert.Equal("image-corrupt", (await Assert.ThrowsAsync<FaultException>(scene.Deploy)).Fault.Code);
        await Recover(bad.Id, layer);
    }

    [Fact]
    public async Task Verify_WhenAHostHasAGoodCopy_MakesTheImageReadyAgain()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        var image = (await scene.AssertInstances(await scene.CreateInstance(new(UpdateImages: true)), 1))[0];
        var layer = image.Disks[0].Layers[^1].Id;
        await Verified();
        Cluster.Layers.Digests[layer] = "0bad";
        await Verified();
        await BecomesStatus(image.Id, ImageStatus.Corrupt);

        await Recover(image.Id, layer);

        Assert.Empty((await Scrub.Get()).Corrupt);
        Assert.Equal(OperationStatus.Succeeded, (await scene.Deploy()).Status);
    }

    [Fact]
    public async Task Restore_OfAnImageWhoseLayerWasFoundCorruptMeanwhile_IsCorrupt()
    {
        Cluster.Library.GracePeriod = TimeSpan.FromHours(1);
        try
        {
            var scene = await Scene.Deployed(Cluster, machines: 1);
            var image = (await scene.AssertInstances(await scene.CreateInstance(new()), 1))[0];
            var layer = image.Disks[0].Layers[^1].Id;
            await Verified();
            await Cluster.Grains.Image(image.Id).Delete();
            Cluster.Layers.Digests[layer] = "0bad";
            await Verified();
            await Eventually.Holds(async () => (await Image(image.Id)).CorruptLayers.Contains(layer), "the retired image knows it");
            Assert.Equal(ImageStatus.Retired, (await Image(image.Id)).Status);

            Assert.Equal(ImageStatus.Corrupt, (await Cluster.Grains.Image(image.Id).Restore()).Status);

            await Recover(image.Id, layer);
        }
        finally
        {
            Cluster.Library.GracePeriod = TimeSpan.Zero;
        }
    }

    private async Task<LibraryHealth> Verified()
    {
        await Scrub.Verify();
        LibraryHealth health = null!;
        await Eventually.Holds(async () => (health = await Scrub.Get()) is { IsDone: true, Reading: null }, "every layer was read");
        return health;
    }

    private async Task Recover(ImageId image, LayerId layer)
    {
        Cluster.Layers.Copies[layer] = SimulatedLayerStore.Sound;
        await Scrub.Verify();
        await BecomesStatus(image, ImageStatus.Ready);
        Assert.Empty((await Image(image)).CorruptLayers);
    }

    private Task BecomesStatus(ImageId image, ImageStatus status) => Eventually.Holds(async () => (await Image(image)).Status == status, $"the image is {status}");

    private Task<ImageView> Image(ImageId image) => Cluster.Grains.Image(image).Get();
}
