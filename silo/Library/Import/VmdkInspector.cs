using System.Buffers.Binary;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace Instances.Library.Import;

/// <summary>Reads an untrusted VMDK file, and refuses all but complete disks in one file: monolithic sparse or stream-optimized.</summary>
/// <remarks>
/// If a file has no magic of a sparse extent, or the header's capacity is 0, qemu-img reads a text of extents, and opens the files that it names.
/// It also reads a parent's name in the text at sector 1. This class refuses all of that. See VMware's "Virtual Disk Format 5.0" for the format.
/// </remarks>
internal sealed class VmdkInspector
{
    private const int EndMarker = 0;
    private const int FooterMarker = 3;
    private const ulong DescriptorSector = 1;
    private const ulong MaxDescriptorSectors = 20;
    private const ulong DirectoryInFooter = ulong.MaxValue;
    private const int SectorBytes = VmdkHeader.SectorBytes;

    private readonly FileReader _file;
    private readonly VmdkHeader _header;

    private VmdkInspector(FileReader file)
    {
        _file = file;
        _header = new(file.Read(0, SectorBytes, "header"));
    }

    /// <summary>Whether a program would accept the file as VMDK if told to.</summary>
    public static bool Recognizes(ReadOnlySpan<byte> head) =>
        IsSparse(head) || head.StartsWith("COWD"u8) || IsEsSparse(head) || VmdkDescriptor.Recognizes(head);

    public static InspectedImage Inspect(SafeFileHandle file, long maxVirtualBytes)
    {
        var reader = new FileReader(file);
        var head = reader.Read(0, (int)Math.Min(reader.Bytes, SectorBytes), "header");
        if (head.AsSpan().StartsWith("COWD"u8) || IsEsSparse(head))
            throw ImportFaults.UnsupportedKind("a part of a disk of VMware ESX");
        if (!IsSparse(head))
            throw ImportFaults.RefersOutside("a description of a disk that lies in other files");
        return new VmdkInspector(reader).Inspect(maxVirtualBytes);
    }

    private InspectedImage Inspect(long maxVirtualBytes)
    {
        _header.Check();
        CheckDescriptor();
        if (_header.Capacity is 0 or > long.MaxValue / SectorBytes)
            throw ImportFaults.Malformed("its capacity is impossible");
        var virtualBytes = (long)_header.Capacity * SectorBytes;
        if (virtualBytes > maxVirtualBytes)
            throw ImportFaults.TooLarge(virtualBytes, maxVirtualBytes);

        var places = _header.DirectorySector == DirectoryInFooter ? ReadFooter() : _header;
        VmdkGrains.Check(_file, places);
        return new(ImageFormat.Vmdk, virtualBytes) { DataBytes = _header.IsCompressed ? virtualBytes : null };
    }

    private void CheckDescriptor()
    {
        if (_header.DescriptorSector != DescriptorSector || _header.DescriptorSectors is 0 or > MaxDescriptorSectors)
            throw ImportFaults.Malformed("its description is at a wrong place");
        var raw = _file.Read(DescriptorSector * SectorBytes, (int)_header.DescriptorSectors * SectorBytes, "description");
        var end = Array.IndexOf(raw, (byte)0);

        // Without an end, readers would continue after it.
        if (end <= 0)
            throw ImportFaults.Malformed("its description has no end");
        VmdkDescriptor.Check(Encoding.Latin1.GetString(raw, 0, end));
    }

    // The footer overrides the header, which was written before the directory's place was known.
    private VmdkHeader ReadFooter()
    {
        if (!_header.IsCompressed || _file.Bytes % SectorBytes != 0 || _file.Bytes < 4 * SectorBytes)
            throw ImportFaults.Malformed("its grain directory is nowhere");
        var footer = _file.Read(_file.Bytes - (3 * SectorBytes), 3 * SectorBytes, "footer");
        if (!IsMarker(footer, FooterMarker) || !IsSparse(footer.AsSpan(SectorBytes)) || !IsMarker(footer.AsSpan(2 * SectorBytes), EndMarker))
            throw ImportFaults.Malformed("it has no footer and end of stream");

        var header = new VmdkHeader(footer[SectorBytes..(2 * SectorBytes)]);
        return header.IsSameDisk(_header) && header.DirectorySector != DirectoryInFooter
            ? header
            : throw ImportFaults.Malformed("its header and its footer are of two disks");
    }

    private static bool IsMarker(ReadOnlySpan<byte> sector, int type) =>
        BinaryPrimitives.ReadUInt32LittleEndian(sector[8..]) == 0 && BinaryPrimitives.ReadUInt32LittleEndian(sector[12..]) == type;

    private static bool IsSparse(ReadOnlySpan<byte> head) => head.StartsWith("KDMV"u8);

    private static bool IsEsSparse(ReadOnlySpan<byte> head) => head.StartsWith((ReadOnlySpan<byte>)[0xBE, 0xBA, 0xFE, 0xCA, 0, 0, 0, 0]);
}
