using System.Text.Json;
using Instances.Doctor;
using Instances.Enterprises;
using Instances.Faults;
using Instances.Library;
using Instances.Operations;
using Instances.Testing;
using Orleans;
using Orleans.Runtime;
using Xunit;

namespace Instances.Grains.Tests.Library;

/// <summary>The database is lost, whole or in part, and the library's files are not.</summary>
public sealed class RebuildTests : IAsyncLifetime
{
    private SimulatedCluster _cluster = null!;

    private ILibraryGrain Library => _cluster.Grains.Library();

    public async ValueTask InitializeAsync() => _cluster = await SimulatedCluster.Start();

    public ValueTask DisposeAsync() => _cluster.DisposeAsync();

    [Fact]
    public async Task Rebuild_OfALostDatabase_BringsEveryImageBackAsItWas()
    {
        var scene = await Filled();
        var before = await Look();
        var (layers, manifests) = (_cluster.Layers.Layers.Keys.Order().ToList(), _cluster.Layers.Manifests.Order().ToList());
        Assert.Equal(4, before.Count);

        await _cluster.LoseDatabase();
        Assert.Empty(await Look());
        Assert.Equal(new SweepReport(0, 0, 0), await Library.Sweep());
        Assert.Empty((await Library.Judge([LayerId.New()])).Unreferenced);
        Assert.Equal("library-unknown-to-database", Assert.Single((await _cluster.Grains.Doctor().Examine(fix: true)).Findings, finding => finding.Code.StartsWith("library", StringComparison.Ordinal)).Code);
        Assert.Equal(layers, _cluster.Layers.Layers.Keys.Order());
        Assert.Equal(manifests, _cluster.Layers.Manifests.Order());

        var dry = await Run(dryRun: true);
        Assert.Equal((4, 4, 0, 0), (dry.Manifests, dry.Rebuilt, dry.Known, dry.LeftOut));
        Assert.Empty(await Look());
        var rebuilt = await Run();
        Assert.Equal((4, 4, 0, 0), (rebuilt.Manifests, rebuilt.Rebuilt, rebuilt.Known, rebuilt.LeftOut));
        Assert.Empty(rebuilt.Remarks);

        Assert.Equal(before, await Look());
        Assert.Equal(manifests, _cluster.Layers.Manifests.Order());
        Assert.Equal(3, (await _cluster.Catalogue.Lineage(scene.Master.Id, new())).Descendants.Items.Count);
        await Library.Sweep();
        Assert.Equal((await _cluster.Catalogue.ReferencedLayers()).Order(), _cluster.Layers.Layers.Keys.Order());
        Assert.DoesNotContain(
            (await _cluster.Grains.Doctor().Examine(fix: false)).Findings,
            finding => finding.Subject.StartsWith("image", StringComparison.Ordinal) || finding.Subject.StartsWith("manifest", StringComparison.Ordinal));
        foreach (var image in await Images())
        {
            var appliance = await _cluster.AddAppliance(1, image.Id);
            Assert.Equal(OperationStatus.Succeeded, (await _cluster.Deploy(appliance)).Status);
        }
    }

    [Fact]
    public async Task Rebuild_OnceMore_ChangesNothing()
    {
        await Filled();
        await _cluster.LoseDatabase();
        await Run();
        var image = (await Images())[0];
        var changed = await _cluster.Grains.Image(image.Id).Change(image.ToSpec() with { Name = "renamed since" }, ifVersion: null);

        var again = await Run();

        Assert.Equal((0, 4, 0), (again.Rebuilt, again.Known, again.LeftOut));
        Assert.Equal(Json(changed), Json(await _cluster.Grains.Image(image.Id).Get()));
    }

