using System.Buffers;
using System.Buffers.Binary;
using Instances.Library.Export;
using Instances.Library.Import;
using Microsoft.Win32.SafeHandles;
using static Instances.Library.Export.Qcow2Layout;

namespace Instances.Library;

/// <summary>The qcow2 file of a merged layer. It has the combined content of the merged layers, where upper ones override lower ones, and nothing where they have nothing. The layers below
/// are not read, and each effective byte is read and written once.</summary>
/// <remarks>
/// <code>
/// header | L1 table | for each 256 MiB of the disk that are in use: clusters with data, then their L2 table | reference table | reference blocks
/// </code>
/// Clusters of 64 KiB with subclusters of 2 KiB, as in all layers with a parent. Every cluster is used once; the missing part of a partial cluster is a hole. Zeros take
/// no space. The header is written last, so that a partial file is not valid.
/// </remarks>
internal sealed class MergedLayerFile : IDisposable
{
    private const int SubclusterBits = 11;
    private const int SubclusterBytes = 1 << SubclusterBits;
    private const int SubclustersOfCluster = ClusterBytes / SubclusterBytes;
    private const int EntryBytes = 16;
    private const int EntriesOfTable = ClusterBytes / EntryBytes;
    private const long Reach = (long)EntriesOfTable * ClusterBytes;
    private const int ChunkBytes = 1 << 20;

    /// <summary>The most bytes that are written between synchronizations, so that other writes to the disk never wait for more.</summary>
    private const long UnsyncedBytes = 32 << 20;

    private readonly LayeredDisk _parts;
    private readonly long _belowBytes;
    private readonly SafeFileHandle _file;
    private readonly Pace _pace;
    private readonly Action _requireSpace;
    private readonly long _tables;
    private readonly byte[] _l1;
    private readonly byte[] _table = new byte[ClusterBytes];
    private readonly byte[] _chunk = ArrayPool<byte>.Shared.Rent(ChunkBytes);
    private bool _isTableUsed;
    private long _end;
    private long _written;
    private long _synced;

    /// <param name="parts">Exactly the layers to merge.</param>
    /// <param name="belowBytes">The size of the layers below. Zeros after it need not be written.</param>
    /// <param name="path">A path without a file.</param>
    /// <param name="requireSpace">Called as the file grows, because the layers' tables may name more data than the layers' space.</param>
    private MergedLayerFile(LayeredDisk parts, long belowBytes, string path, Pace pace, Action requireSpace)
    {
        (_parts, _belowBytes, _pace, _requireSpace) = (parts, belowBytes, pace, requireSpace);
        _tables = (parts.VirtualSizeBytes - 1) / Reach + 1;
        if (_tables > MaxTables) throw parts.Unreadable("its disk is larger than one of a layer can be");
        _l1 = new byte[(_tables * sizeof(ulong) + ClusterBytes - 1) / ClusterBytes * ClusterBytes];
        _end = ClusterBytes + _l1.Length;
        _file = File.OpenHandle(path, FileMode.CreateNew, FileAccess.Write);
    }

    /// <summary>Writes the whole file. It is not durable when this returns.</summary>
    /// <param name="backing">The relative name of the parent layer.</param>
    /// <exception cref="Faults.FaultException">layer-unreadable.</exception>
    public static async Task Write(LayeredDisk parts, long belowBytes, string path, string backing, Pace pace, Action requireSpace, CancellationToken cancellationToken)
    {
        using var file = new MergedLayerFile(parts, belowBytes, path, pace, requireSpace);
        await file.Write(backing, cancellationToken);
    }

    public void Dispose()
    {
        _file.Dispose();
        ArrayPool<byte>.Shared.Return(_chunk);
    }

    private async Task Write(string backing, CancellationToken cancellationToken)
    {
        for (long region = 0; region < _parts.VirtualSizeBytes; region += Reach)
        {
            await WriteRegion(region, Math.Min(_parts.VirtualSizeBytes, region + Reach), cancellationToken);
            if (!_isTableUsed) continue;
            WriteEntry(_l1, (int)(region / Reach), (ulong)_end | UsedOnce);
            await Append(_table, cancellationToken);
            Array.Clear(_table);
            _isTableUsed = false;
        }

        var references = new Qcow2References(_end / ClusterBytes);
        var layout = new Qcow2Layout(
            _parts.VirtualSizeBytes, (int)_tables, ClusterBytes, _end, references, Qcow2Features.ExtendedL2, backing);
        foreach (var cluster in references.Clusters(_end)) await Append(cluster, cancellationToken);
        await WriteAt(ClusterBytes, _l1, cancellationToken);
        RandomAccess.SetLength(_file, _end);
        RandomAccess.FlushToDisk(_file);
        layout.WriteHeader(_table);
        await WriteAt(0, _table, cancellationToken);
    }

