using System.Buffers.Binary;

namespace Instances.Library.Import;

/// <summary>The frame of a .zst file: its header, and the chain of its blocks up to the end of the file.</summary>
internal sealed class ZstdFrame
{
    /// <summary>The same bound as the program's. Its strongest setting needs no more.</summary>
    public const ulong MaxWindowBytes = 128 << 20;

    private const int MaxHeaderBytes = 18;
    private const int BlockHeaderBytes = 3;
    private const int ChecksumBytes = 4;
    private const int RunLength = 1;
    private const int Reserved = 3;

    /// <summary>Twice the number of blocks of the largest disk.</summary>
    private const int MaxBlocks = 1 << 25;

    private readonly FileReader _file;
    private readonly byte[] _buffer = new byte[64 << 10];
    private ulong _bufferOffset;
    private int _bufferBytes;

    private ZstdFrame(FileReader file) => _file = file;

    public static void Check(FileReader file, long maxBytes) => new ZstdFrame(file).Check(maxBytes);

    private void Check(long maxBytes)
    {
        var head = _file.Read(0, (int)Math.Min(_file.Bytes, MaxHeaderBytes), "header");
        if (head.Length < 6)
            throw Malformed();
        var (isSingleSegment, hasChecksum, sizeCode) = ((head[4] & 0x20) != 0, (head[4] & 4) != 0, head[4] >> 6);
        if ((head[4] & 8) != 0 || (head[4] & 3) != 0)
            throw ImportFaults.Malformed("its zstd frame wants a dictionary, or has bits that have no meaning");

        var sizeBytes = sizeCode == 0 ? (isSingleSegment ? 1 : 0) : 1 << sizeCode;
        var sizeOffset = isSingleSegment ? 5 : 6;
        if (head.Length < sizeOffset + sizeBytes)
            throw Malformed();
        var size = sizeBytes == 0 ? (ulong?)null : ReadSize(head.AsSpan(sizeOffset, sizeBytes));
        if (size > (ulong)maxBytes)
            throw ImportFaults.ExpandsTooFar(maxBytes);

        var windowBase = 1UL << (10 + (head[5] >> 3));
        if ((isSingleSegment ? size!.Value : windowBase + (windowBase / 8 * (uint)(head[5] & 7))) > MaxWindowBytes)
            throw ImportFaults.Malformed("its compression needs more memory than is allowed");
        CheckBlocks((ulong)(sizeOffset + sizeBytes), hasChecksum);
    }

    private void CheckBlocks(ulong offset, bool hasChecksum)
    {
        for (var count = 0; count < MaxBlocks; count++)
        {
            var header = ReadBlockHeader(offset);
            var (isLast, kind, bytes) = ((header & 1) != 0, (header >> 1) & 3, header >> 3);
            if (kind == Reserved)
                throw Malformed();
            offset += BlockHeaderBytes + (kind == RunLength ? 1UL : bytes);
            if (!isLast)
                continue;
            if (offset + (hasChecksum ? ChecksumBytes : 0UL) != _file.Bytes)
                throw ImportFaults.Malformed("its zstd frame is cut, or something follows");
            return;
        }

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

    private static Exception Malformed() => ImportFaults.Malformed("its zstd frame is cut or damaged");
}
