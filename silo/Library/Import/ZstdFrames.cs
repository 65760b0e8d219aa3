using System.Buffers.Binary;

namespace Instances.Library.Import;

/// <summary>The frames of a .zst file: the header and the chain of blocks of each. Skippable frames, which hold no data, may come between them.</summary>
internal sealed class ZstdFrames
{
    /// <summary>The same bound as the program's. Its strongest setting needs no more.</summary>
    public const ulong MaxWindowBytes = 128 << 20;

    private const int MaxHeaderBytes = 18;
    private const int SkippableHeaderBytes = 8;
    private const int BlockHeaderBytes = 3;
    private const int ChecksumBytes = 4;
    private const int RunLength = 1;
    private const int Reserved = 3;

    /// <summary>Twice the number of blocks of the largest disk. For all frames together; a skippable frame counts as one block.</summary>
    private const int MaxBlocks = 1 << 25;

    /// <summary>The skippable frames that may stand before the first frame with data.</summary>
    private const int MaxSkippedFirst = 16;

    private readonly FileReader _file;
    private readonly byte[] _buffer = new byte[64 << 10];
    private ulong _bufferOffset;
    private int _bufferBytes;
    private int _blocks;

    private ZstdFrames(FileReader file) => _file = file;

    /// <summary>The frames must fill the file.</summary>
    public static void Check(FileReader file, long maxBytes) => new ZstdFrames(file).Check(maxBytes);

    /// <summary>Whether a file begins with a frame. Skippable frames may come first, as pzstd writes them.</summary>
    public static bool Recognizes(FileReader file)
    {
        var offset = 0UL;
        for (var count = 0; count < MaxSkippedFirst && SkipFrame(file, offset) is { } next; count++) offset = next;
        return IsFrame(HeadAt(file, offset));
    }

    private void Check(long maxBytes)
    {
        var expanded = (UInt128)0;
        for (var offset = 0UL; offset < _file.Bytes;)
        {
            if (SkipFrame(_file, offset) is { } next)
            {
                CountBlock();
                offset = next <= _file.Bytes ? next : throw Malformed();
                continue;
            }

            var (end, size) = CheckFrame(offset);
            expanded += size;
            if (expanded > (UInt128)maxBytes)
                throw ImportFaults.ExpandsTooFar(maxBytes);
            offset = end;
        }
    }

    /// <returns>Where a skippable frame ends, or null for another one.</returns>
    private static ulong? SkipFrame(FileReader file, ulong offset) => HeadAt(file, offset) is [>= 0x50 and <= 0x5F, 0x2A, 0x4D, 0x18, _, _, _, _, ..] head
        ? offset + SkippableHeaderBytes + BinaryPrimitives.ReadUInt32LittleEndian(head.AsSpan(4))
        : null;

    private static bool IsFrame(byte[] head) => head is [0x28, 0xB5, 0x2F, 0xFD, ..];

    private static byte[] HeadAt(FileReader file, ulong offset) => offset < file.Bytes ? file.Read(offset, (int)Math.Min(file.Bytes - offset, MaxHeaderBytes), "header") : [];

    /// <returns>Where the frame ends, and how many bytes it says that it expands to; 0 if it does not say.</returns>
    private (ulong End, ulong ExpandedBytes) CheckFrame(ulong offset)
    {
        var head = HeadAt(_file, offset);
        if (!IsFrame(head) || head.Length < 6)
            throw Malformed();
        var (isSingleSegment, hasChecksum, sizeCode) = ((head[4] & 0x20) != 0, (head[4] & 4) != 0, head[4] >> 6);
        if ((head[4] & 8) != 0 || (head[4] & 3) != 0)
            throw ImportFaults.Malformed("its zstd frame wants a dictionary, or has bits that have no meaning");

        var sizeBytes = sizeCode == 0 ? (isSingleSegment ? 1 : 0) : 1 << sizeCode;
        var sizeOffset = isSingleSegment ? 5 : 6;
        if (head.Length < sizeOffset + sizeBytes)
            throw Malformed();
        var size = sizeBytes == 0 ? (ulong?)null : ReadSize(head.AsSpan(sizeOffset, sizeBytes));
        var windowBase = 1UL << (10 + (head[5] >> 3));
        if ((isSingleSegment ? size!.Value : windowBase + (windowBase / 8 * (uint)(head[5] & 7))) > MaxWindowBytes)
            throw ImportFaults.Malformed("its compression needs more memory than is allowed");
        return (CheckBlocks(offset + (ulong)(sizeOffset + sizeBytes), hasChecksum), size ?? 0);
    }

    private ulong CheckBlocks(ulong offset, bool hasChecksum)
    {
        while (true)
        {
            CountBlock();
            var header = ReadBlockHeader(offset);
            var (isLast, kind, bytes) = ((header & 1) != 0, (header >> 1) & 3, header >> 3);
            if (kind == Reserved)
                throw Malformed();
            offset += BlockHeaderBytes + (kind == RunLength ? 1UL : bytes);
            if (!isLast)
                continue;
            var end = offset + (hasChecksum ? ChecksumBytes : 0UL);
            return end <= _file.Bytes ? end : throw Malformed();
        }
    }

    private void CountBlock()
    {
        if (++_blocks > MaxBlocks)
            throw ImportFaults.Malformed("it is compressed in too many blocks");
    }

    private uint ReadBlockHeader(ulong offset)
    {
        if (!_file.Holds(offset, BlockHeaderBytes))
            throw Malformed();
        if (offset < _bufferOffset || offset + BlockHeaderBytes > _bufferOffset + (uint)_bufferBytes)
        {
            _bufferOffset = offset;
            _bufferBytes = (int)Math.Min((ulong)_buffer.Length, _file.Bytes - offset);
            _file.Read(offset, _buffer.AsSpan(0, _bufferBytes), "frame");
        }

        var header = _buffer.AsSpan((int)(offset - _bufferOffset), BlockHeaderBytes);
        return header[0] | ((uint)header[1] << 8) | ((uint)header[2] << 16);
    }

    private static ulong ReadSize(ReadOnlySpan<byte> raw) => raw.Length switch
    {
        1 => raw[0],
        2 => BinaryPrimitives.ReadUInt16LittleEndian(raw) + 256UL,
        4 => BinaryPrimitives.ReadUInt32LittleEndian(raw),
        _ => BinaryPrimitives.ReadUInt64LittleEndian(raw),
    };

    private static Exception Malformed() => ImportFaults.Malformed("its zstd frame is cut or damaged, or something follows");
}
