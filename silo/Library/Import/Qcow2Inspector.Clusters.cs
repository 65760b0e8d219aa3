using System.Buffers.Binary;
using System.IO.Compression;
using System.Numerics;

namespace Instances.Library.Import;

/// <summary>Checks the L2 tables: each cluster of data must be completely in the file, and be named only once.</summary>
internal sealed partial class Qcow2Inspector
{
    private const ulong CompressedFlag = 1UL << 62;

    /// <summary>The most tracked clusters, one bit each. If a file has more, only their number is checked.</summary>
    private const long MaxTrackedClusters = 1L << 29;

    /// <summary>The size to which compressed clusters of any file may expand, and the largest factor above it. Deflate cannot reach more.</summary>
    private const long FreeExpansionBytes = 1L << 30;
    private const long MaxExpansion = 1032;

    /// <summary>A sector contains at most eight of them: eight of the smallest results of deflate for a cluster.</summary>
    private const int MaxClustersAtTheEnd = 64;

    private int _clustersAtTheEnd;
    private long _dataClusters;
    private long _compressedClusters;

    /// <summary>The part of the last cluster after the disk's end, which the writer may have omitted.</summary>
    private ulong BehindTheDisk => (ulong)((ClusterBytes - (_virtualBytes % ClusterBytes)) % ClusterBytes);
    private ulong[] _used = [];

    private void CheckClusters(List<ulong> l2Tables)
    {
        var clusters = (_fileBytes + ClusterBytes - 1) >> _clusterBits;
        _used = clusters <= MaxTrackedClusters ? new ulong[(clusters / 64) + 1] : [];
        foreach (var table in _tables)
        {
            for (var offset = table.Offset; offset < table.Offset + table.Bytes; offset += (ulong)ClusterBytes)
                Use(offset);
        }

        _referenceBlocks.ForEach(Use);
        l2Tables.ForEach(Use);
        var raw = new byte[ClusterBytes];
        foreach (var offset in l2Tables)
        {
            ReadInto(raw, (long)offset);
            CheckL2Table(raw);
        }

        if (_dataClusters > clusters)
            throw ImportFaults.Corrupt("it names more clusters than it has");
        var bound = FreeExpansionBytes + (Math.Min(_fileBytes, long.MaxValue / 2 / MaxExpansion) * MaxExpansion);
        if (_compressedClusters > bound >> _clusterBits)
            throw ImportFaults.ExpandsTooFar(bound);
    }

    private void CheckL2Table(ReadOnlySpan<byte> table)
    {
        var entryBytes = _features.HasFlag(Qcow2Features.ExtendedL2) ? 16 : 8;
        for (var place = 0; place < table.Length; place += entryBytes)
        {
            var entry = BinaryPrimitives.ReadUInt64BigEndian(table[place..]);
            if (entry == 0)
                continue;
            if ((entry & CompressedFlag) != 0)
            {
                // The bits above the offset are a length. Its width depends on the cluster size.
                _compressedClusters++;
                var lengthShift = 70 - _clusterBits;
                var start = entry & ((1UL << lengthShift) - 1);
                if (start >= (ulong)_fileBytes)
                    throw ImportFaults.Corrupt("it has compressed clusters outside the file");
                var sectors = ((entry & (CompressedFlag - 1)) >> lengthShift) + 1;
                if (((start / SectorBytes) + sectors) * SectorBytes > (ulong)_fileBytes) RequireWholeCompressed(start);
                continue;
            }

            if ((entry & OffsetMask) is not 0 and var offset)
            {
                Use(offset);
                RequireWhole(offset, entryBytes == 16 ? UsedBytes(BinaryPrimitives.ReadUInt32BigEndian(table[(place + 12)..])) : (ulong)ClusterBytes);
            }
        }
    }

    /// <summary>The end of the last subcluster with data. The following subclusters need not be in the file.</summary>
    private ulong UsedBytes(uint allocated) => (ulong)((32 - BitOperations.LeadingZeroCount(allocated)) * (ClusterBytes / 32));

    /// <summary>Other programs read zeros for the missing part of a truncated cluster.</summary>
    private void RequireWhole(ulong offset, ulong bytes)
    {
        var end = offset + bytes;
        if (end > (ulong)_fileBytes && end - (ulong)_fileBytes > BehindTheDisk)
            throw ImportFaults.Malformed("it ends within a cluster");
    }

    /// <summary>For the last compressed cluster only the number of its sectors is known. If the file ends within them, only expanding the cluster shows whether it is complete. Other programs read zeros for the missing part.</summary>
    private void RequireWholeCompressed(ulong start)
    {
        var isCut = _features.HasFlag(Qcow2Features.CompressionType) || ++_clustersAtTheEnd > MaxClustersAtTheEnd;
        if (!isCut)
        {
            var compressed = Read((long)start, (int)Math.Min(_fileBytes - (long)start, 2 * ClusterBytes));
            try
            {
                using var expanded = new DeflateStream(new MemoryStream(compressed), CompressionMode.Decompress);
                isCut = expanded.ReadAtLeast(new byte[ClusterBytes], (int)ClusterBytes, throwOnEndOfStream: false) < ClusterBytes;
            }
            catch (InvalidDataException)
            {
                isCut = true;
            }
        }

        if (isCut)
            throw ImportFaults.Malformed("it ends within a compressed cluster");
    }

    private void Use(ulong offset)
    {
        if (offset < (ulong)ClusterBytes || offset % (ulong)ClusterBytes != 0 || offset >= (ulong)_fileBytes)
            throw ImportFaults.Corrupt("it has clusters outside the file");
        _dataClusters++;
        if (_used.Length == 0)
            return;

        var (word, bit) = ((int)(offset >> _clusterBits >> 6), 1UL << (int)(offset >> _clusterBits & 63));
        if ((_used[word] & bit) != 0)
            throw ImportFaults.Corrupt("it names a cluster twice");
        _used[word] |= bit;
    }
}
