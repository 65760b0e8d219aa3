using System.Buffers.Binary;
using System.Text;
using Instances.Library.Import;

namespace Instances.Library.Export;

/// <summary>Where the parts of a qcow2 file of version 3 are, and what lies below it.</summary>
/// <param name="Tables">How many entries the L1 table has.</param>
/// <param name="Backing">The relative name of the layer below, or null for none.</param>
internal readonly record struct Qcow2Layout(long VirtualSizeBytes, int Tables, long L1Offset, long ReferencesOffset, Qcow2References References, Qcow2Features Features = Qcow2Features.None, string? Backing = null)
{
    public const int ClusterBits = 16;
    public const int ClusterBytes = 1 << ClusterBits;

    /// <summary>The most entries of an L1 table that QEMU reads.</summary>
    public const int MaxTables = (32 << 20) / sizeof(ulong);

    /// <summary>In an entry of a table: what it names is used once.</summary>
    public const ulong UsedOnce = 1UL << 63;

    private const string BackingFormat = "qcow2";

    /// <summary>Writes the first cluster.</summary>
    /// <param name="cluster">Of zeros.</param>
    public void WriteHeader(Span<byte> cluster)
    {
        BinaryPrimitives.WriteUInt32BigEndian(cluster, Qcow2Header.Magic);
        BinaryPrimitives.WriteUInt32BigEndian(cluster[4..], 3);
        BinaryPrimitives.WriteUInt32BigEndian(cluster[20..], ClusterBits);
        BinaryPrimitives.WriteInt64BigEndian(cluster[24..], VirtualSizeBytes);
        BinaryPrimitives.WriteInt32BigEndian(cluster[36..], Tables);
        BinaryPrimitives.WriteInt64BigEndian(cluster[40..], L1Offset);
        BinaryPrimitives.WriteInt64BigEndian(cluster[48..], ReferencesOffset);
        BinaryPrimitives.WriteInt32BigEndian(cluster[56..], (int)References.TableClusters);
        BinaryPrimitives.WriteUInt64BigEndian(cluster[72..], (ulong)Features);
        BinaryPrimitives.WriteInt32BigEndian(cluster[96..], Qcow2References.Order);
        BinaryPrimitives.WriteInt32BigEndian(cluster[100..], Qcow2Header.Version3Bytes);
        if (Backing is null) return;

        // The extension with the format below, padded to 8 bytes; one that ends them, which is all zeros; the name.
        var extension = cluster[Qcow2Header.Version3Bytes..];
        BinaryPrimitives.WriteUInt32BigEndian(extension, (uint)Qcow2Extension.BackingFormat);
        BinaryPrimitives.WriteInt32BigEndian(extension[4..], BackingFormat.Length);
        Encoding.ASCII.GetBytes(BackingFormat, extension[8..]);
        const int NameOffset = Qcow2Header.Version3Bytes + 8 + 8 + 8;
        BinaryPrimitives.WriteInt64BigEndian(cluster[8..], NameOffset);
        BinaryPrimitives.WriteInt32BigEndian(cluster[16..], Encoding.ASCII.GetBytes(Backing, cluster[NameOffset..]));
    }

    public static void WriteEntry(Span<byte> table, int index, ulong value) => BinaryPrimitives.WriteUInt64BigEndian(table[(index * sizeof(ulong))..], value);
}

/// <summary>The reference counts of a qcow2 file of which every cluster is used once: a table, and the blocks that it names behind it.</summary>
internal sealed class Qcow2References
{
    /// <summary>Log2 of the bits of a count.</summary>
    public const int Order = 4;

    private const int EntriesOfTable = Qcow2Layout.ClusterBytes / sizeof(ulong);
    private const int CountsOfBlock = Qcow2Layout.ClusterBytes / sizeof(ushort);

    private readonly long _blocks;

    /// <param name="others">How many clusters the file has without them.</param>
    public Qcow2References(long others)
    {
        // They count themselves, too: more of them until all are counted.
        for (FileClusters = others; ; FileClusters = others + TableClusters + _blocks)
        {
            var blocks = DivideUp(FileClusters, CountsOfBlock);
            if (blocks == _blocks) break;
            (_blocks, TableClusters) = (blocks, DivideUp(blocks, EntriesOfTable));
        }
    }

    /// <summary>How many clusters the file has with them.</summary>
    public long FileClusters { get; }

    public long TableClusters { get; }

    public long Bytes => (TableClusters + _blocks) * Qcow2Layout.ClusterBytes;

    /// <summary>Cluster by cluster, in one buffer.</summary>
    /// <param name="offset">Where they begin in the file.</param>
    public IEnumerable<ReadOnlyMemory<byte>> Clusters(long offset)
    {
        var cluster = new byte[Qcow2Layout.ClusterBytes];
        var blocks = offset + (TableClusters * Qcow2Layout.ClusterBytes);
        for (long first = 0; first < TableClusters * EntriesOfTable; first += EntriesOfTable)
        {
            Array.Clear(cluster);
            for (var index = 0; index < EntriesOfTable && first + index < _blocks; index++)
                Qcow2Layout.WriteEntry(cluster, index, (ulong)(blocks + ((first + index) * Qcow2Layout.ClusterBytes)));
            yield return cluster;
        }

        for (long first = 0; first < FileClusters; first += CountsOfBlock)
        {
            Array.Clear(cluster);
            for (var index = 0; index < CountsOfBlock && first + index < FileClusters; index++) BinaryPrimitives.WriteUInt16BigEndian(cluster.AsSpan(index * sizeof(ushort)), 1);
            yield return cluster;
        }
    }

    private static long DivideUp(long number, long by) => (number + by - 1) / by;
}
