using Instances.Faults;

namespace Instances.Library;

/// <summary>Makes one layer of several.</summary>
internal sealed class LayerMerger(FolderLayerStore store, QemuImg qemuImg)
{
    private const long SecondsForAnything = 600;
    private const long MemoryBytes = 2L << 30;

    public async Task<long> Merge(LayerMerge merge, long bytesPerSecond, CancellationToken cancellationToken)
    {
        if (store.IsSealed(merge.Merged)) return store.BytesOf(merge.Merged);
        foreach (var layer in merge.Chain.Where(layer => !store.IsSealed(layer))) throw FileFaults.LayerMissing(layer);
        var bytes = merge.Parts.Sum(store.BytesOf);
        if (store.FreeBytes - bytes < store.MinimumFreeBytes) throw FileFaults.NoSpaceLeft(store.Folder);

        var target = store.ConvertedPathOf(merge.Merged);
        try
        {
            // What a crash has left: somebody may still be writing to it.
            File.Delete(target);
            await qemuImg.Merge(
                store.PathOf(merge.Top), store.PathOf(merge.Below), target, $"{merge.Below}.qcow2", bytesPerSecond,
                BoundsFor(merge.Chain.Sum(store.BytesOf), bytesPerSecond), cancellationToken);
            return store.Install(merge.Merged, target);
        }
        catch
        {
            File.Delete(target);
            throw;
        }
    }

    /// <summary>By what is read: at the comparison the whole chain, at the set rate.</summary>
    private static ProcessBounds BoundsFor(long bytes, long bytesPerSecond)
    {
        var seconds = SecondsForAnything + (8 * bytes / bytesPerSecond);
        return new(TimeSpan.FromSeconds(seconds), (int)Math.Min(seconds, int.MaxValue), MemoryBytes, long.MaxValue);
    }
}
