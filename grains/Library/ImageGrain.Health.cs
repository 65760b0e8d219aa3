namespace Instances.Library;

/// <summary>Changes the status of an image when its layers are found corrupt, or sound again.</summary>
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

        // Write the record first: the scrub repeats the call for what the manifest lacks, also after a crash in between.
        var next = manifest with { Disks = [.. manifest.Disks.Select(disk => disk with { Layers = [.. disk.Layers.Select(Filled)] })] };
        if (manifest.Disks.SelectMany(disk => disk.Layers).Any(known => known.Id == layer && known.Sha256 is null)) await SaveListed(State with { Manifest = next });
        KillPoints.Reach("scrub.digest-recorded");
        await GrainFactory.Library().Publish([next]);

        LayerManifest Filled(LayerManifest known) => known.Id == layer && known.Sha256 is null ? known with { Sha256 = sha256 } : known;
    }

    /// <summary>Results from the time when it was Retired stay valid after its restoration.</summary>
    private ImageStatus Sound(ImageStatus status) => State.CorruptLayers.Count > 0 ? ImageStatus.Corrupt : status;
}
