using Instances.Appliances;
using Instances.Faults;
using Instances.Library;
using Instances.Operations;
using Instances.Simulation;
using Instances.Testing;
using Xunit;

namespace Instances.Grains.Tests.Library;

/// <summary>Chains of images are kept short while users keep working.</summary>
public sealed class CompactionTests(ClusterFixture fixture) : ClusterTest(fixture)
{
    private ICompactionGrain Compaction => Cluster.Grains.Compaction();

    [Fact]
    public async Task Compact_OfAMachineThatWasCapturedAHundredTimes_StaysWithinTheBoundEachTime()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        var deepest = 0;
        for (var capture = 0; capture < 100; capture++)
        {
            var image = (await scene.AssertInstances(await scene.CreateInstance(new(UpdateImages: true)), 1))[0];
            deepest = Math.Max(deepest, image.Disks[0].Layers.Count);
            if (capture % 4 == 3) Assert.InRange((await Compacted(image.Id)).Disks[0].Layers.Count, 1, Cluster.Library.MaxChainDepth);
            Assert.Equal(OperationStatus.Succeeded, (await scene.Deploy()).Status);
        }

        Assert.InRange(deepest, 5, Cluster.Library.MaxChainDepth + 4);
        await scene.Undeploy();
        await scene.AssertRestsUndeployed();
    }

    [Fact]
    public async Task Compact_OfAMachineThatIsNeverUndeployed_ShortensItsImagesAndLeavesTheMachineAlone()
    {
        var scene = await Scene.Deployed(Cluster, machines: 2, disks: 2);
        List<ImageId> images = [];
        for (var capture = 0; capture < 15; capture++)
            images.AddRange((await scene.AssertInstances(await scene.CreateInstance(new(Undeploy: false)), 2)).Select(image => image.Id));
        var before = await scene.Machines();
        var worked = await Compaction.Get();

        await Compacted(images[^1]);

        // 15 layers of each of four disks; if each image copied all its missing layers itself, 8 images would copy 92 layers for each disk.
        Assert.InRange((await Compaction.Get()).LayersMerged - worked.LayersMerged, 4 * 10, 4 * 30);

        foreach (var image in images)
        {
            var disks = (await scene.Image(image)).Disks;
            Assert.All(disks, disk => Assert.InRange(disk.Layers.Count, 2, Cluster.Library.MaxChainDepth));
            Assert.All(disks.SelectMany(disk => disk.Layers), layer => Assert.True(Cluster.Layers.Layers[layer.Id]));
            Assert.All(disks, disk => Assert.Equal(disk.Layers.Select(layer => layer.Id).SkipLast(1), disk.Layers.Skip(1).Select(layer => layer.Parent!.Value)));
        }

        Assert.All(before.SelectMany(machine => machine.Disks), disk => Assert.Equal(17, disk.Layers.Count));
        Assert.Equal(before.SelectMany(machine => machine.Disks).SelectMany(disk => disk.Layers), (await scene.Machines()).SelectMany(machine => machine.Disks).SelectMany(disk => disk.Layers));
        await scene.AssertRestsDeployed();
        await scene.AssertInstances(await scene.CreateInstance(new(UpdateImages: true)), 2);
        Assert.Equal(OperationStatus.Succeeded, (await scene.Deploy()).Status);
        await scene.AssertRestsDeployed();
    }

    [Fact]
    public async Task Compact_OfAMachineThatGoesOn_LaysLaterImagesOverWhatBecameOfEarlierOnes()
    {
        var (scene, first, second) = await TwoDeepImages();

        var (one, other) = ((await Compacted(first)).Disks[0].Layers, (await Compacted(second)).Disks[0].Layers);

        Assert.Equal((2, 3), (one.Count, other.Count));
        Assert.Equal(one, other.Take(2));
        Assert.Equal((await scene.Machines())[0].Disks[0].Layers.SkipLast(1).TakeLast(2), [one[^1].Content, other[^1].Content]);
        await Cluster.Grains.Image(first).Delete();
        await scene.AssertRestsDeployed();
        Assert.Equal(other, (await scene.Image(second)).Disks[0].Layers);
        Assert.All(other, layer => Assert.True(Cluster.Layers.Layers[layer.Id]));
        await scene.Undeploy();
    }

    [Fact]
    public async Task Compact_OverTheChainOfAnImageThatIsDeletedMeanwhile_KeepsItsLayers()
    {
        var (scene, first, second) = await TwoDeepImages();
        await FailNext(second);
        var lower = (await scene.Image(first)).Disks[0].Layers;

        await HoldMergeOf(second);
        await Cluster.Grains.Image(first).Delete();
        await Cluster.Grains.Library().Sweep();
        Cluster.Layers.ReleaseMerges();
        var image = await Compacted(second);

        Assert.Equal(lower, image.Disks[0].Layers.Take(2));
        Assert.Equal(3, image.Disks[0].Layers.Count);
        Assert.All(image.Disks[0].Layers, layer => Assert.True(Cluster.Layers.Layers[layer.Id]));
        await scene.AssertRestsDeployed();
        await scene.Undeploy();
    }

    [Fact]
    public async Task Compact_OverTheChainOfAnotherImageThatACrashInterrupts_IsGoneOnWith()
    {
        var (scene, first, second) = await TwoDeepImages();
        await FailNext(second);
        var lower = (await scene.Image(first)).Disks[0].Layers;
        await HoldMergeOf(second);

        await Cluster.Crash();
        Cluster.Layers.ReleaseMerges();
        var image = await Compacted(second);

        Assert.Equal(lower, image.Disks[0].Layers.SkipLast(1));
        await scene.AssertRestsDeployed();
        await scene.Undeploy();
    }

    /// <summary>When the merge is resumed, it is not known whether all layers were referenced in between.</summary>
    [Fact]
    public async Task Compact_OverTheChainOfAnImageThatGoesBeforeTheSwitchIsTriedAgain_FindsAnotherWay()
    {
        var (scene, first, second) = await TwoDeepImages();
        await FailNext(second);
        Cluster.FailNext["CompleteMerge"] = new TimeoutException("A test says so.");
        await Compaction.Compact();
        await Eventually.Holds(() => Task.FromResult(Cluster.FailNext.IsEmpty), "the call was lost");

        await Cluster.Grains.Image(first).Delete();
        await Cluster.Grains.Library().Sweep();
        await Compaction.Compact();
        await Eventually.Holds(async () => (await Compaction.Get()).LastFailure is { Fault.Code: "layer-missing" } failure && failure.Image == second, "the failure is shown");
        var image = await Compacted(second);

        Assert.InRange(image.Disks[0].Layers.Count, 2, Cluster.Library.MaxChainDepth);
        Assert.All(image.Disks[0].Layers, layer => Assert.True(Cluster.Layers.Layers[layer.Id]));
        await scene.Undeploy();
    }

    [Fact]
    public async Task Compact_OverTheChainOfAnImageThatWentBefore_FindsAnotherWay()
    {
        var (scene, first, second) = await TwoDeepImages();
        await FailNext(second);
        var gone = (await scene.Image(first)).Disks[0].Layers[1].Id;
        await Cluster.Grains.Image(first).Delete();
        await Cluster.Grains.Library().Sweep();
        Assert.False(Cluster.Layers.Contains(gone));
        await Compaction.Compact();
        await Eventually.Holds(async () => (await Compaction.Get()).LastFailure is { Fault.Code: "layer-missing" } failure && failure.Image == second, "the failure is shown");

        var image = await Compacted(second);

        Assert.DoesNotContain(image.Disks[0].Layers, layer => layer.Id == gone);
        Assert.All(image.Disks[0].Layers, layer => Assert.True(Cluster.Layers.Layers[layer.Id]));
        Assert.InRange(image.Disks[0].Layers.Count, 2, Cluster.Library.MaxChainDepth);
        await scene.AssertRestsDeployed();
        await scene.Undeploy();
    }

    [Fact]
    public async Task Compact_OverTheChainOfAnImageThatIsCorrupt_IsRefused()
    {
        var (scene, first, second) = await TwoDeepImages();
        await FailNext(second);
        var bad = (await scene.Image(first)).Disks[0].Layers[1].Id;
        await Cluster.Layers.Check(bad, expected: null, long.MaxValue, TestContext.Current.CancellationToken);
        Cluster.Layers.Digests[bad] = "0bad";
        await Cluster.Layers.Check(bad, expected: null, long.MaxValue, TestContext.Current.CancellationToken);

        await Compaction.Compact();
        await Eventually.Holds(async () => (await Compaction.Get()).LastFailure is { Fault.Code: "layer-corrupt" } failure && failure.Image == second, "the failure is shown");

        Assert.Equal(10, (await scene.Image(second)).Disks[0].Layers.Count);
        Cluster.Layers.Digests.TryRemove(bad, out _);
        await Cluster.Layers.Check(bad, expected: null, long.MaxValue, TestContext.Current.CancellationToken);
        await Compacted(second);
        await scene.Undeploy();
    }

    /// <summary>The scrub notifies only the images that have the layers: this image gets them later.</summary>
    [Fact]
    public async Task Compact_OverALayerThatIsFoundCorruptMeanwhile_LeavesTheImageAsItIs()
    {
        var (scene, first, second) = await TwoDeepImages();
        await FailNext(second);
        var bad = (await scene.Image(first)).Disks[0].Layers[1].Id;
        await HoldMergeOf(second);

        await Cluster.Layers.Check(bad, expected: null, long.MaxValue, TestContext.Current.CancellationToken);
        Cluster.Layers.Digests[bad] = "0bad";
        await Cluster.Layers.Check(bad, expected: null, long.MaxValue, TestContext.Current.CancellationToken);
        foreach (var image in await Cluster.Catalogue.ImagesOn(bad)) await Cluster.Grains.Image(image).Judge([bad]);
        Cluster.Layers.ReleaseMerges();
        await Eventually.Holds(async () => (await Compaction.Get()) is { Running: null }, "the merge has ended");

        Assert.Equal("layer-corrupt", (await Compaction.Get()).LastFailure?.Fault.Code);
        var after = await scene.Image(second);
        Assert.Equal((ImageStatus.Ready, 10), (after.Status, after.Disks[0].Layers.Count));
        Cluster.Layers.Digests.TryRemove(bad, out _);
        await Cluster.Layers.Check(bad, expected: null, long.MaxValue, TestContext.Current.CancellationToken);
        await Cluster.Grains.Image(first).Judge([]);
        await Compacted(second);
        await scene.Undeploy();
    }

    /// <summary>A sweep that has found the layers unreferenced may delete them at any later time, even on a silo that was declared dead.</summary>
    [Fact]
    public async Task Compact_OverLayersThatASweepIsAboutToRemove_IsRefused()
    {
        var (scene, first, second) = await TwoDeepImages();
        await FailNext(second);
        var gone = (await scene.Image(first)).Disks[0].Layers[1].Id;
        var (looked, end) = (Signal(), Signal());
        Cluster.FailingCatalogue.AfterNextReferences(() =>
        {
            looked.SetResult();
            return end.Task;
        });
        await Cluster.Grains.Image(first).Delete();
        var sweep = Cluster.Grains.Library().Sweep();
        await looked.Task.WaitAsync(Bounds.Wait, TestContext.Current.CancellationToken);
        Assert.True(Cluster.Layers.Contains(gone));

        await Compaction.Compact();
        await Eventually.Holds(async () => (await Compaction.Get()).LastFailure is { Fault.Code: "layer-missing" } failure && failure.Image == second, "the failure is shown");
        end.SetResult();
        await sweep;

        var image = await Compacted(second);
        Assert.False(Cluster.Layers.Contains(gone));
        Assert.All(image.Disks[0].Layers, layer => Assert.True(Cluster.Layers.Layers[layer.Id]));
        await scene.Undeploy();

        static TaskCompletionSource Signal() => new(TaskCreationOptions.RunContinuationsAsynchronously);
    }

    [Fact]
    public async Task Compact_SaysWhatItDoesAndWhatItHasDone()
    {
        var (_, image) = await DeepImage();
        Cluster.Layers.HoldMerges();
        var before = await Compaction.Get();
        await Compaction.Compact();
        await Eventually.Holds(async () => (await Compaction.Get()).Running?.Image == image.Id, "the image is being compacted");

        var running = (await Compaction.Get()).Running!;
        Cluster.Layers.ReleaseMerges();
        await Compacted(image.Id);

        Assert.Equal((9, image.Disks[0].Layers.Skip(1).Sum(layer => layer.Bytes)), (running.Layers, running.BytesBefore));
        var after = await Compaction.Get();
        Assert.Equal((before.Merges + 1, before.LayersMerged + 9), (after.Merges, after.LayersMerged));
        Assert.Equal((before.BytesBefore + running.BytesBefore, 0), (after.BytesBefore, after.TooDeep));
        Assert.NotNull(after.Since);
    }

    [Fact]
    public async Task Compact_WhileTheImageIsDeployedAndCaptured_LetsTheMachineHaveTheChainThatItTook()
    {
        var (scene, image) = await DeepImage();
        Cluster.Layers.HoldMerges();
        await Compaction.Compact();
        await Eventually.Holds(async () => (await Compaction.Get()).Running?.Image == image.Id, "the image is being compacted");

        Assert.Equal(OperationStatus.Succeeded, (await scene.Deploy()).Status);
        await scene.AssertInstances(await scene.CreateInstance(new(Undeploy: false)), 1);
        Cluster.Layers.ReleaseMerges();
        await Compacted(image.Id);

        Assert.Equal(image.Disks[0].Layers.Count + 2, (await scene.Machines())[0].Disks[0].Layers.Count);
        await scene.AssertRestsDeployed();
        var captured = await scene.AssertInstances(await scene.CreateInstance(new()), 1);
        Assert.Equal(image.Disks[0].Layers.Count + 2, captured[0].Disks[0].Layers.Count);
        await scene.AssertRestsUndeployed();
    }

    [Fact]
    public async Task Deploy_WhoseImageIsCompactedBetweenItsLookAndItsRecord_TakesTheNewChain()
    {
        var (scene, image) = await DeepImage();
        var chain = image.Disks[0].Layers.Select(layer => layer.Id).ToList();
        var merge = new LayerMerge(LayerId.New(), chain, 1);
        var grain = Cluster.Grains.Image(image.Id);

        // A sweep may run at any time: so write the reference first.
        Assert.True(await grain.BeginMerge(merge));
        Cluster.Layers.Layers[merge.Merged] = true;
        Cluster.AfterNext("Instances.Library.IImageGrain.Get", () => grain.CompleteMerge(merge, 1));

        Assert.Equal(OperationStatus.Succeeded, (await scene.Deploy()).Status);

        var disk = (await scene.Machines())[0].Disks[0];
        Assert.Equal([chain[0], merge.Merged], disk.Layers.SkipLast(1));
        await scene.AssertRestsDeployed();
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Compact_OfAnImageThatIsDeletedMeanwhile_LeavesNothing(bool grace)
    {
        var (scene, image) = await DeepImage();
        Cluster.Library.GracePeriod = grace ? TimeSpan.FromHours(1) : TimeSpan.Zero;
        Cluster.Layers.HoldMerges();
        await Compaction.Compact();
        await Eventually.Holds(async () => (await Compaction.Get()).Running?.Image == image.Id, "the image is being compacted");
        await scene.Machine((await scene.Machines())[0].Id).Change((await scene.Machine((await scene.Machines())[0].Id).GetSpec()) with { Image = scene.Master.Id });

        await Cluster.Grains.Image(image.Id).Delete();
        Cluster.Layers.ReleaseMerges();
        await CompactAll();

        await scene.AssertNothingWithoutOwner();
        if (!grace) return;
        var restored = await Cluster.Grains.Image(image.Id).Restore();
        Assert.Equal(image.Disks[0].Layers.Select(layer => layer.Id), restored.Disks[0].Layers.Select(layer => layer.Id));
        Assert.InRange((await Compacted(image.Id)).Disks[0].Layers.Count, 2, 8);
    }

    [Theory]
    [InlineData("no-space")]
    [InlineData("merge-failed")]
    public async Task Compact_ThatFails_LeavesTheImageAndIsTriedAgain(string code)
    {
        var (scene, image) = await DeepImage();
        Cluster.Layers.FailNextMerge(code == "no-space" ? FaultException.Capacity(code, "The disk is full.") : new OverflowException("A test says so."));
        await Compaction.Compact();
        await Eventually.Holds(async () => (await Compaction.Get()).LastFailure?.Image == image.Id, "the failure is shown");

        Assert.Equal(code, (await Compaction.Get()).LastFailure!.Fault.Code);
        Assert.Equal(image.Disks[0].Layers.Count, (await scene.Image(image.Id)).Disks[0].Layers.Count);
        await scene.AssertNothingWithoutOwner();
        Assert.Equal(2, (await Compacted(image.Id)).Disks[0].Layers.Count);
        Assert.Null((await Compaction.Get()).LastFailure);
    }

    [Fact]
    public async Task Compact_OfALayerThatIsCorrupt_IsRefused()
    {
        var (scene, image) = await DeepImage();
        var bad = image.Disks[0].Layers[3].Id;
        await Cluster.Layers.Check(bad, expected: null, long.MaxValue, TestContext.Current.CancellationToken);
        Cluster.Layers.Digests[bad] = "0bad";

        await Compaction.Compact();
        await Eventually.Holds(async () => (await Compaction.Get()).LastFailure?.Image == image.Id, "the failure is shown");

        Assert.Equal("layer-corrupt", (await Compaction.Get()).LastFailure!.Fault.Code);
        Assert.Equal(10, (await scene.Image(image.Id)).Disks[0].Layers.Count);
        Cluster.Layers.Digests.TryRemove(bad, out _);
        await Compacted(image.Id);
    }

    /// <summary>The hash from its arrival counts, even if it was never read here.</summary>
    [Fact]
    public async Task Compact_OfALayerThatIsNotWhatItsManifestSays_IsRefused()
    {
        var (_, image) = await DeepImage();
        var bad = image.Disks[0].Layers[3].Id;
        await Cluster.Grains.Image(image.Id).RecordDigest(bad, SimulatedLayerStore.Sound);
        Cluster.Layers.Digests[bad] = "0bad";

        await Compaction.Compact();
        await Eventually.Holds(async () => (await Compaction.Get()).LastFailure?.Image == image.Id, "the failure is shown");

        Assert.Equal("layer-corrupt", (await Compaction.Get()).LastFailure!.Fault.Code);
        Cluster.Layers.Digests.TryRemove(bad, out _);
        await Compacted(image.Id);
    }

    [Fact]
    public async Task Compact_ThatACrashInterrupts_IsGoneOnWith()
    {
        var (scene, image) = await DeepImage();
        Cluster.Layers.HoldMerges();
        await Compaction.Compact();
        await Eventually.Holds(async () => (await Compaction.Get()).Running?.Image == image.Id, "the image is being compacted");
        var merged = (await Compaction.Get()).Running!.Merged;

        await Cluster.Crash();
        Cluster.Layers.ReleaseMerges();

        Assert.Equal(merged, (await Compacted(image.Id)).Disks[0].Layers[^1].Id);
        Assert.Null((await Compaction.Get()).Running);
        await scene.AssertRestsUndeployed();
        Assert.Equal(OperationStatus.Succeeded, (await scene.Deploy()).Status);
    }

    [Theory]
    [InlineData("BeginMerge")]
    [InlineData("CompleteMerge")]
    [InlineData("AbandonMerge")]
    public async Task Compact_WhoseAnswerIsLost_EndsAllTheSame(string call)
    {
        var (scene, image) = await DeepImage();
        Cluster.FailNext[call] = new TimeoutException("A test says so.");
        if (call == "AbandonMerge") Cluster.Layers.FailNextMerge(FaultException.Capacity("no-space", "The disk is full."));
        await Compaction.Compact();
        await Eventually.Holds(() => Task.FromResult(!Cluster.FailNext.ContainsKey(call)), "the call was lost");

        Assert.Equal(2, (await Compacted(image.Id)).Disks[0].Layers.Count);
        await scene.AssertRestsUndeployed();
    }

    /// <summary>An image with one disk of ten layers that no other image uses, and the appliance that uses the image.</summary>
    private async Task<(Scene Scene, ImageView Image)> DeepImage()
    {
        await CompactAll();
        var scene = await Scene.Deployed(Cluster, machines: 1);
        for (var capture = 0; capture < 8; capture++) await scene.AssertInstances(await scene.CreateInstance(new(Undeploy: false)), 1);
        var image = (await scene.AssertInstances(await scene.CreateInstance(new(UpdateImages: true)), 1))[0];
        Assert.Equal(10, image.Disks[0].Layers.Count);
        await Eventually.Holds(async () => (await Cluster.Catalogue.LayerUses()) is var uses && image.Disks[0].Layers.Skip(1).All(layer => uses[layer.Id] == 1), "the image has its layers for itself");
        return (scene, image);
    }

    /// <summary>A running machine, and two images of it with nine and ten layers.</summary>
    private async Task<(Scene Scene, ImageId First, ImageId Second)> TwoDeepImages()
    {
        await CompactAll();
        var scene = await Scene.Deployed(Cluster, machines: 1);
        List<ImageId> images = [];
        for (var capture = 0; capture < 9; capture++) images.Add((await scene.AssertInstances(await scene.CreateInstance(new(Undeploy: false)), 1))[0].Id);
        var depths = await Task.WhenAll(images.TakeLast(2).Select(async image => (await scene.Image(image)).Disks[0].Layers.Count));
        Assert.Equal([9, 10], depths);
        return (scene, images[^2], images[^1]);
    }

    /// <summary>Compacts until an image's merge is planned. The call to begin it is lost.</summary>
    private async Task FailNext(ImageId image)
    {
        Cluster.AfterNext("Instances.Library.IImageGrain.CompleteMerge", () =>
        {
            Cluster.FailNext["BeginMerge"] = new TimeoutException("A test says so.");
            return Task.CompletedTask;
        });
        await Compaction.Compact();
        await Eventually.Holds(async () => (await Compaction.Get()).Running?.Image == image && Cluster.FailNext.IsEmpty, "the merge is planned");
    }

    /// <summary>Compacts until an image's merge has begun: all checks before it have passed.</summary>
    private async Task HoldMergeOf(ImageId image)
    {
        var top = (await Cluster.Grains.Image(image).Get()).Disks[0].Layers[^1].Id;
        Cluster.Layers.HoldMerges();
        await Compaction.Compact();
        await Eventually.Holds(() => Task.FromResult(Cluster.Layers.FindCheck(top) is { CheckedAt: not null }), "its layers were found to be sound");
    }

    private async Task<ImageView> Compacted(ImageId image)
    {
        await CompactAll();
        return await Cluster.Grains.Image(image).Get();
    }

    private async Task CompactAll()
    {
        var before = (await Compaction.Get()).LastLook;
        await Compaction.Compact();
        await Eventually.Holds(async () => (await Compaction.Get()).LastLook is { } look && look != before, "there is nothing more to compact");
        Assert.Equal(0, (await Compaction.Get()).TooDeep);
    }
}
