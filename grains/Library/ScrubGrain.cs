using System.Data.Common;
using Instances.Catalogue;
using Instances.Faults;
using Instances.Hosts;
using Instances.Storage;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.Runtime;

namespace Instances.Library;

/// <summary>Reads layers, one after the other. The other part of this class repairs corrupt ones.</summary>
internal sealed partial class ScrubGrain(
    [PersistentState("scrub", StorageNames.Grains)] IPersistentState<ScrubState> stored,
    ICatalogue catalogue,
    ILibraryStore layers,
    ILibraryPeers peers,
    IOptions<LibraryOptions> options,
    TimeProvider time,
    ILogger<ScrubGrain> logger) : StoredGrain<ScrubState>(stored), IScrubGrain
{
    /// <summary>How many corrupt layers are shown, and how many images for each.</summary>
    private const int MaxShown = 100;

    /// <summary>How often the scrub scans for layers that are due to be read, and for copies of corrupt ones. Not at once: a starting silo has more urgent work.</summary>
    private static readonly TimeSpan LookPeriod = TimeSpan.FromMinutes(5);

    private readonly CancellationTokenSource _end = new();
    private IGrainTimer? _timer;
    private readonly Dictionary<HostId, IReadOnlyList<LayerId>> _hostCopies = [];
    private LayerId? _reading;

    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        _timer = this.RegisterGrainTimer(Tick, new GrainTimerCreationOptions(LookPeriod, LookPeriod) { KeepAlive = true });

        // Interleaves with reading: a layer is healed by one of the two at a time (_healing), and is replaced as a whole.
        _peerTimer = this.RegisterGrainTimer(
            HealFromPeers, new GrainTimerCreationOptions(Timeout.InfiniteTimeSpan, Timeout.InfiniteTimeSpan) { KeepAlive = true, Interleave = true });
        return Task.CompletedTask;
    }

    public override async Task OnDeactivateAsync(DeactivationReason reason, CancellationToken cancellationToken)
    {
        await _end.CancelAsync();
        _end.Dispose();
    }

    public async Task<LibraryHealth> Get()
    {
        var checks = await Task.Run(layers.Checks);
        var read = checks.Where(check => !check.IsDue(Since)).ToList();
        var corrupt = new List<CorruptLayer>();
        foreach (var check in checks.Where(check => check.IsCorrupt).Take(MaxShown))
        {
            var images = await catalogue.ImagesOn(check.Layer);
            corrupt.Add(new(check.Layer, check.Sha256, check.Found!, check.CheckedAt!.Value, [.. images.Take(MaxShown)], _healing.GetValueOrDefault(check.Layer)));
        }

        return new(
            Since, checks.Count, checks.Sum(check => check.Bytes), read.Count, read.Sum(check => check.Bytes), _reading, options.Value.ScrubBytesPerSecond,
            checks.All(check => check.CheckedAt is not null) ? checks.Min(check => check.CheckedAt) : null, corrupt, LastHealing(checks), HostCopies());
    }

    public Task Report(HostId host, IReadOnlyList<LayerId> corrupt)
    {
        if (corrupt.Count > 0) _hostCopies[host] = corrupt;
        else _hostCopies.Remove(host);
        return Task.CompletedTask;
    }

    private IReadOnlyList<CorruptCopy>? HostCopies() => _hostCopies.Count == 0
        ? null
        : [.. _hostCopies.SelectMany(copies => copies.Value.Select(layer => new CorruptCopy(copies.Key, layer))).Take(MaxShown)];

    public async Task<LibraryHealth> Verify()
    {
        await Save(State with { VerifyFrom = time.GetUtcNow() });
        _away.Clear();
        _wrongCopies.Clear();
        _timer!.Change(TimeSpan.Zero, LookPeriod);
        return await Get();
    }

    private DateTimeOffset Since
    {
        get
        {
            var oldest = time.GetUtcNow() - options.Value.ScrubPeriod;
            return State.VerifyFrom is { } begin && begin > oldest ? begin : oldest;
        }
    }

    private async Task Tick(CancellationToken cancellationToken)
    {
        using var end = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _end.Token);
        try
        {
            await Heal(await CorruptLayers(), end.Token);
            var manifests = await LayersOfManifests(end.Token);
            foreach (var due in await Due())
            {
                var manifest = manifests.GetValueOrDefault(due.Layer);
                switch (await Read(due.Layer, manifest?.Sha256, end.Token))
                {
                    case { IsCorrupt: true, Layer: var corrupt }:
                        await Heal([corrupt], end.Token);
                        break;
                    case { Sha256: { } sha256 } when manifest is { Sha256: null }:
                        await FanOut.Each(await catalogue.ImagesOn(due.Layer), image => GrainFactory.Image(image).RecordDigest(due.Layer, sha256));
                        break;
                }
            }

            await JudgeCorruptImages();
        }
        catch (Exception exception) when (exception is FaultException or TimeoutException or OrleansException or DbException)
        {
            LogNotScrubbed(exception.Message);
        }
        catch (OperationCanceledException) when (end.IsCancellationRequested)
        {
            // The silo ends: another one continues.
        }
        finally
        {
            _reading = null;
        }
    }

    /// <summary>Each layer, from a manifest that has the hash of its arrival if there is one.</summary>
    private async Task<IReadOnlyDictionary<LayerId, LayerManifest>> LayersOfManifests(CancellationToken cancellationToken) =>
        (await layers.ReadManifests(cancellationToken)).SelectMany(manifest => manifest.Disks).SelectMany(disk => disk.Layers)
            .OrderBy(layer => layer.Sha256 is null).DistinctBy(layer => layer.Id).ToDictionary(layer => layer.Id);

    /// <returns>Null for a layer that was swept meanwhile.</returns>
    private async Task<LayerCheck?> Read(LayerId layer, string? expected, CancellationToken cancellationToken)
    {
        _reading = layer;
        try
        {
            var check = await layers.Check(layer, expected, options.Value.ScrubBytesPerSecond, cancellationToken);
            if (check.IsCorrupt) LogCorrupt(check.Layer.Value, check.Sha256, check.Found);
            return check;
        }
        catch (FaultException exception) when (exception.Fault.Code == "layer-missing")
        {
            return null;
        }
    }

    /// <summary>The layers that are due, the longest unread first. This reads a file for each layer, so it does not run on the grain's thread.</summary>
    private Task<List<LayerCheck>> Due()
    {
        var since = Since;
        return Task.Run(() => layers.Checks().Where(check => check.IsDue(since)).OrderBy(check => check.CheckedAt ?? DateTimeOffset.MinValue).ToList());
    }

    private Task<IReadOnlyList<LayerId>> CorruptLayers() =>
        Task.Run<IReadOnlyList<LayerId>>(() => [.. layers.Checks().Where(check => check.IsCorrupt).Select(check => check.Layer)]);

    /// <summary>Notifies images whose layers were repaired, including those that a crash has skipped.</summary>
    private async Task JudgeCorruptImages() => await Judge(await catalogue.ImagesIn(ImageStatus.Corrupt));

    private async Task Judge(IReadOnlyList<ImageId> images)
    {
        var corrupt = await CorruptLayers();
        await FanOut.Each(images, image => GrainFactory.Image(image).Judge(corrupt));
    }

    [LoggerMessage(Level = LogLevel.Error, Message = "The layer {Layer} is corrupt: its SHA-256 should be {Expected} and is {Found}. Its images are Corrupt until a good copy is found.")]
    private partial void LogCorrupt(Guid layer, string? expected, string? found);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The library could not be scrubbed; the scrub will be retried: {Reason}")]
    private partial void LogNotScrubbed(string reason);
}
