using System.Data.Common;
using Instances.Catalogue;
using Instances.Faults;
using Instances.Hosts;
using Instances.Operations;
using Instances.Storage;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.Runtime;

namespace Instances.Library;

/// <summary>The library's files, and the sweep that deletes unreferenced ones. The other parts of this class have the rebuild, the usage and the layers for other datacenters.</summary>
internal sealed partial class LibraryGrain(
    [PersistentState("library", StorageNames.Grains)] IPersistentState<LibraryState> stored,
    ICatalogue catalogue,
    RetentionWork retention,
    ILibraryStore layers,
    IDataPlane dataPlane,
    IImports imports,
    IOptions<LibraryOptions> options,
    TimeProvider time,
    ILogger<LibraryGrain> logger) : StoredGrain<LibraryState>(stored), ILibraryGrain
{
    private readonly ImportAdmission _admission = new(catalogue, imports, options, time);
    private IGrainTimer? _timer;
    private bool _isSweepDue;

    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        _timer = this.RegisterGrainTimer(Tick, new GrainTimerCreationOptions(options.Value.SweepDelay, options.Value.SweepPeriod) { KeepAlive = true });
        WatchForRebuilds();
        WatchForInterrupted();
        return Task.CompletedTask;
    }

    public async Task<SweepReport> Sweep()
    {
        if (await FindStranger() is { } stranger)
        {
            LogNotSwept(stranger);
            return new(0, 0, 0);
        }

        await retention.Apply(master: null);
        await FanOut.Each(await catalogue.ImagesIn(ImageStatus.Retired), Expire);

        // List the files first, then the references: a reference is durable before its file is created. So a listed file without a reference now is an orphan.
        var stored = await Task.Run(layers.List);
        var files = await Task.Run(() => layers.ScanManifests(CancellationToken.None));
        var (known, failed) = (await catalogue.KnownImages(), await catalogue.ImagesIn(ImageStatus.Failed));
        var pinned = await catalogue.ReferencedLayers();
        var dead = await FindDead(files.Manifests, known, [.. failed]);
        var named = files.Manifests.Except(dead).SelectMany(manifest => manifest.Disks).SelectMany(disk => disk.Layers).Select(layer => layer.Id).ToHashSet();
        var garbage = stored.Where(layer => !pinned.Contains(layer.Id) && !named.Contains(layer.Id)).ToList();
        if (files.Unreadable.FirstOrDefault(manifest => !known.Contains(manifest.Image)) is { } unreadable)
        {
            LogKept(unreadable.Image.Value, unreadable.Reason);
            garbage.RemoveAll(layer => !layer.IsPartial);
        }

        // A machine whose record was lost has no references. So layers that its host uses are kept too.
        var used = await FindUsed();
        if (used.Held is { } held && garbage.Any(layer => !layer.IsPartial)) LogHeld(held);
        garbage.RemoveAll(layer => used.Layers.Contains(layer.Id) || (used.Held is not null && !layer.IsPartial));

        try
        {
            await Bind("collection.bound");
        }
        catch (FaultException exception) when (exception.Fault.Code == "no-space")
        {
            // The folder still belongs to this database, as checked above; the sweep frees space.
        }

        foreach (var manifest in dead) await layers.DeleteManifest(manifest.Id);
        foreach (var layer in garbage)
        {
            await layers.Delete(layer.Id);
            KillPoints.Reach("collection.layer-deleted");
        }

        var report = new SweepReport(garbage.Count, garbage.Sum(layer => layer.Bytes), dead.Count);
        if (report is not { Layers: 0, Manifests: 0 }) LogSwept(report.Layers, report.Bytes, report.Manifests);
        if (report.Layers > 0) await Count(report);
        return report;
    }

    /// <summary>The manifests of images that were never completed, according to their records or their operations' records. A manifest without any record is kept, because
    /// the record may be lost.</summary>
    private async Task<IReadOnlyList<ImageManifest>> FindDead(IReadOnlyList<ImageManifest> manifests, IReadOnlySet<ImageId> known, HashSet<ImageId> failed)
    {
        var dead = manifests.Where(manifest => failed.Contains(manifest.Id)).ToList();
        foreach (var orphan in manifests.Where(manifest => !known.Contains(manifest.Id)))
        {
            if (await FindOperation(orphan) is { Status: OperationStatus.Failed or OperationStatus.Cancelled }) dead.Add(orphan);
        }

        return dead;
    }

    private async Task<OperationView?> FindOperation(ImageManifest manifest) => manifest.GetOperation() is { } operation ? await GrainFactory.Operation(operation).Find() : null;

    /// <summary>An image that cannot be deleted does not prevent the others.</summary>
    private async Task Expire(ImageId image)
    {
        try
        {
            await GrainFactory.Image(image).Expire();
        }
        catch (Exception exception) when (exception is FaultException or TimeoutException or OrleansException)
        {
            LogNotExpired(image.Value, exception.Message);
        }
    }

    public Task SweepSoon()
    {
        // The sweep begins after the delay, even if more calls come meanwhile.
        if (!_isSweepDue) _timer!.Change(options.Value.SweepDelay, options.Value.SweepPeriod);
        _isSweepDue = true;
        return Task.CompletedTask;
    }

    public Task<LibraryView> Get() => Task.FromResult(new LibraryView(layers.Id, layers.FreeBytes, options.Value.MaxUploadBytes));

    public Task<Uri> UploadAddress(ImageId image) => Task.FromResult(dataPlane.UploadAddress(image));

    public Task<ExportTicket> OfferExport(ImageId image) => Task.FromResult(dataPlane.OfferExport(image));

    public Task Admit(ImageId image) => _admission.Admit(image);

    public Task Admitted(ImageId image)
    {
        _admission.Close(image);
        return Task.CompletedTask;
    }

    public Task<long> ReceivedBytes(LayerId layer) => Task.FromResult(layers.ReceivedBytes(layer));

    public Task<bool> TakeUpUpload(ImageId image, UploadPlan plan) => Task.FromResult(imports.TakeUp(image, plan));

    public Task<MeasuredFile> MeasureFile(string path) => Task.FromResult(imports.Measure(path));

    public Task TakeFile(ImageId image, UploadPlan plan, string path)
    {
        imports.TakeFile(image, plan, path);
        _admission.Close(image);
        return Task.CompletedTask;
    }

    public Task TakePromotion(ImageId image, UploadPlan plan)
    {
        imports.TakePromotion(image, plan);
        _admission.Close(image);
        return Task.CompletedTask;
    }

    public Task<IReadOnlyList<LayerOffer>> Offer(IReadOnlyList<LayerId> wanted) => Task.Run<IReadOnlyList<LayerOffer>>(() => [.. wanted.Select(layers.Offer)]);

    public Task<TransferProgress> Receive(HostId host, IReadOnlyList<LayerId> wanted) => layers.Pull(wanted, GrainFactory.Host(host).Offer);

    public Task Publish(IReadOnlyList<ImageManifest> manifests) => FanOut.Each(manifests, async manifest =>
    {
        // A record from a backup may have a chain whose layers were merged since: then the manifest is right.
        if (await layers.FindManifest(manifest.Id) is { } present && !LayersOf(present).SequenceEqual(LayersOf(manifest))) await RequireKnown();
        await layers.WriteManifest(manifest);

        static IEnumerable<LayerId> LayersOf(ImageManifest manifest) => manifest.Disks.SelectMany(disk => disk.Layers).Select(layer => layer.Id);
    });

    public async Task Unpublish(IReadOnlyList<ImageId> images)
    {
        foreach (var image in images) _admission.Close(image);
        await RequireKnown();
        await FanOut.Each(images, layers.DeleteManifest);
    }

    public async Task<LayerJudgement> Judge(IReadOnlyList<LayerId> others)
    {
        var kept = await Task.Run<IReadOnlyList<LayerId>>(() => [.. others.Where(layers.Contains)]);
        if (await FindStranger() is not null) return new([], kept);
        var referenced = await catalogue.ReferencedLayers();
        return new([.. others.Where(layer => !referenced.Contains(layer))], kept);
    }

    public async Task<LibraryInventory> Inventory()
    {
        var stored = await Task.Run(layers.List);
        var files = await Task.Run(() => layers.ScanManifests(CancellationToken.None));
        return new(
            [.. stored.Where(layer => !layer.IsPartial).Select(layer => layer.Id)],
            [.. files.Manifests.Select(ToInventory)],
            await FindStranger(),
            [.. files.Unreadable.Select(manifest => manifest.Image)],
            (await FindUsed()).Held);

        static InventoryManifest ToInventory(ImageManifest manifest) =>
            new(manifest.Id, [.. manifest.Disks.SelectMany(disk => disk.Layers).Select(layer => layer.Id)], manifest.ToSpec(), manifest.GetOperation());
    }

    private async Task Tick(CancellationToken cancellationToken)
    {
        _isSweepDue = false;
        try
        {
            await Sweep();
        }
        catch (Exception exception) when (exception is FaultException or StateWriteException or TimeoutException or OrleansException or DbException)
        {
            LogSweepFailed(exception.Message);
        }
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Swept the library: {Layers} layers of {Bytes} bytes and {Manifests} manifests of failed imports and captures.")]
    private partial void LogSwept(int layers, long bytes, int manifests);

    [LoggerMessage(Level = LogLevel.Error, Message = "Nothing is removed from the library, because the database does not know it: {Reason} Run 'silo library rebuild'.")]
    private partial void LogNotSwept(string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "No layer is removed from the library: the manifest of the image {Image}, which has no record, cannot be read, and its layers are not known. {Reason}")]
    private partial void LogKept(Guid image, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The retired image {Image} could not be deleted and will be retried: {Reason}")]
    private partial void LogNotExpired(Guid image, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The library could not be swept; the sweep will be retried: {Reason}")]
    private partial void LogSweepFailed(string reason);
}
