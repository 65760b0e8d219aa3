using Instances.Faults;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.Simulation;
using Instances.Testing;
using Xunit;

namespace Instances.Grains.Tests.Library;

/// <summary>A layer whose hash has changed makes its images Corrupt. A good copy, from a host or another datacenter, makes them Ready again.</summary>
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
    public async Task Verify_WhenAHostHasAGoodCopy_AsksNoOtherDatacenter()
    {
        var (image, layer) = await Corrupted();
        Cluster.Peers.AddWithCopy("west", SimulatedLayerStore.Sound);

        await Recover(image, layer);

        Assert.Empty(Cluster.Peers.Asked);
        Assert.Equal((layer, new HostOptions().Name), (await Scrub.Get()).LastHealing is { } healing ? (healing.Layer, healing.From) : default);
    }

    [Fact]
    public async Task Verify_WhenNoHostHasAGoodCopy_TakesThatOfTheFirstDatacenterThatHasOne()
    {
        var (image, layer) = await Corrupted();
        Uri[] asked =
        [
            Cluster.Peers.AddFailing("away", FaultKind.Unavailable), Cluster.Peers.AddFailing("without", FaultKind.NotFound), Cluster.Peers.AddWithCopy("wrong", "0bad"),
            Cluster.Peers.AddWithCopy("good", SimulatedLayerStore.Sound),
        ];
        Cluster.Peers.AddWithCopy("good-too", SimulatedLayerStore.Sound);

        await Scrub.Verify();

        await BecomesStatus(image, ImageStatus.Ready);
        Assert.Equal(asked, Cluster.Peers.Asked);
        var health = await Scrub.Get();
        Assert.Empty(health.Corrupt);
        Assert.Equal((layer, asked[^1].ToString()), (health.LastHealing!.Layer, health.LastHealing.From));
    }

    [Fact]
    public async Task Verify_WhileADatacenterIsSlow_GoesOnAndShowsWhereTheCopyComesFrom()
    {
        var (image, layer) = await Corrupted();
        var (answer, other) = (new TaskCompletionSource(), await Cluster.AddMaster());
        var slow = Cluster.Peers.AddWithCopy("slow", SimulatedLayerStore.Sound, after: answer.Task);

        await Verified();

        await AreAsked(1);
        Assert.Equal(slow.ToString(), Assert.Single((await Scrub.Get()).Corrupt).HealingFrom);
        await Verified();
        Assert.NotNull((await Library.OfferLayer(other.Disks[0].Layers[0].Id)).Sha256);
        Assert.Equal(ImageStatus.Corrupt, (await Image(image)).Status);

        answer.SetResult();
        await BecomesStatus(image, ImageStatus.Ready);
        Assert.Single(Cluster.Peers.Asked);
        Assert.Equal((layer, slow.ToString()), (await Scrub.Get()).LastHealing is { } healing ? (healing.Layer, healing.From) : default);
    }

    /// <summary>Each scan retries the corrupt layers: it reads them again, and finds them corrupt again.</summary>
    [Fact]
    public async Task Verify_WithDatacentersThatAreAwayOrSentAWrongCopy_AsksEachOnce()
    {
        var (image, layer) = await Corrupted();
        Uri[] peers = [Cluster.Peers.AddFailing("away", FaultKind.Unavailable), Cluster.Peers.AddWithCopy("wrong", "0bad")];

        await Verified();
        await AreAsked(2);

        // A verification on request asks them again.
        await Verified();
        await AreAsked(4);
        Assert.Equal([.. peers, .. peers], Cluster.Peers.Asked);
        Assert.Equal(ImageStatus.Corrupt, (await Image(image)).Status);
        await Recover(image, layer);
    }

    [Fact]
    public async Task Verify_WithADatacenterWhoseFileIsLongerThanTheDisk_DoesNotTakeIt()
    {
        var (image, layer) = await Corrupted();
        var virtualBytes = (await Image(image)).Disks[0].VirtualSizeBytes;
        Cluster.Peers.AddWithCopy("long", SimulatedLayerStore.Sound, lengthBytes: 2 * virtualBytes);

        await Verified();
        await AreAsked(1);

        // Before it is asked again, the first attempt has completely ended.
        await Verified();
        await AreAsked(2);
        Assert.Equal(ImageStatus.Corrupt, (await Image(image)).Status);
        await Recover(image, layer);
    }

    [Fact]
    public async Task OfferLayer_OfAReadyImage_NamesTheDigestThatItHasToHave()
    {
        var image = await Cluster.AddMaster();
        var layer = image.Disks[0].Layers[0].Id;
        Assert.Null((await Library.OfferLayer(layer)).Sha256);

        await Verified();

        Assert.Equal((layer, SimulatedLayerStore.Sound), await Library.OfferLayer(layer) is var offer ? (offer.Id, offer.Sha256) : default);
    }

    [Fact]
    public async Task OfferLayer_OfACorruptImage_GivesWhatIsSoundOfIt()
    {
        var (image, layer) = await Corrupted();
        var sound = (await Image(image)).Disks[0].Layers[0].Id;

        Assert.Equal(sound, (await Library.OfferLayer(sound)).Id);
        Assert.Equal(("layer-not-sound", FaultKind.Conflict), await Refused(layer));
        await Recover(image, layer);
        Assert.Equal(layer, (await Library.OfferLayer(layer)).Id);
    }

    [Fact]
    public async Task OfferLayer_OfWhatIsNoImages_DoesNotFindIt()
    {
        var (unsealed, nobodys) = (LayerId.New(), LayerId.New());
        Cluster.Layers.Layers[unsealed] = false;
        Cluster.Layers.Layers[nobodys] = true;

        foreach (var layer in (LayerId[])[LayerId.New(), unsealed, nobodys]) Assert.Equal(("layer-not-found", FaultKind.NotFound), await Refused(layer));
    }

    private Task AreAsked(int times) => Eventually.Holds(() => Task.FromResult(Cluster.Peers.Asked.Count >= times), $"other datacenters are asked {times} times");

    private ILibraryGrain Library => Cluster.Grains.Library();

    private async Task<(string Code, FaultKind Kind)> Refused(LayerId layer) =>
        (await Assert.ThrowsAsync<FaultException>(() => Library.OfferLayer(layer))).Fault is var fault ? (fault.Code, fault.Kind) : default;

    /// <summary>A slave whose own layer is known to be corrupt, and has no copy anywhere.</summary>
    private async Task<(ImageId Image, LayerId Layer)> Corrupted()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        var image = (await scene.AssertInstances(await scene.CreateInstance(new(UpdateImages: true)), 1))[0];
        var layer = image.Disks[0].Layers[^1].Id;
        await Verified();
        Cluster.Layers.Digests[layer] = "0bad";
        await Verified();
        await BecomesStatus(image.Id, ImageStatus.Corrupt);
        return (image.Id, layer);
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
