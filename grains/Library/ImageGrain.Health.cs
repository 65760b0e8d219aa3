namespace Instances.Library;

/// <summary>What becomes of an image when layers are found to be corrupt, or to be sound again.</summary>
internal sealed partial class ImageGrain
{
    public async Task Judge(IReadOnlyList<LayerId> corrupt)
    {
        if (!Exists) return;
        IReadOnlyList<LayerId> own = [.. (State.Manifest?.Disks ?? []).SelectMany(disk => disk.Layers).Select(layer => layer.Id).Intersect(corrupt)];
        if (Decide(own.Count > 0 ? ImageCommand.FindCorrupt : ImageCommand.FindSound) is not { } next) return;
        if (next != State.Status || !own.SequenceEqual(State.CorruptLayers)) await SaveListed(State with { Status = next, CorruptLayers = own });
        KillPoints.Reach("scrub.judged");
    }

    public async Task RecordDigest(LayerId layer, string sha256)
    {
        if (!Exists || State.Manifest is not { } manifest || !manifest.Disks.SelectMany(disk => disk.Layers).Any(known => known.Id == layer)) return;

        // The record first: the scrub calls for what the manifest does not say, also where a crash came in between.
        var next = manifest with { Disks = [.. manifest.Disks.Select(disk => disk with { Layers = [.. disk.Layers.Select(Filled)] })] };
        if (manifest.Disks.SelectMany(disk => disk.Layers).Any(known => known.Id == layer && known.Sha256 is null)) await SaveListed(State with { Manifest = next });
        KillPoints.Reach("scrub.digest-recorded");
        await GrainFactory.Library().Publish([next]);

        LayerManifest Filled(LayerManifest known) => known.Id == layer && known.Sha256 is null ? known with { Sha256 = sha256 } : known;
    }

    /// <summary>What was found while it was Retired holds when it is not any more.</summary>
    private ImageStatus Sound(ImageStatus status) => State.CorruptLayers.Count > 0 ? ImageStatus.Corrupt : status;
}
