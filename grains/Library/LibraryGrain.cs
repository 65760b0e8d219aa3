using Instances.Catalogue;
using Instances.Faults;
using Instances.Hosts;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.Runtime;

namespace Instances.Library;

internal sealed partial class LibraryGrain(
    ICatalogue catalogue,
    RetentionWork retention,
    ILibraryStore layers,
    IDataPlane dataPlane,
    IImports imports,
    IOptions<LibraryOptions> options,
    TimeProvider time,
    ILogger<LibraryGrain> logger) : Grain, ILibraryGrain
{
    /// <summary>Deletions that come close together are served by one sweep.</summary>
    private static readonly TimeSpan SoonDelay = TimeSpan.FromMilliseconds(200);

    private readonly ImportAdmission _admission = new(catalogue, options, time);
    private IGrainTimer? _timer;

    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        _timer = this.RegisterGrainTimer(Tick, new GrainTimerCreationOptions(SoonDelay, options.Value.SweepPeriod) { KeepAlive = true });
        return Task.CompletedTask;
    }

    public async Task<SweepReport> Sweep()
    {
        await retention.Apply(master: null);
        await FanOut.Each(await catalogue.ImagesIn(ImageStatus.Retired), Expire);

        // Files first, references then: a reference is durable before its file is made, so that a file of this list that has none by now is nobody's.
        var stored = layers.List();
        var manifests = await layers.ReadManifests(CancellationToken.None);
        var known = await catalogue.KnownImages();
        var pinned = await catalogue.ReferencedLayers();

        var orphans = manifests.Where(manifest => !known.Contains(manifest.Id) && !IsBeingPublished(manifest, pinned)).ToList();
        foreach (var manifest in orphans) await layers.DeleteManifest(manifest.Id);

        var garbage = stored.Where(layer => !pinned.Contains(layer.Id)).ToList();
        foreach (var layer in garbage) await layers.Delete(layer.Id);

        var report = new SweepReport(garbage.Count, garbage.Sum(layer => layer.Bytes), orphans.Count);
        if (report is not { Layers: 0, Manifests: 0 }) LogSwept(report.Layers, report.Bytes, report.Manifests);
        return report;
    }

    /// <summary>One image that cannot go does not keep the rest.</summary>
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
        _timer!.Change(SoonDelay, options.Value.SweepPeriod);
        return Task.CompletedTask;
    }

    public Task<LibraryView> Get() => Task.FromResult(new LibraryView(layers.Id, layers.FreeBytes));

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

    public Task<long> MeasureFile(string path) => Task.FromResult(imports.Measure(path));

    public Task TakeFile(ImageId image, UploadPlan plan, string path)
    {
        imports.TakeFile(image, plan, path);
        return Task.CompletedTask;
    }

    public Task TakePromotion(ImageId image, UploadPlan plan)
    {
        imports.TakePromotion(image, plan);
        return Task.CompletedTask;
    }

    public Task<IReadOnlyList<LayerOffer>> Offer(IReadOnlyList<LayerId> wanted) => Task.FromResult<IReadOnlyList<LayerOffer>>([.. wanted.Select(layers.Offer)]);

    public Task<TransferProgress> Receive(HostId host, IReadOnlyList<LayerId> wanted) => layers.Pull(wanted, GrainFactory.Host(host).Offer);

    public Task Publish(IReadOnlyList<ImageManifest> manifests) => FanOut.Each(manifests, layers.WriteManifest);

    public Task Unpublish(IReadOnlyList<ImageId> images) => FanOut.Each(images, layers.DeleteManifest);

    public async Task<LayerJudgement> Judge(IReadOnlyList<LayerId> others)
    {
        var referenced = await catalogue.ReferencedLayers();
        return new([.. others.Where(layer => !referenced.Contains(layer))], [.. others.Where(layers.Contains)]);
    }

    public async Task<LibraryInventory> Inventory()
    {
        var stored = layers.List();
        var manifests = await layers.ReadManifests(CancellationToken.None);
        return new(
            [.. stored.Where(layer => !layer.IsPartial).Select(layer => layer.Id)],
            [.. manifests.Select(manifest => new InventoryManifest(manifest.Id, [.. manifest.Disks.SelectMany(disk => disk.Layers).Select(layer => layer.Id)], manifest.ToSpec()))]);
    }

    private async Task Tick(CancellationToken cancellationToken)
    {
        try
        {
            await Sweep();
        }
        catch (FaultException exception)
        {
            LogSweepFailed(exception.Fault.Message);
        }
    }

    /// <summary>A capture or an import writes its manifest before its image has a record; until then its machine or its upload holds the layers.</summary>
    private static bool IsBeingPublished(ImageManifest manifest, IReadOnlySet<LayerId> pinned) =>
        manifest.Disks.All(disk => disk.Layers.All(layer => pinned.Contains(layer.Id)));

    [LoggerMessage(Level = LogLevel.Information, Message = "Swept the library: {Layers} layers of {Bytes} bytes and {Manifests} manifests that nobody refers to.")]
    private partial void LogSwept(int layers, long bytes, int manifests);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The retired image {Image} could not be deleted; it is tried again: {Reason}")]
    private partial void LogNotExpired(Guid image, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The library could not be swept; it is tried again: {Reason}")]
    private partial void LogSweepFailed(string reason);
}
