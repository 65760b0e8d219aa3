using Instances.Faults;
using Instances.Library.Export;

namespace Instances.Library;

/// <summary>Makes one layer of several.</summary>
internal sealed class LayerMerger(FolderLayerStore store, QemuImg qemuImg, TimeProvider time)
{
    private const long SecondsForAnything = 600;
    private const long MemoryBytes = 2L << 30;

    /// <summary>A twentieth of the disk stays free: background work does not take what captures and imports need.</summary>
    private const int ReservedShare = 20;

    public async Task<long> Merge(LayerMerge merge, long bytesPerSecond, CancellationToken cancellationToken)
    {
        if (store.IsSealed(merge.Merged)) return store.BytesOf(merge.Merged);
        foreach (var layer in merge.Chain.Where(layer => !store.IsSealed(layer))) throw FileFaults.LayerMissing(layer);
        var bytes = merge.Parts.Sum(store.BytesOf);
        if (store.FreeBytes - bytes < Math.Max(store.MinimumFreeBytes, store.TotalBytes / ReservedShare)) throw FileFaults.NoSpaceLeft(store.Folder);
        RequireNames(merge.Chain, store.PathOf);

        var target = store.ConvertedPathOf(merge.Merged);
        try
        {
            // What a crash has left: somebody may still be writing to it.
            File.Delete(target);
            await qemuImg.Merge(
                store.PathOf(merge.Top), store.PathOf(merge.Below), target, $"{merge.Below}.qcow2", bytesPerSecond,
                BoundsFor(bytes, bytesPerSecond), cancellationToken);
            KillPoints.Reach("compaction.merged");
            if (!await LayerComparison.IsMerged(merge, layer => layer == merge.Merged ? target : store.PathOf(layer), bytesPerSecond, time, cancellationToken)) throw Differs();
            var installed = store.Install(merge.Merged, target);
            KillPoints.Reach("compaction.installed");
            return installed;
        }
        catch
        {
            File.Delete(target);
            throw;
        }
    }

    /// <summary>A machine's QEMU has written the headers: no other program opens a layer that names another file than its record does.</summary>
    /// <exception cref="FaultException">layer-missing; layer-unreadable.</exception>
    public static void RequireNames(IReadOnlyList<LayerId> chain, Func<LayerId, string> pathOf)
    {
        using var disk = LayeredDisk.OpenLayers(chain, pathOf);
        if (!disk.NamesItself) throw ExportFaults.LayerUnreadable(chain[^1], "its chain names other files than its image does");
    }

    public static FaultException Differs() =>
        new(new(FaultKind.Internal, "merge-differs", "What was made of layers does not have their content. It was thrown away, and they are as they were."));

    /// <summary>By what is written, at the set rate.</summary>
    private static ProcessBounds BoundsFor(long bytes, long bytesPerSecond)
    {
        var seconds = SecondsForAnything + (8 * bytes / bytesPerSecond);
        return new(TimeSpan.FromSeconds(seconds), (int)Math.Min(seconds, int.MaxValue), MemoryBytes, long.MaxValue);
    }
}
