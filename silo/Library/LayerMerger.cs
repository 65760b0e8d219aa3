using Instances.Faults;
using Instances.Library.Export;

namespace Instances.Library;

/// <summary>Merges layers. It reads only these layers, with our own reader: not the layers below them, and no file that a header names, because a machine's QEMU has written the headers.</summary>
internal sealed class LayerMerger(FolderLayerStore store, TimeProvider time)
{
    /// <summary>A twentieth of the disk stays free: background work must not use the space that captures and imports need.</summary>
    private const int ReservedShare = 20;

    public async Task<long> Merge(LayerMerge merge, long bytesPerSecond, CancellationToken cancellationToken)
    {
        if (store.IsSealed(merge.Merged)) return store.BytesOf(merge.Merged);
        foreach (var layer in merge.Needed.Where(layer => !store.IsSealed(layer))) throw FileFaults.LayerMissing(layer);
        RequireSpace(merge.Parts.Sum(store.BytesOf));

        var target = store.ConvertedPathOf(merge.Merged);
        try
        {
            // The remains of a crash.
            File.Delete(target);
            await Write(merge, target, bytesPerSecond, cancellationToken);
            var installed = store.Install(merge.Merged, target);
            KillPoints.Reach("compaction.installed");
            return installed;
        }
        catch (Exception exception)
        {
            File.Delete(target);
            if (exception is IOException full && FileFaults.IsNoSpace(full)) throw FileFaults.NoSpaceLeft(store.Folder, exception);
            throw;
        }
    }

    public static FaultException Differs() =>
        new(new(FaultKind.Internal, "merge-differs", "The merged layer does not have the content of its parts. It was deleted, and the parts are unchanged."));

    private void RequireSpace(long bytes)
    {
        if (store.FreeBytes - bytes < Math.Max(store.MinimumFreeBytes, store.TotalBytes / ReservedShare)) throw FileFaults.NoSpaceLeft(store.Folder);
    }

    private async Task Write(LayerMerge merge, string target, long bytesPerSecond, CancellationToken cancellationToken)
    {
        using var parts = LayeredDisk.OpenLayers([.. merge.Parts], store.PathOf);
        var belowBytes = SizeBelow();
        await MergedLayerFile.Write(parts, belowBytes, target, $"{merge.Below}.qcow2", new(bytesPerSecond, time), () => RequireSpace(bytes: 0), cancellationToken);
        KillPoints.Reach("compaction.merged");

        using var merged = LayeredDisk.OpenLayers([merge.Merged], _ => target);
        if (!await LayerComparison.IsMerged(parts, merged, belowBytes, new(bytesPerSecond, time), cancellationToken)) throw Differs();

        long SizeBelow()
        {
            using var below = LayeredDisk.OpenLayers(merge.Under, store.PathOf);
            return below.LargestBytes;
        }
    }
}
