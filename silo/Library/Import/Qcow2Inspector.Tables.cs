using System.Buffers.Binary;

namespace Instances.Library.Import;

/// <summary>Checks the parts after the fixed fields: extensions, and the tables that the header names.</summary>
internal sealed partial class Qcow2Inspector
{
    // Bits 9 to 55 of a table's entry are an offset; the others are flags or reserved.
    private const ulong OffsetMask = 0x00FF_FFFF_FFFF_FE00;
    private const ulong CopiedFlag = 1UL << 63;

    private Dictionary<Qcow2Extension, Region> ReadExtensions(int headerBytes, Region backing)
    {
        var end = backing.Bytes > 0 ? (int)backing.Offset : (int)Math.Min(ClusterBytes, _head.Length);
        var found = new Dictionary<Qcow2Extension, Region>();
        var place = headerBytes;
        for (var count = 0; end - place >= 2 * sizeof(uint); count++)
        {
            var type = (Qcow2Extension)Number32(place);
            if (type == Qcow2Extension.End)
                return found;

            var bytes = Number32(place + sizeof(uint));
            place += 2 * sizeof(uint);
            if (count >= MaxExtensions || bytes > (uint)(end - place) || !found.TryAdd(type, new((ulong)place, bytes)))
                throw ImportFaults.Malformed("its header extensions are out of bounds or stand twice");
            place += Math.Min(end - place, (int)((bytes + 7) & ~7u));
        }

        return found;
    }

    private void CheckRefcountTable()
    {
        var clusters = Number32(56);
        if (clusters == 0 || clusters > MaxRefcountTableBytes >> _clusterBits)
            throw ImportFaults.Malformed("its reference table has an impossible size");

        var table = ClaimTable(Number64(48), (ulong)clusters << _clusterBits, "reference table");
        _referenceBlocks = CheckEntries(table, ulong.MaxValue, "reference table");
    }

    private void CheckSnapshots()
    {
        var count = Number32(60);
        if (count == 0)
            return;

        var offset = Number64(64);
        if (count > MaxSnapshots || !new Region(offset, (ulong)count * MinSnapshotBytes).IsInside((ulong)_fileBytes) || offset % (ulong)ClusterBytes != 0)
            throw ImportFaults.Malformed("its snapshot table is out of bounds");
        throw ImportFaults.HasSnapshots();
    }

    // Bitmaps are not imported: only check that their directory is in the file.
    private void CheckBitmaps(Dictionary<Qcow2Extension, Region> extensions)
    {
        if (!extensions.TryGetValue(Qcow2Extension.Bitmaps, out var extension))
            return;

        var place = (int)extension.Offset;
        if (extension.Bytes != BitmapExtensionBytes
            || Number32(place) is 0 or > MaxBitmaps
            || !new Region(Number64(place + 16), Number64(place + 8)).IsInside((ulong)_fileBytes))
        {
            throw ImportFaults.Malformed("its bitmap directory is out of bounds");
        }
    }

    private void CheckL1Table(long virtualBytes)
    {
        var entryBytes = _features.HasFlag(Qcow2Features.ExtendedL2) ? 16 : 8;
        var bytesOfOneEntry = (UInt128)(ClusterBytes / entryBytes) << _clusterBits;
        var needed = ((UInt128)virtualBytes + bytesOfOneEntry - 1) / bytesOfOneEntry;
        var entries = Number32(36);

        // A larger table is usual: it keeps its size when a disk shrinks or a snapshot of a running machine is deleted.
        if (entries < needed || entries > MaxL1Bytes / sizeof(ulong))
            throw ImportFaults.Malformed("its L1 table does not fit its size");

        var table = ClaimTable(Number64(40), (ulong)entries * sizeof(ulong), "L1 table");
        _l2Tables = CheckEntries(table, ~CopiedFlag, "L1 table");
    }

    /// <summary>Requires that a table begins at a cluster after the header, ends in the file, and does not overlap another table.</summary>
    private Region ClaimTable(ulong offset, ulong bytes, string name)
    {
        var table = new Region(offset, bytes);
        if (offset < (ulong)ClusterBytes || offset % (ulong)ClusterBytes != 0 || !table.IsInside((ulong)_fileBytes) || _tables.Exists(table.Overlaps))
            throw ImportFaults.Malformed($"its {name} is out of bounds");
        _tables.Add(table);
        return table;
    }

    /// <summary>Requires that each entry of a table names a different cluster, after the header and completely in the file.</summary>
    /// <param name="flagsMask">The bits, besides those of the offset, that must not be set.</param>
    /// <returns>Their offsets, in this order.</returns>
    private List<ulong> CheckEntries(Region table, ulong flagsMask, string name)
    {
        var raw = Read((long)table.Offset, (int)table.Bytes);
        var offsets = new List<ulong>();
        for (var place = 0; place + sizeof(ulong) <= raw.Length; place += sizeof(ulong))
        {
            var entry = BinaryPrimitives.ReadUInt64BigEndian(raw.AsSpan(place));
            var offset = entry & OffsetMask;
            if ((entry & flagsMask & ~OffsetMask) != 0)
                throw ImportFaults.Malformed($"its {name} has bits that have no meaning");
            if (offset == 0)
                continue;

            var cluster = new Region(offset, (ulong)ClusterBytes);
            if (offset < (ulong)ClusterBytes || offset % (ulong)ClusterBytes != 0 || !cluster.IsInside((ulong)_fileBytes) || _tables.Exists(cluster.Overlaps))
                throw ImportFaults.Malformed($"its {name} points outside the file or at another table");
            offsets.Add(offset);
        }

        offsets.Sort();
        for (var index = 1; index < offsets.Count; index++)
        {
            if (offsets[index] == offsets[index - 1])
                throw ImportFaults.Malformed($"its {name} names a cluster twice");
        }

        return offsets;
    }
}