    [Fact]
    public async Task Rebuild_ThatACrashInterrupts_IsTakenUpByTheNextSilo()
    {
        await Filled();
        var before = await Look();
        await _cluster.LoseDatabase();
        Fail();
        await Library.Rebuild(dryRun: false);
        await Eventually.Holds(async () =>
        {
            Fail();
            return (await Library.GetRebuild()).Problem is not null;
        }, "the rebuild meets the failure");
        Assert.Equal(new SweepReport(0, 0, 0), await Library.Sweep());

        await _cluster.Crash();
        _cluster.FailNext.Clear();
        await Library.SweepSoon(); // As a silo does that starts.

        await Eventually.Holds(async () => (await Library.GetRebuild()).FinishedAt is not null, "the next silo ends the rebuild");
        Assert.Equal(before, await Look());

        // Each time, because the rebuild is tried again by itself.
        void Fail() => _cluster.FailNext["FindManifest"] = new TimeoutException("The library does not answer.");
    }

    [Fact]
    public async Task Rebuild_ThatMeetsAFailureThatNobodyForesaw_SaysSoAndIsTriedAgain()
    {
        await Filled();
        var before = await Look();
        await _cluster.LoseDatabase();
        _cluster.Layers.BindingFailure = new UnauthorizedAccessException("The folder is read-only.");

        await Library.Rebuild(dryRun: false);

        await Eventually.Holds(async () => (await Library.GetRebuild()) is { FinishedAt: null, Problem: "The folder is read-only." }, "the rebuild meets the failure");
        _cluster.Layers.BindingFailure = null;
        await Eventually.Holds(async () => (await Library.GetRebuild()) is { FinishedAt: not null, Problem: null, LeftOut: 0 }, "the rebuild is tried again and ends");
        Assert.Equal((4, 0), (await Library.GetRebuild()) is var rebuild ? (rebuild.Rebuilt, rebuild.Known) : default);
        Assert.Equal(before, await Look());
    }

    [Fact]
    public async Task Rebuild_WhileADryRunIsUnderWay_IsRefused()
    {
        await Filled();
        await _cluster.LoseDatabase();
        var held = Hold();
        var dry = await Library.Rebuild(dryRun: true);

        var refused = await Assert.ThrowsAsync<FaultException>(() => Library.Rebuild(dryRun: false));

        Assert.Equal((FaultKind.Conflict, "rebuild-running"), (refused.Fault.Kind, refused.Fault.Code));
        Assert.Equal((dry.StartedAt, true), await Begin(dryRun: true));
        held.SetResult();
        await Eventually.Holds(async () => (await Library.GetRebuild()).FinishedAt is not null, "the dry run ends");
        Assert.Empty(await Images());
        Assert.Equal(4, (await Run()).Rebuilt);
    }

    [Fact]
    public async Task DryRun_WhileARebuildIsUnderWay_JoinsIt()
    {
        await Filled();
        await _cluster.LoseDatabase();
        var held = Hold();
        var begun = await Library.Rebuild(dryRun: false);

        Assert.Equal((begun.StartedAt, false), await Begin(dryRun: true));
        held.SetResult();
        await Eventually.Holds(async () => (await Library.GetRebuild()) is { FinishedAt: not null, Rebuilt: 4 }, "the rebuild ends");
    }

    [Fact]
    public async Task Rebuild_OfImagesWhoseEnterpriseIsLost_NamesItOnce()
    {
        var acme = EnterpriseId.New();
        await _cluster.Grains.Enterprise(acme).Create(new("acme"));
        await _cluster.AddMaster();
        IReadOnlyList<ImageId> images = [(await _cluster.AddMaster(enterprise: acme)).Id, (await _cluster.AddMaster(enterprise: acme)).Id];
        await _cluster.LoseDatabase();

        var rebuild = await Run();

        var remark = Assert.Single(rebuild.Remarks);
        Assert.Equal((3, 0, "enterprise-missing"), (rebuild.Rebuilt, rebuild.LeftOut, remark.Code));
        Assert.Contains(remark.Image, images);
        Assert.Contains($"{acme}", remark.Message, StringComparison.Ordinal);
        Assert.Equal(remark.Code, Assert.Single((await Run()).Remarks).Code);
        await _cluster.Grains.Enterprise(acme).Create(new("acme"));
        Assert.Empty((await Run()).Remarks);
    }

