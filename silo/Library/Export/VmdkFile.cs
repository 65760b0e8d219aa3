using System.Buffers.Binary;
using System.Globalization;
using System.IO.Compression;
using System.Text;

namespace Instances.Library.Export;

/// <summary>A stream-optimized VMDK file, as it is in an OVF: each grain of 64 KiB is compressed separately. It does not contain grains of zeros.</summary>
/// <remarks>
/// It can be written in one pass, because the tables are after the data.
/// <code>
/// header, description | grains, behind the last one of every 32 MiB their table | directory of the tables | footer: the header once more, with the directory's place | end
/// </code>
/// Each begins at a sector, with a marker before it. See VMware's "Virtual Disk Format 5.0" for the format.
/// </remarks>
internal sealed class VmdkFile : DiskFile
{
    private const int GrainBytes = AllocationMap.UnitBytes;
    private const int GrainSectors = GrainBytes / SectorBytes;
    private const int GrainsOfTable = 512;
    private const int DescriptionSectors = 20;
    private const int OverheadSectors = GrainSectors;
    private const int GrainMarkerBytes = 12;
    private const uint TableMarker = 1;
    private const uint DirectoryMarker = 2;
    private const uint FooterMarker = 3;
    private const ulong DirectoryInFooter = ulong.MaxValue;
    private const uint Flags = 1 | (1 << 16) | (1 << 17); // line ends can be checked; compressed; with markers

    /// <summary>The largest size of an incompressible grain with its marker.</summary>
    private const int MaxSectorsOfGrain = GrainSectors + 2;

    private readonly AllocationMap _map;
    private readonly Guid _id;
    private readonly uint[] _directory;
    private readonly uint[] _table = new uint[GrainsOfTable];
    private readonly MemoryStream _grain = new(GrainBytes * 2);
    private long _sector;

    /// <exception cref="Faults.FaultException">export-format-unsupported.</exception>
    public VmdkFile(LayeredDisk disk, AllocationMap map, Guid id)
        : base(disk)
    {
        (_map, _id) = (map, id);
        _directory = new uint[DivideUp(map.Units, GrainsOfTable)];
        if (OverheadSectors + (map.Allocated * MaxSectorsOfGrain) + (_directory.Length * 8L) > uint.MaxValue)
            throw ExportFaults.FormatUnsupported("The image may need more than the 2 TiB that a VMDK file can have.");
    }

    public override long? Bytes => null;

    public override async Task Write(Stream target, CancellationToken cancellationToken)
    {
        await Put(target, Head(), cancellationToken);
        var table = 0L;
        var grains = _map.Runs(most: 1).Select(run => (run.First * GrainBytes, GrainBytes));
        await foreach (var (offset, data) in Read(grains, cancellationToken))
        {
            if (!data.Span.ContainsAnyExcept((byte)0)) continue;
            var (tableOfGrain, place) = Math.DivRem(offset / GrainBytes, GrainsOfTable);
            if (tableOfGrain != table) await PutTable(target, table, cancellationToken);
            table = tableOfGrain;
            _table[place] = (uint)_sector;
            await Put(target, Compress(offset / SectorBytes, data.Span), cancellationToken);
        }

        await PutTable(target, table, cancellationToken);
        await Put(target, Marker(DirectoryMarker, DivideUp(_directory.Length * sizeof(uint), SectorBytes)), cancellationToken);
        var directory = _sector;
        await Put(target, Entries(_directory), cancellationToken);
        await Put(target, Marker(FooterMarker, sectors: 1), cancellationToken);
        await Put(target, Header((ulong)directory), cancellationToken);
        await Put(target, new byte[SectorBytes], cancellationToken);
    }

    /// <summary>Writes whole sectors.</summary>
    private async Task Put(Stream target, ReadOnlyMemory<byte> bytes, CancellationToken cancellationToken)
    {
        await target.WriteAsync(bytes, cancellationToken);
        _sector += bytes.Length / SectorBytes;
    }

