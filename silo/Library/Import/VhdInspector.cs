using System.Buffers.Binary;
using System.Numerics;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Instances.Library.Import;

/// <summary>Reads an untrusted VHD file, and refuses all but complete disks: fixed, or dynamic with a table of blocks.</summary>
/// <remarks>Numbers are big-endian. See Microsoft's "Virtual Hard Disk Image Format Specification", version 1.0.</remarks>
internal sealed class VhdInspector
{
    private const int FooterBytes = 512;
    private const int HeaderBytes = 1024;
    private const uint Version = 0x0001_0000;
    private const uint Fixed = 2;
    private const uint Dynamic = 3;
    private const uint Differencing = 4;
    private const uint NoBlock = uint.MaxValue;
    private const uint SectorBytes = 512;
    private const uint MinBlockBytes = 4 << 10;
    private const uint MaxBlockBytes = 64 << 20;
    private const int TimeOffset = 24;
    private const int FooterChecksumOffset = 64;
    private const int SavedStateOffset = 84;
    private const int HeaderChecksumOffset = 36;
    private const int LocatorsOffset = 576;
    private const int LocatorsBytes = 8 * 24;

    private readonly FileReader _file;
    private readonly byte[] _footer;

    private VhdInspector(FileReader file)
    {
        _file = file;
        _footer = file.Bytes >= FooterBytes ? file.Read(file.Bytes - FooterBytes, FooterBytes, "footer") : throw ImportFaults.Malformed("it is cut");
    }

    public static InspectedImage Inspect(SafeFileHandle file, long maxVirtualBytes) => new VhdInspector(new(file)).Inspect(maxVirtualBytes);

    private InspectedImage Inspect(long maxVirtualBytes)
    {
        CheckFooter();
        if (Number32(_footer, 12) != Version)
            throw ImportFaults.UnsupportedVersion("VHD");

        var type = Number32(_footer, 60);
        if (type == Differencing)
            throw ImportFaults.RefersOutside("a parent");
        if (type is not (Fixed or Dynamic))
            throw ImportFaults.Malformed("its type is unknown");

        var bytes = Number64(_footer, 48);
        if (bytes is 0 or > long.MaxValue || bytes % SectorBytes != 0)
            throw ImportFaults.Malformed("its virtual size is impossible");
        if (bytes > (ulong)maxVirtualBytes)
            throw ImportFaults.TooLarge((long)bytes, maxVirtualBytes);

        if (type == Dynamic)
            CheckBlocks(bytes);
        else if (bytes != _file.Bytes - FooterBytes)
            throw ImportFaults.Malformed("its length is not that of its disk");
        return new(ImageFormat.Vhd, (long)bytes);
    }

    /// <summary>A dynamic disk has a copy of the footer in its first sector. qemu-img reads that copy.</summary>
    private void CheckFooter()
    {
        var copy = _file.Read(0, FooterBytes, "header");
        var (isSound, isCopySound) = (IsSound(_footer), IsSound(copy));
        if (isSound && Number32(_footer, 60) == Dynamic && !isCopySound)
            throw ImportFaults.Malformed("its last sector, the footer, is sound, and the copy of it in the first sector is damaged or missing", "Write the last 512 bytes over the first 512, and import the file again.");
        if (isSound)
            return;
        throw isCopySound
            ? ImportFaults.Malformed(
                "its footer, the last sector, is damaged or missing, and the copy of it in the first sector is sound", "Convert it with qemu-img convert -f vpc -O qcow2, which reads that copy: blocks may be missing, so compare the content.")
            : ImportFaults.Malformed("it has no footer with a right checksum, neither at its end nor at its beginning");
    }

    private static bool IsSound(byte[] footer) => footer.AsSpan().StartsWith("conectix"u8) && HasChecksum(footer, FooterChecksumOffset);

    /// <summary>Whether two footers are of one disk. Some writers update the time or the saved state, and so the checksum, in only one of them.</summary>
    private static bool IsSameDisk(byte[] one, byte[] other)
    {
        return Masked(one).AsSpan().SequenceEqual(Masked(other));

        static byte[] Masked(byte[] footer)
        {
            byte[] masked = [.. footer];
            masked.AsSpan(TimeOffset, sizeof(uint)).Clear();
            masked.AsSpan(FooterChecksumOffset, sizeof(uint)).Clear();
            masked[SavedStateOffset] = 0;
            return masked;
        }
    }

    private void CheckBlocks(ulong virtualBytes)
    {
        // qemu-img reads the copy at the beginning: the two must not be of two disks.
        if (!IsSameDisk(_file.Read(0, FooterBytes, "header"), _footer))
            throw ImportFaults.Malformed("its first and its last sector are of two disks");

        var headerOffset = Number64(_footer, 16);
        var header = _file.Read(headerOffset, HeaderBytes, "dynamic header");
        if (headerOffset < FooterBytes || !header.AsSpan().StartsWith("cxsparse"u8) || !HasChecksum(header, HeaderChecksumOffset))
            throw ImportFaults.Malformed("it has no dynamic header, or one with a wrong checksum");
        if (header.AsSpan(LocatorsOffset, LocatorsBytes).ContainsAnyExcept((byte)0))
            throw ImportFaults.RefersOutside("a parent");

        var blockBytes = Number32(header, 32);
        if (!BitOperations.IsPow2(blockBytes) || blockBytes is < MinBlockBytes or > MaxBlockBytes)
            throw ImportFaults.Malformed("its blocks have an impossible size");
        var entries = Number32(header, 28);
        if ((UInt128)entries * blockBytes < virtualBytes)
            throw ImportFaults.Malformed("its table does not fit its size");

        CheckTable(Number64(header, 16), entries, blockBytes, headerOffset);
    }

    private void CheckTable(ulong tableOffset, uint entries, uint blockBytes, ulong headerOffset)
    {
        var table = MemoryMarshal.Cast<byte, uint>(_file.ReadTable(tableOffset, (UInt128)entries * sizeof(uint), "table of blocks"));
        if (tableOffset % SectorBytes != 0 || tableOffset < headerOffset + HeaderBytes)
            throw ImportFaults.Malformed("its table of blocks is at a wrong place");

        // Before each block is a bitmap of its sectors.
        var bitmapBytes = ((blockBytes / SectorBytes / 8) + SectorBytes - 1) / SectorBytes * SectorBytes;
        var offsets = new List<ulong>();
        foreach (var raw in table)
        {
            var sector = BinaryPrimitives.ReverseEndianness(raw);
            if (sector != NoBlock)
                offsets.Add((ulong)sector * SectorBytes);
        }

        FileReader.RequireApart(offsets, bitmapBytes + blockBytes, tableOffset + ((ulong)entries * sizeof(uint)), _file.Bytes - FooterBytes, "blocks");
    }

    // The one's complement of the sum of all bytes but its own.
    private static bool HasChecksum(byte[] structure, int offset)
    {
        var sum = 0U;
        for (var place = 0; place < structure.Length; place++)
        {
            if (place < offset || place >= offset + sizeof(uint))
                sum += structure[place];
        }

        return ~sum == Number32(structure, offset);
    }

    private static uint Number32(byte[] bytes, int offset) => BinaryPrimitives.ReadUInt32BigEndian(bytes.AsSpan(offset));

    private static ulong Number64(byte[] bytes, int offset) => BinaryPrimitives.ReadUInt64BigEndian(bytes.AsSpan(offset));
}
