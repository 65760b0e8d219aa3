using System.Buffers.Binary;

namespace Instances.Library.Import;

/// <summary>The index at the end of an .xz file, which lists its blocks.</summary>
internal static class XzIndex
{
    private const int HeaderBytes = 12;
    private const int FooterBytes = 12;
    private const int MaxNumberBytes = 9;

    /// <summary>Bounds the number of blocks: 16 Mi of the smallest, more than a disk has in the sizes that programs write.</summary>
    private const int MaxIndexBytes = FileReader.MaxTableBytes;

    /// <summary>The listed blocks must fill the file: then it is one stream.</summary>
    public static void Check(FileReader file, long maxBytes)
    {
        if (file.Bytes < HeaderBytes + FooterBytes || file.Bytes % 4 != 0)
            throw Malformed();
        var footer = file.Read(file.Bytes - FooterBytes, FooterBytes, "end");
        var indexBytes = ((ulong)BinaryPrimitives.ReadUInt32LittleEndian(footer.AsSpan(4)) + 1) * 4;
        if (!footer.AsSpan(10).SequenceEqual("YZ"u8) || indexBytes > file.Bytes - HeaderBytes - FooterBytes)
            throw Malformed();
        if (indexBytes > MaxIndexBytes)
            throw ImportFaults.Malformed("it is compressed in too many blocks");

        var index = file.Read(file.Bytes - FooterBytes - indexBytes, (int)indexBytes, "index");
        var place = 1;
        if (index[0] != 0)
            throw Malformed();
        var (compressed, expanded) = ((UInt128)0, (UInt128)0);
        for (var blocks = ReadNumber(index, ref place); blocks > 0; blocks--)
        {
            compressed += (ReadNumber(index, ref place) + 3) / 4 * 4;
            expanded += ReadNumber(index, ref place);
        }

        if (HeaderBytes + compressed + indexBytes + FooterBytes != file.Bytes)
            throw ImportFaults.Malformed("it is compressed in several streams, or something follows");
        if (expanded > (UInt128)maxBytes)
            throw ImportFaults.ExpandsTooFar(maxBytes);
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