    [Fact]
    public async Task Rebuild_WhereSomethingIsMissing_SaysWhatAndTakesTheRest()
    {
        var scene = await Filled();
        var slaves = (await Images()).Where(image => image.Kind is ImageKind.Slave).ToList();
        await _cluster.Layers.DeleteManifest(scene.Master.Id);
        var lost = slaves[0].Disks[0].Layers[^1].Id;
        await _cluster.Layers.Delete(lost);
        var (failed, running, broken) = (LayerId.New(), LayerId.New(), ImageId.New());
        (_cluster.Layers.Layers[failed], _cluster.Layers.Layers[running]) = (true, true);
        _cluster.Layers.UnreadableManifests[broken] = "It is cut off.";
        await _cluster.LoseDatabase();
        var unfinished = await _cluster.AddManifest(running, OperationStatus.Running);
        var undone = await _cluster.AddManifest(failed, OperationStatus.Cancelled);

        var rebuild = await Run();

        Assert.Equal((6, 2, 0, 4), (rebuild.Manifests, rebuild.Rebuilt, rebuild.Known, rebuild.LeftOut));
        Assert.Equal(
            new[] { ("layer-missing", slaves[0].Id), ("manifest-unreadable", broken), ("operation-running", unfinished.Id), ("operation-failed", undone.Id) }.OrderBy(Text),
            rebuild.Remarks.Where(remark => remark.Code != "master-missing").Select(remark => (remark.Code, remark.Image)).OrderBy(Text));
        Assert.Equal(slaves.Skip(1).Select(slave => slave.Id).Order(), rebuild.Remarks.Where(remark => remark.Code == "master-missing").Select(remark => remark.Image).Order());
        Assert.Contains(slaves[0].Id, _cluster.Layers.Manifests);
        await Library.Sweep();
        Assert.True(_cluster.Layers.Contains(slaves[0].Disks[0].Layers[0].Id), "what is left of the image that was left out stays");
        Assert.DoesNotContain(undone.Id, _cluster.Layers.Manifests);

        static string Text((string Code, ImageId Image) remark) => remark.Code;
    }

    [Fact]
    public async Task Rebuild_OfAnImageOnACorruptLayer_MakesItCorruptAtOnce()
    {
        var scene = await Filled();
        var layer = scene.Master.Disks[0].Layers[0].Id;
        await _cluster.Layers.Check(layer, expected: "other", 1, CancellationToken.None);
        await _cluster.LoseDatabase();

        var rebuild = await Run();

        Assert.Equal((4, 4), (rebuild.Rebuilt, rebuild.Remarks.Count(remark => remark.Code == "layer-corrupt")));
        var image = await _cluster.Grains.Image(scene.Master.Id).Get();
        Assert.Equal((ImageStatus.Corrupt, layer), (image.Status, Assert.Single(image.CorruptLayers)));
    }

    [Fact]
    public async Task Sweep_OnADatabaseFromABackup_TakesNothingUntilTheLibraryIsRebuilt()
    {
        var old = await _cluster.AddMaster();
        await Library.Sweep();
        var backup = _cluster.BackUpDatabase();
        var scene = await Filled();
        await Library.Sweep();
        var before = await Look();
        await _cluster.LoseDatabase(backup);
        Assert.Equal(old.Id, Assert.Single(await Images()).Id);

        Assert.Equal(new SweepReport(0, 0, 0), await Library.Sweep());
        var rebuild = await Run();

        Assert.Equal((4, 1, 0), (rebuild.Rebuilt, rebuild.Known, rebuild.LeftOut));
        Assert.Equal(before, await Look());
        await Library.Sweep();
        Assert.All((await Images()).SelectMany(image => image.Disks).SelectMany(disk => disk.Layers), layer => Assert.True(_cluster.Layers.Contains(layer.Id)));
        Assert.NotEqual(old.Id, scene.Master.Id);
    }