    /// <summary>A table that is all zeros is not written.</summary>
    private async Task PutTable(Stream target, long table, CancellationToken cancellationToken)
    {
        if (!_table.AsSpan().ContainsAnyExcept(0u)) return;
        await Put(target, Marker(TableMarker, GrainsOfTable * sizeof(uint) / SectorBytes), cancellationToken);
        _directory[table] = (uint)_sector;
        await Put(target, Entries(_table), cancellationToken);
        Array.Clear(_table);
    }

    private ReadOnlyMemory<byte> Compress(long sector, ReadOnlySpan<byte> data)
    {
        _grain.SetLength(GrainMarkerBytes);
        _grain.Position = GrainMarkerBytes;
        using (var zlib = new ZLibStream(_grain, CompressionLevel.Fastest, leaveOpen: true)) zlib.Write(data);
        var bytes = (int)_grain.Length - GrainMarkerBytes;
        _grain.SetLength(DivideUp(_grain.Length, SectorBytes) * SectorBytes);
        var marked = _grain.GetBuffer().AsMemory(0, (int)_grain.Length);
        BinaryPrimitives.WriteInt64LittleEndian(marked.Span, sector);
        BinaryPrimitives.WriteInt32LittleEndian(marked.Span[8..], bytes);
        return marked;
    }

    private byte[] Head()
    {
        var head = new byte[OverheadSectors * SectorBytes];
        Header(DirectoryInFooter).CopyTo(head, 0);
        Encoding.ASCII.GetBytes(Description()).CopyTo(head, SectorBytes);
        return head;
    }

    private byte[] Header(ulong directorySector)
    {
        var header = new byte[SectorBytes];
        "KDMV"u8.CopyTo(header);
        Write32(4, 3);
        Write32(8, Flags);
        Write64(12, (ulong)(Disk.VirtualSizeBytes / SectorBytes));
        Write64(20, GrainSectors);
        Write64(28, 1);
        Write64(36, DescriptionSectors);
        Write32(44, GrainsOfTable);
        Write64(56, directorySector);
        Write64(64, OverheadSectors);
        "\n \r\n"u8.CopyTo(header.AsSpan(73));
        header[77] = 1; // deflate
        return header;

        void Write32(int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(header.AsSpan(offset), value);
        void Write64(int offset, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(header.AsSpan(offset), value);
    }

    private string Description()
    {
        const int Heads = 16;
        const int SectorsOfTrack = 63;
        var sectors = Disk.VirtualSizeBytes / SectorBytes;
        return string.Create(CultureInfo.InvariantCulture, $"""
            # Disk DescriptorFile
            version=1
            CID={BitConverter.ToUInt32(_id.ToByteArray()) & 0x7FFF_FFFF:x8}
            parentCID=ffffffff
            createType="streamOptimized"

            # Extent description
            RW {sectors} SPARSE "disk.vmdk"

            # The Disk Data Base
            #DDB

            ddb.virtualHWVersion = "4"
            ddb.geometry.cylinders = "{sectors / (Heads * SectorsOfTrack)}"
            ddb.geometry.heads = "{Heads}"
            ddb.geometry.sectors = "{SectorsOfTrack}"
            ddb.adapterType = "ide"

            """).ReplaceLineEndings("\n");
    }

    private static byte[] Marker(uint type, long sectors)
    {
        var marker = new byte[SectorBytes];
        BinaryPrimitives.WriteInt64LittleEndian(marker, sectors);
        BinaryPrimitives.WriteUInt32LittleEndian(marker.AsSpan(12), type);
        return marker;
    }

    private static byte[] Entries(uint[] table)
    {
        var raw = new byte[DivideUp(table.Length * sizeof(uint), SectorBytes) * SectorBytes];
        Buffer.BlockCopy(table, 0, raw, 0, table.Length * sizeof(uint));
        return raw;
    }
}
