using System.Buffers.Binary;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Instances.Library.Import;

/// <summary>Reads an untrusted VDI file, and refuses all but complete disks: a header, a map, and the blocks that it names.</summary>
/// <remarks>Numbers are little-endian. VirtualBox has no description of the format but its source, <c>VDICore.h</c>.</remarks>
internal sealed class VdiInspector
{
    private const int HeaderBytes = 512;
    private const uint Signature = 0xBEDA107F;
    private const uint Version = 0x0001_0001;
    private const uint Dynamic = 1;
    private const uint Static = 2;
    private const uint Undo = 3;
    private const uint Differencing = 4;

    /// <summary>Two UUIDs, of the image that it belongs to and of its parent.</summary>
    private const int LinksOffset = 0x1A8;
    private const int LinksBytes = 32;

    private const uint BlockBytes = 1 << 20;
    private const uint SectorBytes = 512;

    /// <summary>A map's entry from this number on means that there is no block.</summary>
    private const uint NoBlock = 0xFFFF_FFFE;

    private readonly FileReader _file;
    private readonly byte[] _header;

    private VdiInspector(FileReader file)
    {
        _file = file;
        _header = file.Read(0, HeaderBytes, "header");
    }

    public static InspectedImage Inspect(SafeFileHandle file, long maxVirtualBytes) => new VdiInspector(new(file)).Inspect(maxVirtualBytes);

    private InspectedImage Inspect(long maxVirtualBytes)
    {
        if (Number32(0x40) != Signature)
            throw ImportFaults.FormatMismatch(ImageFormat.Vdi);
        if (Number32(0x44) != Version)
            throw ImportFaults.UnsupportedVersion("VDI");

        var type = Number32(0x4C);
        if (type is Undo or Differencing || _header.AsSpan(LinksOffset, LinksBytes).ContainsAnyExcept((byte)0))
            throw ImportFaults.RefersOutside("a parent");
        if (type is not (Dynamic or Static))
            throw ImportFaults.Malformed("its type is unknown");

        var virtualBytes = CheckSize(maxVirtualBytes);
        CheckMap();
        return new(ImageFormat.Vdi, virtualBytes);
    }

    private long CheckSize(long maxVirtualBytes)
    {
        if (Number32(0x178) != BlockBytes || Number32(0x17C) != 0 || Number32(0x168) != SectorBytes)
            throw ImportFaults.Malformed("its blocks or sectors have an impossible size");

        var bytes = Number64(0x170);
        if (bytes is 0 or > long.MaxValue - SectorBytes || bytes > (ulong)Number32(0x180) * BlockBytes)
            throw ImportFaults.Malformed("its virtual size is impossible");
        var whole = (long)((bytes + SectorBytes - 1) / SectorBytes * SectorBytes);
        return whole <= maxVirtualBytes ? whole : throw ImportFaults.TooLarge(whole, maxVirtualBytes);
    }

    private void CheckMap()
    {
        var (mapOffset, dataOffset, blocks, allocated) = (Number32(0x154), Number32(0x158), Number32(0x180), Number32(0x184));
        var mapBytes = (UInt128)blocks * sizeof(uint);
        if (mapOffset < HeaderBytes || mapOffset % SectorBytes != 0 || dataOffset % SectorBytes != 0 || mapOffset + mapBytes > dataOffset)
            throw ImportFaults.Malformed("its map or its data are at a wrong place");
        if (allocated > blocks || !_file.Holds(dataOffset, (ulong)allocated * BlockBytes))
            throw ImportFaults.Malformed("it has fewer blocks than it says");

        var offsets = new List<ulong>();
        foreach (var block in MemoryMarshal.Cast<byte, uint>(_file.ReadTable(mapOffset, mapBytes, "map")))
        {
            if (block < NoBlock)
                offsets.Add(dataOffset + ((ulong)block * BlockBytes));
        }

        FileReader.RequireApart(offsets, BlockBytes, dataOffset, dataOffset + ((ulong)allocated * BlockBytes), "blocks");
    }

    private uint Number32(int offset) => BinaryPrimitives.ReadUInt32LittleEndian(_header.AsSpan(offset));

    private ulong Number64(int offset) => BinaryPrimitives.ReadUInt64LittleEndian(_header.AsSpan(offset));
}
