using static Instances.Library.Export.Qcow2Layout;

namespace Instances.Library.Export;

/// <summary>A qcow2 file of version 3 with clusters of 64 KiB, without a backing file. It does not contain zeros.</summary>
/// <remarks>
/// All tables are before the data, so that it can be written in one pass:
/// <code>
/// header | L1 table | reference table | reference blocks | L2 tables that are in use | clusters with data, in the disk's order
/// </code>
/// Each begins at a cluster. Every cluster of the file is used once.
/// </remarks>
internal sealed class Qcow2File : DiskFile
{
    private const int EntriesOfTable = AllocationMap.UnitsOfPage;

    private readonly AllocationMap _map;
    private readonly long _l1Clusters;
    private readonly long _l2Tables;
    private readonly Qcow2References _references;

    public Qcow2File(LayeredDisk disk, AllocationMap map)
        : base(disk)
    {
        _map = map;
        _l1Clusters = DivideUp(map.Pages, EntriesOfTable);
        _l2Tables = Enumerable.Range(0, map.Pages).LongCount(map.IsUsed);
        _references = new(1 + _l1Clusters + _l2Tables + map.Allocated);
    }

    public override long? Bytes => _references.FileClusters * ClusterBytes;

    private static long L1Offset => ClusterBytes;

    private long ReferencesOffset => L1Offset + (_l1Clusters * ClusterBytes);

    private long L2Offset => ReferencesOffset + _references.Bytes;

    private long DataOffset => L2Offset + (_l2Tables * ClusterBytes);

    public override async Task Write(Stream target, CancellationToken cancellationToken)
    {
        foreach (var cluster in Metadata()) await target.WriteAsync(cluster, cancellationToken);
        var runs = _map.Runs(UnitsOfChunk).Select(run => (run.First * ClusterBytes, run.Count * ClusterBytes));
        await foreach (var (_, data) in Read(runs, cancellationToken)) await target.WriteAsync(data, cancellationToken);
    }

    /// <summary>The clusters, each valid until the next one is requested.</summary>
    private IEnumerable<ReadOnlyMemory<byte>> Metadata()
    {
        var cluster = new byte[ClusterBytes];
        new Qcow2Layout(Disk.VirtualSizeBytes, _map.Pages, L1Offset, ReferencesOffset, _references).WriteHeader(cluster);
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

        foreach (var counts in _references.Clusters(ReferencesOffset)) yield return counts;

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
}
