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
    }

    /// <summary>What was found while it was Retired holds when it is not any more.</summary>
    private ImageStatus Sound(ImageStatus status) => State.CorruptLayers.Count > 0 ? ImageStatus.Corrupt : status;
}
