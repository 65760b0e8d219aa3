using System.Buffers;
using Instances.Library.Export;

namespace Instances.Library;

/// <summary>Whether a layer that was made of several has their content.</summary>
/// <remarks>What none of them holds is read from the layers below by both and is not looked at: the work is that of the changes, however large the base is. The layers are read by our own
/// reader; another program has written them.</remarks>
internal static class LayerComparison
{
    private const int BlockBytes = 1 << 20;

    /// <param name="pathOf">Where each layer is, the merged one too.</param>
    public static async Task<bool> AreSame(LayerMerge merge, Func<LayerId, string> pathOf, long bytesPerSecond, TimeProvider time, CancellationToken cancellationToken)
    {
        using var before = LayeredDisk.OpenLayers(merge.Chain, pathOf);
        using var after = LayeredDisk.OpenLayers([.. merge.Chain.Take(merge.From), merge.Merged], pathOf);
        if (before.VirtualSizeBytes != after.VirtualSizeBytes) return false;
        var parts = merge.Parts.Count();
        var (one, other) = (ArrayPool<byte>.Shared.Rent(BlockBytes), ArrayPool<byte>.Shared.Rent(BlockBytes));
        var (begun, read) = (time.GetTimestamp(), 0L);
        try
        {
            for (long offset = 0, bytes; offset < before.VirtualSizeBytes; offset += bytes)
            {
                cancellationToken.ThrowIfCancellationRequested();
                var of = before.Trace(offset, before.VirtualSizeBytes - offset);
                var to = after.Trace(offset, of.Bytes);
                bytes = to.Bytes;
                if (of.Above >= parts && to.Above >= 1) continue;

                bytes = Math.Min(bytes, BlockBytes);
                await before.Read(offset, one.AsMemory(0, (int)bytes), cancellationToken);
                await after.Read(offset, other.AsMemory(0, (int)bytes), cancellationToken);
                if (!one.AsSpan(0, (int)bytes).SequenceEqual(other.AsSpan(0, (int)bytes))) return false;
                read += bytes;
                var early = TimeSpan.FromSeconds(read / (double)bytesPerSecond) - time.GetElapsedTime(begun);
                if (early > TimeSpan.Zero) await Task.Delay(early, time, cancellationToken);
            }

            return true;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(one);
            ArrayPool<byte>.Shared.Return(other);
        }
    }
}
