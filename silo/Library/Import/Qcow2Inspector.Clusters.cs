using System.Buffers.Binary;
using System.IO.Compression;
using System.Numerics;

namespace Instances.Library.Import;

/// <summary>The L2 tables: each cluster of data lies whole in the file, and is there once.</summary>
internal sealed partial class Qcow2Inspector
{
    private const ulong CompressedFlag = 1UL << 62;

    /// <summary>Bits of memory, one for each cluster of the file; where it has more, their number alone is checked.</summary>
    private const long MaxTrackedClusters = 1L << 29;

    /// <summary>What compressed clusters may expand to, whatever the file's length; and how many times that length further. Deflate reaches no more.</summary>
    private const long FreeExpansionBytes = 1L << 30;
    private const long MaxExpansion = 1032;

    /// <summary>A sector holds at most eight of them, if the smallest that deflate makes of a cluster follow one another.</summary>
    private const int MaxClustersAtTheEnd = 64;

    private int _clustersAtTheEnd;
    private long _dataClusters;
    private long _compressedClusters;

    /// <summary>What the last cluster of the disk has behind the disk's end, which its writer may have left out.</summary>
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
                // The bits above the offset are a length, which shrinks as clusters do.
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

    /// <summary>Where the last of the 32 parts of a cluster ends that have data; of the others nothing need be in the file.</summary>
    private ulong UsedBytes(uint allocated) => (ulong)((32 - BitOperations.LeadingZeroCount(allocated)) * (ClusterBytes / 32));

    /// <summary>Programs that read a file that ends within a cluster take zeros for what is missing.</summary>
    private void RequireWhole(ulong offset, ulong bytes)
    {
        var end = offset + bytes;
        if (end > (ulong)_fileBytes && end - (ulong)_fileBytes > BehindTheDisk)
            throw ImportFaults.Malformed("it ends within a cluster");
    }

    /// <summary>Of the last compressed cluster only the number of its sectors is known: whether the file that ends within them holds all of it, only expanding it tells. Programs that read it take zeros for what is missing.</summary>
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
