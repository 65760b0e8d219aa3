using System.Buffers.Binary;
using System.Text;
using Instances.Library.Import;

namespace Instances.Library.Export;

/// <summary>The positions of the parts of a qcow2 file of version 3, and its parent.</summary>
/// <param name="Tables">The number of entries of the L1 table.</param>
/// <param name="Backing">The relative name of the parent layer, or null for none.</param>
internal readonly record struct Qcow2Layout(long VirtualSizeBytes, int Tables, long L1Offset, long ReferencesOffset, Qcow2References References, Qcow2Features Features = Qcow2Features.None, string? Backing = null)
{
    public const int ClusterBits = 16;
    public const int ClusterBytes = 1 << ClusterBits;

    /// <summary>The most entries of an L1 table that QEMU reads.</summary>
    public const int MaxTables = (32 << 20) / sizeof(ulong);

    /// <summary>A flag in a table's entry: the reference count is one.</summary>
    public const ulong UsedOnce = 1UL << 63;

    private const string BackingFormat = "qcow2";

    /// <summary>Writes the first cluster.</summary>
    /// <param name="cluster">A buffer of zeros.</param>
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

        // The extension with the backing format, padded to 8 bytes; the end of the extensions, which is zeros; the name.
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

/// <summary>The reference counts of a qcow2 file whose clusters are each used once: a table, followed by its blocks.</summary>
internal sealed class Qcow2References
{
    /// <summary>Log2 of the bits of a count.</summary>
    public const int Order = 4;

    private const int EntriesOfTable = Qcow2Layout.ClusterBytes / sizeof(ulong);
    private const int CountsOfBlock = Qcow2Layout.ClusterBytes / sizeof(ushort);

    private readonly long _blocks;

    /// <param name="others">The number of the file's other clusters.</param>
    public Qcow2References(long others)
    {
        // They count themselves too: add more until all are counted.
        for (FileClusters = others; ; FileClusters = others + TableClusters + _blocks)
        {
            var blocks = DivideUp(FileClusters, CountsOfBlock);
            if (blocks == _blocks) break;
            (_blocks, TableClusters) = (blocks, DivideUp(blocks, EntriesOfTable));
        }
    }

    /// <summary>The number of all clusters of the file.</summary>
    public long FileClusters { get; }

    public long TableClusters { get; }

    public long Bytes => (TableClusters + _blocks) * Qcow2Layout.ClusterBytes;

    /// <summary>Cluster by cluster, in one buffer.</summary>
    /// <param name="offset">Their offset in the file.</param>
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