    /// <summary>The backup has layers that were merged and deleted since: the old chain must not overwrite the manifest, and the image is the same as before.</summary>
    [Fact]
    public async Task Rebuild_OnADatabaseFromABackup_TakesTheLayersThatWereMergedSince()
    {
        var scene = await Scene.Deployed(_cluster, machines: 1);
        for (var capture = 0; capture < 4; capture++) await scene.CreateInstance(new(Undeploy: false));
        var image = (await scene.AssertInstances(await scene.CreateInstance(new(UpdateImages: true)), 1))[0];
        await Library.Sweep();
        var backup = _cluster.BackUpDatabase();
        await Compact();
        await Library.Sweep();
        var merged = await _cluster.Grains.Image(image.Id).Get();
        Assert.Equal((6, 2), (image.Disks[0].Layers.Count, merged.Disks[0].Layers.Count));
        await _cluster.LoseDatabase(backup);

        Assert.Equal("library-unknown", (await Assert.ThrowsAsync<FaultException>(() => _cluster.Grains.Image(image.Id).Change(image.ToSpec() with { Pinned = true }, ifVersion: null))).Fault.Code);
        await _cluster.Grains.Doctor().Examine(fix: true);
        await _cluster.Grains.Compaction().Compact();
        await Eventually.Holds(async () => (await _cluster.Grains.Compaction().Get()).Running is not null, "the record makes compaction begin");
        await Library.Sweep();
        Assert.Equal(Chain(merged), (await _cluster.Layers.FindManifest(image.Id))!.Disks[0].Layers.Select(layer => layer.Id));
        await Run();

        Assert.Equal(Chain(merged), Chain(await _cluster.Grains.Image(image.Id).Get()));
        await Compact();
        await Library.Sweep();
        Assert.Equal(OperationStatus.Succeeded, (await scene.Deploy()).Status);
        Assert.Equal(Chain(merged), (await scene.Machines())[0].Disks[0].Layers.SkipLast(1));

        static IEnumerable<LayerId> Chain(ImageView view) => view.Disks[0].Layers.Select(layer => layer.Id);

        async Task Compact()
        {
            var before = (await _cluster.Grains.Compaction().Get()).LastLook;
            await _cluster.Grains.Compaction().Compact();
            await Eventually.Holds(async () => (await _cluster.Grains.Compaction().Get()).LastLook is { } look && look != before, "there is nothing more to compact");
        }
    }

    /// <summary>The backup is from the middle of an import that has ended since.</summary>
    [Fact]
    public async Task Rebuild_OnADatabaseFromABackup_KnowsThatAnImportHasEnded()
    {
        await _cluster.AddMaster();
        var (image, operation) = (ImageId.New(), OperationId.New());
        await _cluster.Grains.Image(image).BeginUpload(operation, new("debian", ImageFormat.Raw, Bytes: 1));
        await Library.Sweep();
        var backup = _cluster.BackUpDatabase();
        var layer = (await _cluster.Catalogue.ImageLayers()).Single(known => known.Id == image).Layers[0];
        _cluster.Layers.Layers[layer] = true;
        var now = TimeProvider.System.GetUtcNow();
        var manifest = new ImageManifest(image, "debian", ImageKind.Master, Master: null, Parent: null, [new([new(layer, Parent: null, Bytes: 1, image)], 512)], now, new(operation, now, ImageFormat.Raw, "00", 1));
        await _cluster.Layers.WriteManifest(manifest);
        Assert.Equal(ImageStatus.Ready, (await _cluster.Grains.Image(image).CompleteImport(operation, manifest)).Status);
        await Library.Sweep();
        await _cluster.LoseDatabase(backup);

        await Run();

        Assert.Equal(ImageStatus.Ready, (await _cluster.Grains.Image(image).Get()).Status);
        Assert.Equal(OperationStatus.Succeeded, (await _cluster.Grains.Operation(operation).Find())!.Status);
        await Library.Sweep();
        Assert.Contains(image, _cluster.Layers.Manifests);
        Assert.True(_cluster.Layers.Contains(layer));
    }

