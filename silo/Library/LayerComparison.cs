using System.Buffers;
using Instances.Library.Export;

namespace Instances.Library;

/// <summary>Checks that a merged layer has the content of the merged ones.</summary>
internal static class LayerComparison
{
    private const int BlockBytes = 1 << 20;

    private enum Verdict
    {
        Same,
        Different,
        HasToBeRead,
    }

    /// <summary>For a merge of several layers: whether the merged layer has their data, and nothing where they have nothing. The layers below are not read, so that the work depends only on the changes, not
    /// on the size of the base.</summary>
    /// <param name="parts">The merged layers.</param>
    /// <param name="belowBytes">The size of the layers below. After it, zeros and nothing are the same.</param>
    public static Task<bool> IsMerged(LayeredDisk parts, LayeredDisk merged, long belowBytes, Pace pace, CancellationToken cancellationToken)
    {
        return AreSame(parts, merged, Look, pace, cancellationToken);

        (Verdict, long) Look(long offset, long bytes)
        {
            if (offset < belowBytes) bytes = Math.Min(bytes, belowBytes - offset);
            (var of, bytes) = parts.Trace(offset, bytes);
            (var to, bytes) = merged.Trace(offset, bytes);
            if (Says(of) != Says(to)) return (Verdict.Different, bytes);
            return (Says(of) && (of is LayerRunKind.Data || to is LayerRunKind.Data) ? Verdict.HasToBeRead : Verdict.Same, bytes);

            bool Says(LayerRunKind kind) => kind is not LayerRunKind.Absent || offset >= belowBytes;
        }
    }

    /// <summary>For a merge of a whole chain.</summary>
    public static async Task<bool> IsFlat(IReadOnlyList<LayerId> chain, LayerId flat, Func<LayerId, string> pathOf, CancellationToken cancellationToken)
    {
        using var before = LayeredDisk.OpenLayers(chain, pathOf);
        using var after = LayeredDisk.OpenLayers([flat], pathOf);
        return await AreSame(before, after, Look, Pace.Unlimited, cancellationToken);

        (Verdict, long) Look(long offset, long bytes)
        {
            (var isData, bytes) = before.Find(offset, bytes);
            (var becameData, bytes) = after.Find(offset, bytes);
            return (isData || becameData ? Verdict.HasToBeRead : Verdict.Same, bytes);
        }
    }

    /// <param name="look">Returns the kind of the run at an offset without reading it, and its length.</param>
    private static async Task<bool> AreSame(LayeredDisk before, LayeredDisk after, Func<long, long, (Verdict, long)> look, Pace pace, CancellationToken cancellationToken)
    {
        if (before.VirtualSizeBytes != after.VirtualSizeBytes) return false;
        var (one, other) = (ArrayPool<byte>.Shared.Rent(BlockBytes), ArrayPool<byte>.Shared.Rent(BlockBytes));
        var earlier = before.BytesRead + after.BytesRead;
        try
        {
            for (long offset = 0, bytes; offset < before.VirtualSizeBytes; offset += bytes)
            {
                cancellationToken.ThrowIfCancellationRequested();
                var rest = before.VirtualSizeBytes - offset;
                (var verdict, bytes) = look(offset, Math.Min(rest, BlockBytes));
                if (verdict is Verdict.Same) (verdict, bytes) = look(offset, rest);
                if (verdict is Verdict.Different) return false;
                if (verdict is Verdict.HasToBeRead && !await IsSame(offset, (int)Math.Min(bytes, BlockBytes))) return false;
                await pace.Keep(before.BytesRead + after.BytesRead - earlier, cancellationToken);
            }

            return true;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(one);
            ArrayPool<byte>.Shared.Return(other);
        }

        async ValueTask<bool> IsSame(long offset, int bytes)
        {
            await before.Read(offset, one.AsMemory(0, bytes), cancellationToken);
            await after.Read(offset, other.AsMemory(0, bytes), cancellationToken);
            return one.AsSpan(0, bytes).SequenceEqual(other.AsSpan(0, bytes));
        }
    }
}