    private async Task WriteRegion(long begin, long end, CancellationToken cancellationToken)
    {
        for (long offset = begin, bytes; offset < end; offset += bytes)
        {
            cancellationToken.ThrowIfCancellationRequested();
            (var kind, bytes) = _parts.Trace(offset, Math.Min(end - offset, ChunkBytes));
            if (kind is not LayerRunKind.Data) (_, bytes) = _parts.Trace(offset, end - offset);
            if (kind is LayerRunKind.Data) await Copy(offset, (int)bytes, cancellationToken);
            else if (kind is LayerRunKind.Zeros) MarkZeros(offset, bytes);
            _parts.RequireReadOnce();
            await _pace.Keep(_parts.BytesRead + _written, cancellationToken);
        }
    }

    private async ValueTask Copy(long offset, int bytes, CancellationToken cancellationToken)
    {
        if (offset % SubclusterBytes != 0) throw _parts.Unreadable("its clusters are smaller than those of a layer");
        await _parts.Read(offset, _chunk.AsMemory(0, bytes), cancellationToken);
        for (int begin = 0, end; begin < bytes; begin = end)
        {
            // A part of one cluster that is contiguous data, or zeros.
            var isZeros = IsZeros(begin);
            for (end = Next(begin); end < bytes && (offset + end) % ClusterBytes != 0 && IsZeros(end) == isZeros; end = Next(end))
            {
            }

            if (isZeros) MarkZeros(offset + begin, end - begin);
            else await WriteAt(PlaceOf(offset + begin, end - begin), _chunk.AsMemory(begin, end - begin), cancellationToken);
        }

        int Next(int from) => Math.Min(from + SubclusterBytes, bytes);

        bool IsZeros(int from) => !_chunk.AsSpan(from, Next(from) - from).ContainsAnyExcept((byte)0);
    }

    private void MarkZeros(long offset, long bytes)
    {
        // The disk's end may lie within a subcluster.
        var end = Math.Min(offset + bytes, _belowBytes);
        for (long next; offset < end; offset = next)
        {
            next = Math.Min(end, (offset & -ClusterBytes) + ClusterBytes);
            Mark(offset, next - offset, SubclustersOfCluster);
        }
    }

    /// <summary>The place of a part of one cluster in the file. Also records that the part exists.</summary>
    private long PlaceOf(long offset, long bytes)
    {
        var entry = EntryOf(offset);
        if (BinaryPrimitives.ReadUInt64BigEndian(entry) == 0)
        {
            BinaryPrimitives.WriteUInt64BigEndian(entry, (ulong)_end | UsedOnce);
            _end += ClusterBytes;
        }

        Mark(offset, bytes, firstBit: 0);
        return (long)(BinaryPrimitives.ReadUInt64BigEndian(entry) & ~UsedOnce) + (offset % ClusterBytes);
    }

    /// <param name="firstBit">The first bit in the second half of an entry: bits from 0 on mean data, bits from 32 on mean zeros.</param>
    private void Mark(long offset, long bytes, int firstBit)
    {
        var first = (int)(offset % ClusterBytes) / SubclusterBytes;
        var count = (int)((bytes + SubclusterBytes - 1) / SubclusterBytes);
        var bits = EntryOf(offset)[sizeof(ulong)..];
        BinaryPrimitives.WriteUInt64BigEndian(bits, BinaryPrimitives.ReadUInt64BigEndian(bits) | (((1UL << count) - 1) << (first + firstBit)));
        _isTableUsed = true;
    }

    private Span<byte> EntryOf(long offset) => _table.AsSpan((int)(offset / ClusterBytes % EntriesOfTable) * EntryBytes, EntryBytes);

    private async ValueTask Append(ReadOnlyMemory<byte> cluster, CancellationToken cancellationToken)
    {
        await WriteAt(_end, cluster, cancellationToken);
        _end += ClusterBytes;
    }

    private async ValueTask WriteAt(long place, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        await RandomAccess.WriteAsync(_file, bytes, place, cancellationToken);
        _written += bytes.Length;
        if (_written - _synced < UnsyncedBytes) return;
        RandomAccess.FlushToDisk(_file);
        _synced = _written;
        _requireSpace();
    }
}
