using System.Buffers;
using Instances.Library.Export;

namespace Instances.Library;

/// <summary>Whether a layer that was made of others has their content. They are read by our own reader; another program has written them.</summary>
internal static class LayerComparison
{
    private const int BlockBytes = 1 << 20;

    /// <summary>Of one that several layers of a chain became. What none of them holds is read from the layers below by both and is not looked at: the work is that of the changes, however
    /// large the base is.</summary>
    /// <param name="pathOf">Where each layer is, the merged one too.</param>
    /// <param name="bytesPerSecond">Not faster than that.</param>
    public static async Task<bool> IsMerged(LayerMerge merge, Func<LayerId, string> pathOf, long bytesPerSecond, TimeProvider time, CancellationToken cancellationToken)
    {
        using var before = LayeredDisk.OpenLayers(merge.Chain, pathOf);
        using var after = LayeredDisk.OpenLayers([.. merge.Chain.Take(merge.From), merge.Merged], pathOf);
        var parts = merge.Parts.Count();
        return await AreSame(before, after, Find, bytesPerSecond, time, cancellationToken);

        (bool IsSame, long Bytes) Find(long offset, long bytes)
        {
            var of = before.Trace(offset, bytes);
            var to = after.Trace(offset, of.Bytes);
            return (of.Above >= parts && to.Above >= 1, to.Bytes);
        }
    }

    /// <summary>Of one that a whole chain became.</summary>
    public static async Task<bool> IsFlat(IReadOnlyList<LayerId> chain, LayerId flat, Func<LayerId, string> pathOf, CancellationToken cancellationToken)
    {
        using var before = LayeredDisk.OpenLayers(chain, pathOf);
        using var after = LayeredDisk.OpenLayers([flat], pathOf);
        return await AreSame(before, after, Find, long.MaxValue, TimeProvider.System, cancellationToken);

        (bool IsSame, long Bytes) Find(long offset, long bytes)
        {
            var of = before.Find(offset, bytes);
            var to = after.Find(offset, of.Bytes);
            return (!of.IsData && !to.IsData, to.Bytes);
        }
    }

    /// <param name="find">Whether a part of the disk, from an offset on, needs no look, and how far that goes.</param>
    private static async Task<bool> AreSame(
        LayeredDisk before, LayeredDisk after, Func<long, long, (bool IsSame, long Bytes)> find, long bytesPerSecond, TimeProvider time, CancellationToken cancellationToken)
    {
        if (before.VirtualSizeBytes != after.VirtualSizeBytes) return false;
        var (one, other) = (ArrayPool<byte>.Shared.Rent(BlockBytes), ArrayPool<byte>.Shared.Rent(BlockBytes));
        var (begun, read) = (time.GetTimestamp(), 0L);
        try
        {
            for (long offset = 0, bytes; offset < before.VirtualSizeBytes; offset += bytes)
            {
                cancellationToken.ThrowIfCancellationRequested();
                (var isSame, bytes) = find(offset, before.VirtualSizeBytes - offset);
                if (isSame) continue;

                bytes = Math.Min(bytes, BlockBytes);
                await before.Read(offset, one.AsMemory(0, (int)bytes), cancellationToken);
                await after.Read(offset, other.AsMemory(0, (int)bytes), cancellationToken);
                if (!one.AsSpan(0, (int)bytes).SequenceEqual(other.AsSpan(0, (int)bytes))) return false;
                read += 2 * bytes;
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
