using System.Buffers.Binary;

namespace Instances.Library.Import;

/// <summary>The streams of an .xz file. The index at the end of a stream lists its blocks, and so tells where the stream begins. So the last stream is read first.</summary>
internal static class XzStreams
{
    private const int HeaderBytes = 12;
    private const int FooterBytes = 12;
    private const int MaxNumberBytes = 9;

    /// <summary>Bounds the number of blocks of all streams: 16 Mi of the smallest, more than a disk has in the sizes that programs write.</summary>
    private const int MaxIndexBytes = FileReader.MaxTableBytes;

    /// <summary>More than a disk has in the sizes that programs write.</summary>
    private const int MaxStreams = 1 << 20;

    /// <summary>Zeros between streams and after the last one, in all.</summary>
    private const int MaxPaddingBytes = 1 << 20;

    private static ReadOnlySpan<byte> Magic => [0xFD, (byte)'7', (byte)'z', (byte)'X', (byte)'Z', 0];

    /// <summary>The streams must fill the file.</summary>
    public static void Check(FileReader file, long maxBytes)
    {
        if (file.Bytes % 4 != 0)
            throw Malformed();
        var (end, paddingLeft, indexLeft, expanded) = (file.Bytes, MaxPaddingBytes, (ulong)MaxIndexBytes, (UInt128)0);
        for (var streams = 0; streams < MaxStreams; streams++)
        {
            SkipPadding(file, ref end, ref paddingLeft);
            end = FindStart(file, end, ref indexLeft, ref expanded);
            if (expanded > (UInt128)maxBytes)
                throw ImportFaults.ExpandsTooFar(maxBytes);
            if (end == 0)
                return;
        }

        throw ImportFaults.Malformed("it is compressed in too many streams");
    }

    private static void SkipPadding(FileReader file, ref ulong end, ref int left)
    {
        Span<byte> word = stackalloc byte[4];
        for (; end >= (uint)word.Length; end -= (uint)word.Length, left -= word.Length)
        {
            file.Read(end - (uint)word.Length, word, "end");
            if (word.ContainsAnyExcept((byte)0))
                return;
            if (left < word.Length)
                throw ImportFaults.Malformed("too many zeros follow its xz stream");
        }
    }

    /// <returns>The start of the stream that ends at <paramref name="end"/>.</returns>
    private static ulong FindStart(FileReader file, ulong end, ref ulong indexLeft, ref UInt128 expanded)
    {
        if (end < HeaderBytes + FooterBytes)
            throw Malformed();
        var footer = file.Read(end - FooterBytes, FooterBytes, "end");
        var indexBytes = ((ulong)BinaryPrimitives.ReadUInt32LittleEndian(footer.AsSpan(4)) + 1) * 4;
        if (!footer.AsSpan(10).SequenceEqual("YZ"u8) || indexBytes > end - HeaderBytes - FooterBytes)
            throw Malformed();
        if (indexBytes > indexLeft)
            throw ImportFaults.Malformed("it is compressed in too many blocks");
        indexLeft -= indexBytes;

        var index = file.Read(end - FooterBytes - indexBytes, (int)indexBytes, "index");
        var place = 1;
        if (index[0] != 0)
            throw Malformed();
        var bytes = (UInt128)(HeaderBytes + indexBytes + FooterBytes);
        for (var blocks = ReadNumber(index, ref place); blocks > 0; blocks--)
        {
            bytes += (ReadNumber(index, ref place) + 3) / 4 * 4;
            expanded += ReadNumber(index, ref place);
        }

        if (bytes > end || !file.Read(end - (ulong)bytes, Magic.Length, "header").AsSpan().SequenceEqual(Magic))
            throw Malformed();
        return end - (ulong)bytes;
    }

    // Seven bits a byte, the lowest first; the highest bit says that more follow.
    private static ulong ReadNumber(byte[] index, ref int place)
    {
        var number = 0UL;
        for (var count = 0; count < MaxNumberBytes && place < index.Length; count++)
        {
            var next = index[place++];
            number |= (ulong)(next & 0x7F) << (7 * count);
            if (next < 0x80)
                return number;
        }

        throw Malformed();
    }

    private static Exception Malformed() => ImportFaults.Malformed("its xz stream is cut, or something follows");
}
