namespace Instances.Library;

/// <summary>How an image gets shorter chains. Its content and its version stay the same.</summary>
internal sealed partial class ImageGrain
{
    public async Task<bool> BeginMerge(LayerMerge merge)
    {
        if (Status is not ImageStatus.Ready || DiskOf(merge) is null) return IsMerged(merge);
        if (State.Merge?.Merged != merge.Merged) await SaveListed(State with { Merge = merge });
        KillPoints.Reach("compaction.referenced");
        return true;
    }

    public async Task<bool> CompleteMerge(LayerMerge merge, long bytes)
    {
        if (IsMerged(merge)) return true;
        if (Status is not ImageStatus.Ready || DiskOf(merge) is not { } disk || State.Merge?.Merged != merge.Merged)
        {
            await AbandonMerge(merge.Merged);
            return false;
        }

        var top = new LayerManifest(merge.Merged, merge.Below, bytes, Id, StandsFor: disk.Layers[^1].Content);
        var merged = disk with { Layers = [.. merge.Instead ?? disk.Layers.Take(merge.From), top] };
        var next = State.Manifest! with { Disks = [.. State.Manifest!.Disks.Select(known => known == disk ? merged : known)] };

        // Write the manifest first: after a crash in between, both it and the record name existing layers, until the next attempt.
        await GrainFactory.Library().Publish([next]);
        KillPoints.Reach("compaction.manifest-written");
        await SaveListed(State with { Manifest = next, Merge = null });
        KillPoints.Reach("compaction.switched");
        return true;
    }

    public async Task AbandonMerge(LayerId merged)
    {
        if (!Exists || State.Merge?.Merged != merged) return;

        // The manifest may be newer than the record: see above.
        await GrainFactory.Library().Publish([State.Manifest!]);
        await SaveListed(State with { Merge = null });
    }

    private DiskManifest? DiskOf(LayerMerge merge) => State.Manifest!.Disks.SingleOrDefault(disk => disk.Layers.Select(layer => layer.Id).SequenceEqual(merge.Chain));

    private bool IsMerged(LayerMerge merge) => Exists && (State.Manifest?.Disks ?? []).Any(disk => disk.Layers[^1].Id == merge.Merged);
}