    /// <summary>The backup does not have the size of the import's disk, nor the raised quota: the image stays Ready.</summary>
    [Theory, InlineData(true), InlineData(false)]
    public async Task Rebuild_OnADatabaseFromABackup_TakesAnImportWhateverTheQuotas(bool isReminded)
    {
        await _cluster.AddMaster();
        var (enterprise, image, operation) = (EnterpriseId.New(), ImageId.New(), OperationId.New());
        await _cluster.Grains.Enterprise(enterprise).Create(new("acme", new(LibraryBytes: 10, VirtualBytes: 512)));
        await _cluster.Grains.Image(image).BeginUpload(operation, new("debian", Format: null, Bytes: 10, Enterprise: enterprise));
        await Library.Sweep();
        var backup = _cluster.BackUpDatabase();
        var layer = (await _cluster.Catalogue.ImageLayers()).Single(known => known.Id == image).Layers[0];
        await _cluster.Grains.Enterprise(enterprise).Change(new("acme"), ifVersion: null);
        _cluster.Layers.Layers[layer] = true;
        var now = TimeProvider.System.GetUtcNow();
        var manifest = new ImageManifest(image, "debian", ImageKind.Master, Master: null, Parent: null, [new([new(layer, Parent: null, Bytes: 11, image)], 1024)], now, new(operation, now, ImageFormat.Qcow2, "00", 10))
        {
            Enterprise = enterprise,
        };
        await _cluster.Layers.WriteManifest(manifest);
        Assert.Equal(ImageStatus.Ready, (await _cluster.Grains.Image(image).CompleteImport(operation, manifest)).Status);
        await Library.Sweep();
        await _cluster.LoseDatabase(backup);

        if (isReminded)
        {
            _cluster.Library.UploadIdleBound = TimeSpan.Zero;
            var remind = () => _cluster.Grains.Image(image).AsReference<IRemindable>().ReceiveReminder("import", default, TestContext.Current.CancellationToken);
            Assert.Equal("library-unknown", (await Assert.ThrowsAsync<FaultException>(remind)).Fault.Code);
            Assert.Equal(ImageStatus.Importing, (await _cluster.Grains.Image(image).Get()).Status);
        }

        await Run();

        Assert.Equal(ImageStatus.Ready, (await _cluster.Grains.Image(image).Get()).Status);
        Assert.Equal(OperationStatus.Succeeded, (await _cluster.Grains.Operation(operation).Find())!.Status);
        await Library.Sweep();
        Assert.Contains(image, _cluster.Layers.Manifests);
        Assert.True(_cluster.Layers.Contains(layer));
        Assert.Equal(new EnterpriseUsage(LibraryBytes: 11, Images: 1, VirtualBytes: 1024), (await _cluster.Grains.Enterprise(enterprise).Get()).Usage);
    }

