using System.Buffers.Binary;
using System.Text;
using Instances.Library.Import;

namespace Instances.Library.Export;

/// <summary>A dynamic VHDX file, as Hyper-V creates it. It does not contain zeros.</summary>
/// <remarks>
/// All tables are before the data, so that it can be written in one pass:
/// <code>
/// 0       name, headers, region tables
/// 1 MiB   log, empty
/// 2 MiB   metadata
/// 3 MiB   table of blocks, then the blocks with data, in the disk's order
/// </code>
/// See Microsoft's [MS-VHDX] for the format.
/// </remarks>
internal sealed class VhdxFile : DiskFile
{
    private const int Kibibyte = 1 << 10;
    private const int Mebibyte = 1 << 20;
    private const int HeaderBytes = 4 * Kibibyte;
    private const int TableBytes = 64 * Kibibyte;
    private const long LogOffset = Mebibyte;
    private const long MetadataOffset = 2 * Mebibyte;
    private const long BlocksOffset = 3 * Mebibyte;
    private const long SectorsOfBitmap = 1 << 23;
    private const ulong ZeroBlock = 2;
    private const ulong PresentBlock = 6;

    /// <summary>The table of blocks has about this many entries at most: blocks are larger for larger disks.</summary>
    private const long MaxBlocks = 2 * Mebibyte;

    private readonly AllocationMap _map;
    private readonly Guid _id;
    private readonly int _blockBytes = Mebibyte;
    private readonly long _blocks;
    private readonly long _entries;
    private readonly long _present;

    public VhdxFile(LayeredDisk disk, AllocationMap map, Guid id)
        : base(disk)
    {
        (_map, _id) = (map, id);
        while (DivideUp(disk.VirtualSizeBytes, _blockBytes) > MaxBlocks) _blockBytes *= 2;
        _blocks = DivideUp(disk.VirtualSizeBytes, _blockBytes);
        _entries = _blocks + ((_blocks - 1) / BlocksOfBitmap);
        for (var block = 0L; block < _blocks; block++)
        {
            if (IsPresent(block)) _present++;
        }
    }

    public override long? Bytes => DataOffset + (_present * _blockBytes);

    private int UnitsOfBlock => _blockBytes / AllocationMap.UnitBytes;

    /// <summary>After this number of blocks the table has an entry for a bitmap, which only disks with a parent use.</summary>
    private long BlocksOfBitmap => SectorsOfBitmap * SectorBytes / _blockBytes;

    private long TableOfBlocksBytes => DivideUp(_entries * sizeof(ulong), Mebibyte) * Mebibyte;

    private long DataOffset => BlocksOffset + TableOfBlocksBytes;

    public override async Task Write(Stream target, CancellationToken cancellationToken)
    {
        foreach (var part in Tables()) await target.WriteAsync(part, cancellationToken);
        await foreach (var (_, data) in Read(Chunks(), cancellationToken)) await target.WriteAsync(data, cancellationToken);
    }

    private bool IsPresent(long block) => _map.ContainsAny(block * UnitsOfBlock, UnitsOfBlock);

    private IEnumerable<(long Offset, int Bytes)> Chunks()
    {
        for (var block = 0L; block < _blocks; block++)
        {
            if (!IsPresent(block)) continue;
            for (var place = 0; place < _blockBytes; place += ChunkBytes) yield return ((block * _blockBytes) + place, ChunkBytes);
        }
    }

    /// <summary>A mebibyte at a time, in one buffer.</summary>
    private IEnumerable<ReadOnlyMemory<byte>> Tables()
    {
        var part = new byte[Mebibyte];
        WriteHeaders(part);
        yield return part;
        Array.Clear(part);
        yield return part;
        WriteMetadata(part);
        yield return part;

        var place = DataOffset;
        const int Entries = Mebibyte / sizeof(ulong);
        for (var first = 0L; first < _entries; first += Entries)
        {
            Array.Clear(part);
            for (var index = 0; index < Entries && first + index < _entries; index++)
            {
                var (group, member) = Math.DivRem(first + index, BlocksOfBitmap + 1);
                if (member == BlocksOfBitmap) continue;
                var isPresent = IsPresent((group * BlocksOfBitmap) + member);
                Write64(part, index * sizeof(ulong), isPresent ? (ulong)place | PresentBlock : ZeroBlock);
                if (isPresent) place += _blockBytes;
            }

            yield return part;
        }
    }

