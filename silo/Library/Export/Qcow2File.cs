using System.Buffers.Binary;
using Instances.Library.Import;

namespace Instances.Library.Export;

/// <summary>A qcow2 file of version 3 with clusters of 64 KiB, without a backing file. Zeros are not in it.</summary>
/// <remarks>
/// All tables stand before the data, so that it can be written in one go:
/// <code>
/// header | L1 table | reference table | reference blocks | L2 tables that are in use | clusters with data, in the disk's order
/// </code>
/// Each begins at a cluster. Every cluster of the file is used once.
/// </remarks>
internal sealed class Qcow2File : DiskFile
{
    private const int ClusterBits = 16;
    private const int ClusterBytes = AllocationMap.UnitBytes;
    private const int EntriesOfTable = AllocationMap.UnitsOfPage;
    private const int RefcountOrder = 4; // 16 bits
    private const int CountsOfBlock = ClusterBytes / sizeof(ushort);
    private const ulong UsedOnce = 1UL << 63;

    private readonly AllocationMap _map;
    private readonly long _l1Clusters;
    private readonly long _tableClusters;
    private readonly long _blocks;
    private readonly long _l2Tables;
    private readonly long _clusters;

    public Qcow2File(LayeredDisk disk, AllocationMap map)
        : base(disk)
    {
        _map = map;
        _l1Clusters = DivideUp(map.Pages, EntriesOfTable);
        _l2Tables = Enumerable.Range(0, map.Pages).LongCount(map.IsUsed);

        // The reference counts count themselves, too: more of them until all are counted.
        var others = 1 + _l1Clusters + _l2Tables + map.Allocated;
        for (_clusters = others; ; _clusters = others + _tableClusters + _blocks)
        {
            var blocks = DivideUp(_clusters, CountsOfBlock);
            if (blocks == _blocks) break;
            (_blocks, _tableClusters) = (blocks, DivideUp(blocks, EntriesOfTable));
        }
    }

    public override long? Bytes => _clusters * ClusterBytes;

    private long L1Offset => ClusterBytes;

    private long TableOffset => L1Offset + (_l1Clusters * ClusterBytes);

    private long BlocksOffset => TableOffset + (_tableClusters * ClusterBytes);

    private long L2Offset => BlocksOffset + (_blocks * ClusterBytes);

    private long DataOffset => L2Offset + (_l2Tables * ClusterBytes);

    public override async Task Write(Stream target, CancellationToken cancellationToken)
    {
        foreach (var cluster in Metadata()) await target.WriteAsync(cluster, cancellationToken);
        var runs = _map.Runs(UnitsOfChunk).Select(run => (run.First * ClusterBytes, run.Count * ClusterBytes));
        await foreach (var (_, data) in Read(runs, cancellationToken)) await target.WriteAsync(data, cancellationToken);
    }

    /// <summary>Cluster by cluster, in one buffer.</summary>
    private IEnumerable<ReadOnlyMemory<byte>> Metadata()
    {
        var cluster = new byte[ClusterBytes];
        WriteHeader(cluster);
        yield return cluster;

        var l2 = L2Offset;
        for (var first = 0; first < _map.Pages; first += EntriesOfTable)
        {
            Array.Clear(cluster);
            for (var index = 0; index < EntriesOfTable && first + index < _map.Pages; index++)
            {
                if (!_map.IsUsed(first + index)) continue;
                WriteEntry(cluster, index, (ulong)l2 | UsedOnce);
                l2 += ClusterBytes;
            }

            yield return cluster;
        }

        for (long first = 0; first < _tableClusters * EntriesOfTable; first += EntriesOfTable)
        {
            Array.Clear(cluster);
            for (var index = 0; index < EntriesOfTable && first + index < _blocks; index++) WriteEntry(cluster, index, (ulong)(BlocksOffset + ((first + index) * ClusterBytes)));
            yield return cluster;
        }

        for (long first = 0; first < _clusters; first += CountsOfBlock)
        {
            Array.Clear(cluster);
            for (var index = 0; index < CountsOfBlock && first + index < _clusters; index++) BinaryPrimitives.WriteUInt16BigEndian(cluster.AsSpan(index * sizeof(ushort)), 1);
            yield return cluster;
        }

        var data = DataOffset;
        for (var page = 0; page < _map.Pages; page++)
        {
            if (!_map.IsUsed(page)) continue;
            Array.Clear(cluster);
            var first = (long)page * EntriesOfTable;
            for (var index = 0; index < EntriesOfTable && first + index < _map.Units; index++)
            {
                if (!_map.Contains(first + index)) continue;
                WriteEntry(cluster, index, (ulong)data | UsedOnce);
                data += ClusterBytes;
            }

            yield return cluster;
        }
    }

    private void WriteHeader(Span<byte> header)
    {
        BinaryPrimitives.WriteUInt32BigEndian(header, Qcow2Header.Magic);
        BinaryPrimitives.WriteUInt32BigEndian(header[4..], 3);
        BinaryPrimitives.WriteUInt32BigEndian(header[20..], ClusterBits);
        BinaryPrimitives.WriteInt64BigEndian(header[24..], Disk.VirtualSizeBytes);
        BinaryPrimitives.WriteInt32BigEndian(header[36..], _map.Pages);
        BinaryPrimitives.WriteInt64BigEndian(header[40..], L1Offset);
        BinaryPrimitives.WriteInt64BigEndian(header[48..], TableOffset);
        BinaryPrimitives.WriteInt32BigEndian(header[56..], (int)_tableClusters);
        BinaryPrimitives.WriteInt32BigEndian(header[96..], RefcountOrder);
        BinaryPrimitives.WriteInt32BigEndian(header[100..], Qcow2Header.Version3Bytes);
    }

    private static void WriteEntry(Span<byte> table, int index, ulong value) => BinaryPrimitives.WriteUInt64BigEndian(table[(index * sizeof(ulong))..], value);
}