    /// <summary>The backup has an import whose bytes had all arrived. They are gone since, because they were converted to the image.</summary>
    [Fact]
    public async Task Upload_ThatHasBecomeAnImageSinceTheBackup_IsTakenForThatWhenItsSenderAsks()
    {
        await _cluster.AddMaster();
        var (image, operation) = (ImageId.New(), OperationId.New());
        await _cluster.Grains.Image(image).BeginUpload(operation, new("debian", ImageFormat.Raw, Bytes: 1));
        await _cluster.Grains.Image(image).CompleteUpload(operation);
        await Library.Sweep();
        var backup = _cluster.BackUpDatabase();
        var layer = (await _cluster.Catalogue.ImageLayers()).Single(known => known.Id == image).Layers[0];
        _cluster.Layers.Layers[layer] = true;
        var now = TimeProvider.System.GetUtcNow();
        var manifest = new ImageManifest(image, "debian", ImageKind.Master, Master: null, Parent: null, [new([new(layer, Parent: null, Bytes: 1, image)], 512)], now, new(operation, now, ImageFormat.Raw, "00", 1));
        await _cluster.Layers.WriteManifest(manifest);
        Assert.Equal(ImageStatus.Ready, (await _cluster.Grains.Image(image).CompleteImport(operation, manifest)).Status);
        await Library.Sweep();
        await _cluster.LoseDatabase(backup);
        _cluster.Imports.HasBytes = false;

        Assert.Equal(1, (await _cluster.Grains.Image(image).GetUpload()).Offset);

        Assert.Equal(ImageStatus.Ready, (await _cluster.Grains.Image(image).Get()).Status);
        await Run();
        await Library.Sweep();
        Assert.Contains(image, _cluster.Layers.Manifests);
        Assert.True(_cluster.Layers.Contains(layer));
    }

    [Fact]
    public async Task Rebuild_OnADatabaseFromABackup_GivesWhatWasRetiredThenItsGraceAnew()
    {
        _cluster.Library.GracePeriod = TimeSpan.FromDays(1);
        var master = await _cluster.AddMaster();
        await _cluster.Grains.Image(master.Id).Delete();
        var backup = _cluster.BackUpDatabase();
        await _cluster.Grains.Image(master.Id).Restore();
        await Library.Sweep();
        await _cluster.LoseDatabase(backup);
        var retiredAt = (await _cluster.Grains.Image(master.Id).Get()).RetiredAt;

        await Run();
        var begun = (await _cluster.Grains.Image(master.Id).Get()).RetiredAt;
        await Run();

        Assert.True(begun > retiredAt, "its grace period begins with the rebuild");
        Assert.Equal(begun, (await _cluster.Grains.Image(master.Id).Get()).RetiredAt);
    }

    [Fact]
    public async Task Rebuild_OfAnImageThatHasJustGone_DoesNotBringItBack()
    {
        var master = await _cluster.AddMaster();
        await _cluster.Grains.Image(master.Id).Delete();

        Assert.False(await _cluster.Grains.Image(master.Id).Rebuild([], takeLayers: true));

        Assert.DoesNotContain(master.Id, await _cluster.Catalogue.KnownImages());
    }

    [Fact]
    public async Task Import_IntoALibraryThatTheDatabaseDoesNotKnow_IsTaken()
    {
        await Filled();
        await _cluster.LoseDatabase();
        var (image, operation) = (ImageId.New(), OperationId.New());
        var ticket = await _cluster.Grains.Image(image).BeginImport(operation, new("debian", ImageFormat.Qcow2));
        var plan = await _cluster.Grains.Image(image).AcceptUpload(ticket.Secret);
        _cluster.Layers.Layers[plan.Layer] = true;
        var manifest = new ImageManifest(
            image, "debian", ImageKind.Master, Master: null, Parent: null, [new([new(plan.Layer, Parent: null, 1, image)], 1 << 20)], TimeProvider.System.GetUtcNow());
        await _cluster.Layers.WriteManifest(manifest);

        Assert.Equal(ImageStatus.Ready, (await _cluster.Grains.Image(image).CompleteImport(operation, manifest)).Status);

        await Library.Sweep();
        Assert.True(_cluster.Layers.Contains(plan.Layer));
        Assert.Equal((4, 1), await Counts());

        async Task<(int, int)> Counts()
        {
            var rebuild = await Run();
            return (rebuild.Rebuilt, rebuild.Known);
        }
    }