    private void WriteHeaders(Span<byte> part)
    {
        "vhdxfile"u8.CopyTo(part);
        Encoding.Unicode.GetBytes("Instances").CopyTo(part[8..]);
        for (var copy = 1; copy <= 2; copy++) WriteHeader(part.Slice(copy * TableBytes, HeaderBytes), (ulong)copy);
        for (var copy = 3; copy <= 4; copy++) WriteRegions(part.Slice(copy * TableBytes, TableBytes));
    }

    private void WriteHeader(Span<byte> header, ulong sequence)
    {
        "head"u8.CopyTo(header);
        Write64(header, 8, sequence);
        _id.TryWriteBytes(header[16..]); // of the last write to the file,
        _id.TryWriteBytes(header[32..]); // and to the disk; behind it that of the log, which is none
        BinaryPrimitives.WriteUInt16LittleEndian(header[66..], 1);
        Write32(header, 68, Mebibyte);
        Write64(header, 72, (ulong)LogOffset);
        VhdxNumbers.Seal(header);
    }

    private void WriteRegions(Span<byte> table)
    {
        "regi"u8.CopyTo(table);
        Write32(table, 8, 2);
        WriteRegion(table[16..], VhdxRegions.BlocksId, BlocksOffset, TableOfBlocksBytes);
        WriteRegion(table[48..], VhdxRegions.MetadataId, MetadataOffset, Mebibyte);
        VhdxNumbers.Seal(table);
    }

    private static void WriteRegion(Span<byte> entry, Guid id, long offset, long bytes)
    {
        id.TryWriteBytes(entry);
        Write64(entry, 16, (ulong)offset);
        Write32(entry, 24, (uint)bytes);
        Write32(entry, 28, 1); // required
    }

    private void WriteMetadata(Span<byte> part)
    {
        const uint IsOfDisk = 2;
        const uint IsRequired = 4;
        "metadata"u8.CopyTo(part);
        var (count, place) = (0, TableBytes);
        Add(part, VhdxMetadata.ParametersId, BitConverter.GetBytes((ulong)_blockBytes), IsRequired); // and flags, none of which is set
        Add(part, VhdxMetadata.VirtualSizeId, BitConverter.GetBytes(Disk.VirtualSizeBytes), IsRequired | IsOfDisk);
        Add(part, VhdxMetadata.Page83Id, _id.ToByteArray(), IsRequired | IsOfDisk);
        Add(part, VhdxMetadata.LogicalSectorId, BitConverter.GetBytes(SectorBytes), IsRequired | IsOfDisk);
        Add(part, VhdxMetadata.PhysicalSectorId, BitConverter.GetBytes(SectorBytes), IsRequired | IsOfDisk);
        BinaryPrimitives.WriteUInt16LittleEndian(part[10..], (ushort)count);

        void Add(Span<byte> metadata, Guid id, byte[] value, uint flags)
        {
            var entry = metadata[(++count * 32)..];
            id.TryWriteBytes(entry);
            Write32(entry, 16, (uint)place);
            Write32(entry, 20, (uint)value.Length);
            Write32(entry, 24, flags);
            value.CopyTo(metadata[place..]);
            place += value.Length;
        }
    }

    private static void Write32(Span<byte> bytes, int offset, uint value) => BinaryPrimitives.WriteUInt32LittleEndian(bytes[offset..], value);

    private static void Write64(Span<byte> bytes, int offset, ulong value) => BinaryPrimitives.WriteUInt64LittleEndian(bytes[offset..], value);
}
