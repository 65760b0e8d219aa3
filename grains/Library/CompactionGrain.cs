using System.Data.Common;
using Instances.Catalogue;
using Instances.Faults;
using Instances.Storage;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.Runtime;

namespace Instances.Library;

/// <remarks>
/// A merge has four steps: 1. It is recorded here. 2. Its image refers to the future layer. 3. The layer is created, compared and durable. 4. The image switches to it, in
/// one write with the end of that reference. After a crash the merge is resumed from the record, or given up if the image has changed. A sweep deletes the old layers
/// once they are unreferenced.
/// </remarks>
internal sealed partial class CompactionGrain(
    [PersistentState("compaction", StorageNames.Grains)] IPersistentState<CompactionState> stored,
    ICatalogue catalogue,
    ILibraryStore layers,
    IOptions<LibraryOptions> options,
    TimeProvider time,
    ILogger<CompactionGrain> logger) : StoredGrain<CompactionState>(stored), ICompactionGrain
{
    /// <summary>How long an image is skipped after a failed merge.</summary>
    private static readonly TimeSpan FailurePause = TimeSpan.FromMinutes(30);

    /// <summary>The last capture is usually enough. Earlier ones are used if it was deleted or could not be merged.</summary>
    private const int MaxCapturesBefore = 16;

    private readonly Dictionary<ImageId, long> _failed = [];
    private readonly CancellationTokenSource _end = new();
    private IGrainTimer? _timer;
    private int _tooDeep;
    private DateTimeOffset? _lastLook;

    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        // Not at once: a starting silo has more urgent work.
        _timer = this.RegisterGrainTimer(Tick, new GrainTimerCreationOptions(Period, Period) { KeepAlive = true });
        return Task.CompletedTask;
    }

    public override async Task OnDeactivateAsync(DeactivationReason reason, CancellationToken cancellationToken)
    {
        await _end.CancelAsync();
        _end.Dispose();
    }

    public Task<LibraryCompaction> Get()
    {
        var running = State.Running is { } planned
            ? new RunningMerge(planned.Image, planned.Merge.Merged, planned.Merge.Parts.Count(), planned.BytesBefore, layers.MergedBytes(planned.Merge.Merged), planned.StartedAt)
            : null;
        return Task.FromResult<LibraryCompaction>(new(
            options.Value.MaxChainDepth, options.Value.CompactionBytesPerSecond, _tooDeep, running,
            State.Since, State.Merges, State.LayersMerged, State.BytesBefore, State.BytesAfter, State.LastFailure, _lastLook));
    }

    public Task<LibraryCompaction> Compact()
    {
        _failed.Clear();
        _timer!.Change(TimeSpan.Zero, Period);
        return Get();
    }

    private TimeSpan Period => options.Value.CompactionPeriod;

    private async Task Tick(CancellationToken cancellationToken)
    {
        using var end = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _end.Token);
        try
        {
            var isChanged = State.Running is not null;
            if (State.Running is { } interrupted) await Carry(interrupted, end.Token);
            while (await MergeAll(end.Token)) isChanged = true;
            if (isChanged) await GrainFactory.Library().SweepSoon();
            _lastLook = time.GetUtcNow();
        }
        catch (Exception exception) when (exception is FaultException or TimeoutException or OrleansException or StateWriteException or DbException)
        {
            LogNotLooked(exception.Message);
        }
        catch (OperationCanceledException) when (end.IsCancellationRequested)
        {
            // The silo ends: another one continues.
        }
    }

    /// <summary>Checks all disks that may have too many layers, the shortest chain first: longer chains can use its merged layers.</summary>
    /// <returns>False if there was nothing to do.</returns>
    private async Task<bool> MergeAll(CancellationToken cancellationToken)
    {
        var images = await catalogue.ImagesOfDepth(CompactionRule.MinDepth(options.Value.MaxChainDepth));
        _tooDeep = images.Count(image => image.Disks.Any(disk => disk.Layers.Count > options.Value.MaxChainDepth));
        foreach (var (image, _) in _failed.Where(failed => time.GetElapsedTime(failed.Value) >= FailurePause).ToList()) _failed.Remove(image);
        var mayTry = images.Where(image => !_failed.ContainsKey(image.Id));
        var disks = mayTry.SelectMany(image => image.Disks, (image, disk) => (Image: image, Disk: disk)).OrderBy(found => found.Disk.Layers.Count).ToList();
        if (disks.Count == 0) return false;

        var isChanged = false;
        var uses = await catalogue.LayerUses();
        foreach (var (image, disk) in disks)
        {
            if (await Plan(image, disk, uses) is not { } next) continue;
            await Save(State with { Running = next, Since = State.Since ?? next.StartedAt });
            KillPoints.Reach("compaction.planned");
            await Carry(next, cancellationToken);
            isChanged = true;
        }

        return isChanged;
    }

    private async Task<PlannedMerge?> Plan(ImageView image, DiskManifest disk, IReadOnlyDictionary<LayerId, int> uses)
    {
        var others = disk.Layers.Count > options.Value.MaxChainDepth ? await ChainsBefore(image) : [];
        if (CompactionRule.Find(disk.Layers, options.Value.MaxChainDepth, layer => uses.GetValueOrDefault(layer) == 1, others) is not { } plan) return null;
        var merge = new LayerMerge(LayerId.New(), [.. disk.Layers.Select(layer => layer.Id)], plan.From, plan.Instead);
        return new(image.Id, merge, disk.Layers.Skip(plan.From).Sum(layer => layer.Bytes), time.GetUtcNow());
    }

    /// <summary>The chains of the image that the machine was deployed from, and of the machine's last captures before this one.</summary>
    private async Task<IReadOnlyList<IReadOnlyList<LayerManifest>>> ChainsBefore(ImageView image)
    {
        if (image.Capture is not { } capture) return [];
        List<ImageId> before = [.. (await catalogue.CapturedFrom(capture.VirtualMachine)).TakeWhile(id => id != image.Id).TakeLast(MaxCapturesBefore)];
        if (image.Parent is { } parent) before.Add(parent);
        var views = await Task.WhenAll(before.Select(catalogue.FindImage));
        return [.. views.OfType<ImageView>().Where(view => view.Status is ImageStatus.Ready).SelectMany(view => view.Disks).Select(other => other.Layers)];
    }

    private async Task Carry(PlannedMerge planned, CancellationToken cancellationToken)
    {
        var (image, merge) = (GrainFactory.Image(planned.Image), planned.Merge);
        try
        {
            if (await image.BeginMerge(merge))
            {
                var view = await image.Get();
                await RequireHeld(view, merge);
                await RequireSound(view, merge, cancellationToken);
                KillPoints.Reach("compaction.checked");
                var bytes = await layers.Merge(merge, options.Value.CompactionBytesPerSecond, cancellationToken);
                foreach (var corrupt in CorruptOfOthers(merge)) throw Corrupt(corrupt);
                if (await image.CompleteMerge(merge, bytes))
                {
                    // In between, the scrub may have notified the images of these layers, but not this image.
                    if (CorruptOfOthers(merge) is [_, ..] corrupt) await image.Judge([.. corrupt.Select(check => check.Layer)]);
                    LogMerged(planned.Image.Value, merge.Parts.Count(), planned.BytesBefore, bytes);
                    await Save(State with
                    {
                        Running = null,
                        Merges = State.Merges + 1,
                        LayersMerged = State.LayersMerged + merge.Parts.Count(),
                        BytesBefore = State.BytesBefore + planned.BytesBefore,
                        BytesAfter = State.BytesAfter + bytes,
                        LastFailure = null,
                    });
                    KillPoints.Reach("compaction.recorded");
                    return;
                }
            }

            // The image was retired, changed or deleted meanwhile.
            await GiveUp(failure: null);
        }
        catch (FaultException exception) when (exception.Fault.Kind is not FaultKind.Unavailable)
        {
            LogNotMerged(planned.Image.Value, exception.Fault.Code, exception.Fault.Message);
            await GiveUp(exception.Fault);
        }
        catch (Exception exception) when (exception is not (FaultException or TimeoutException or OrleansException or StateWriteException or DbException or OperationCanceledException))
        {
            // A file that cannot be read, or a defect. It must not affect other images.
            LogBroken(planned.Image.Value, exception);
            await GiveUp(new(FaultKind.Internal, "merge-failed", $"Its layers could not be merged: {exception.Message}"));
        }

        async Task GiveUp(Fault? failure)
        {
            var now = time.GetUtcNow();
            await image.AbandonMerge(merge.Merged);
            _failed[planned.Image] = time.GetTimestamp();
            await Save(State with { Running = null, LastFailure = failure is null ? State.LastFailure : new(planned.Image, now, failure) });
        }
    }

    /// <summary>The image that owns the lower layers can be deleted at any time, and a sweep that found them unreferenced may delete them later. While that image exists
    /// and this one refers to them too, no sweep can have found them unreferenced.</summary>
    private async Task RequireHeld(ImageView image, LayerMerge merge)
    {
        if (merge.Instead is null || image.Disks.Any(disk => disk.Layers[^1].Id == merge.Merged)) return;
        var isHeld = (await ChainsBefore(image)).Any(chain => chain.Take(merge.Under.Count).Select(layer => layer.Id).SequenceEqual(merge.Under));
        if (!isHeld) throw FaultException.Conflict("layer-missing", $"The image of the layer {merge.Below} was deleted, and the layer will be deleted too.");
    }

    /// <summary>Corrupt data must not be merged into a layer that looks sound. The scrub notifies the images.</summary>
    private async Task RequireSound(ImageView image, LayerMerge merge, CancellationToken cancellationToken)
    {
        if (layers.Contains(merge.Merged)) return;
        var known = image.Disks.SelectMany(disk => disk.Layers).Concat(merge.Instead ?? []).DistinctBy(layer => layer.Id).ToDictionary(layer => layer.Id, layer => layer.Sha256);
        var since = time.GetUtcNow() - options.Value.ScrubPeriod;

        // Other images already use these layers: a reading of this round of the scrub is enough.
        var below = OfOthers(merge).Where(check => check.IsDue(since) || check.IsCorrupt).Select(check => check.Layer);
        foreach (var part in below.Concat(merge.Parts))
        {
            var check = await layers.Check(part, known.GetValueOrDefault(part), options.Value.CompactionBytesPerSecond, cancellationToken);
            if (check.IsCorrupt) throw Corrupt(check);
        }
    }

    /// <summary>The layers that the image gets from other images by this merge.</summary>
    private IEnumerable<LayerCheck> OfOthers(LayerMerge merge) => (merge.Instead ?? []).Select(layer => layers.FindCheck(layer.Id)).OfType<LayerCheck>();

    private IReadOnlyList<LayerCheck> CorruptOfOthers(LayerMerge merge) => [.. OfOthers(merge).Where(check => check.IsCorrupt)];

    private static FaultException Corrupt(LayerCheck check) =>
        FaultException.Conflict("layer-corrupt", $"The layer {check.Layer} is corrupt: its SHA-256 should be {check.Sha256} and is {check.Found}. It is not merged.");

    [LoggerMessage(Level = LogLevel.Information, Message = "{Layers} layers of the image {Image} were merged: {Before} bytes before, {After} after.")]
    private partial void LogMerged(Guid image, int layers, long before, long after);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Layers of the image {Image} could not be merged ({Code}); the image is unchanged, and the merge will be retried: {Reason}")]
    private partial void LogNotMerged(Guid image, string code, string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "Layers of the image {Image} could not be merged; the image is unchanged, and the merge will be retried.")]
    private partial void LogBroken(Guid image, Exception exception);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Chains could not be scanned; the scan will be retried: {Reason}")]
    private partial void LogNotLooked(string reason);
}