    [Fact]
    public async Task Usage_ShowsImagesAndWhatWasCollected()
    {
        await _cluster.DisposeAsync();
        _cluster = await SimulatedCluster.Start(sweepsByHand: true);
        var scene = await Filled();
        var retired = (await Images()).First(image => image.Kind is ImageKind.Slave);
        await Library.Sweep();
        var before = await Library.Usage(limit: 1);
        Assert.Single(before.ByImage);

        _cluster.Layers.Layers[LayerId.New()] = true;

        Assert.Equal(Simulation.SimulatedLayerStore.LayerBytes, (await Library.Usage(limit: 1)).OrphanBytes);
        await Library.Sweep();
        await _cluster.Crash();

        var usage = await Library.Usage(limit: 1000);
        Assert.Equal((1L, Simulation.SimulatedLayerStore.LayerBytes), (usage.Collected.Layers - before.Collected.Layers, usage.Collected.Bytes - before.Collected.Bytes));
        Assert.NotNull(usage.Collected.Since);
        Assert.Equal(0, usage.OrphanBytes);
        Assert.Equal(4, usage.ByImage.Count);
        Assert.Contains(usage.ByImage, image => image.Id == retired.Id && image.OwnBytes > 0 && image.SharedBytes > 0);
        Assert.Equal((0L, Simulation.SimulatedLayerStore.LayerBytes), usage.ByImage.Where(image => image.Id == scene.Master.Id).Select(image => (image.OwnBytes, image.SharedBytes)).Single());
        Assert.Equal("limit-invalid", (await Assert.ThrowsAsync<FaultException>(() => Library.Usage(limit: 0))).Fault.Code);
    }

    /// <summary>A master with a rule and details, and three slaves, one of them pinned.</summary>
    private async Task<Scene> Filled()
    {
        var scene = await Scene.Deployed(_cluster, machines: 2);
        await _cluster.Grains.Image(scene.Master.Id).Change(
            scene.Master.ToSpec() with { Details = new() { Description = "the first", MinCpus = 1, Labels = new Dictionary<string, string> { ["team"] = "a" } }, Retention = new(KeepLast: 5) }, ifVersion: null);
        var first = await scene.AssertInstances(await scene.CreateInstance(new(UpdateImages: false)), 2);
        await _cluster.Grains.Image(first[0].Id).Change(first[0].ToSpec() with { Pinned = true }, ifVersion: null);
        await scene.Deploy();
        var machine = (await scene.Machines())[0].Id;
        await scene.AssertInstances(await scene.CreateInstance(new(VirtualMachines: [machine], UpdateImages: false)), 1);
        return scene;
    }

    /// <summary>Holds the next rebuild, of images that operations have made, until it is released.</summary>
    private TaskCompletionSource Hold()
    {
        var held = new TaskCompletionSource(TaskCreationOptions.RunContinuationsAsynchronously);
        Arm();
        return held;

        // A sweep may ask first, so hold every call.
        void Arm() => _cluster.AfterNext("Instances.Operations.IOperationGrain.Find", () =>
        {
            Arm();
            return held.Task;
        });
    }

    private async Task<(DateTimeOffset StartedAt, bool DryRun)> Begin(bool dryRun)
    {
        var rebuild = await Library.Rebuild(dryRun);
        return (rebuild.StartedAt, rebuild.DryRun);
    }

    private async Task<LibraryRebuild> Run(bool dryRun = false)
    {
        var begun = await Library.Rebuild(dryRun);
        await Eventually.Holds(async () => (await Library.GetRebuild()) is { FinishedAt: not null } rebuild && rebuild.StartedAt == begun.StartedAt, "the rebuild ends");
        return await Library.GetRebuild();
    }

    private async Task<IReadOnlyList<ImageView>> Images() => (await _cluster.Catalogue.Images(new(IncludeRetired: true), new(1000))).Items;

    /// <summary>The visible state of images. The version, which a manifest does not have, begins again.</summary>
    private async Task<IReadOnlyList<string>> Look() => [.. (await Images()).Select(image => Json(image with { Version = 1 }))];

    private static string Json(ImageView image) => JsonSerializer.Serialize(image, InstancesJson.Options);
}
