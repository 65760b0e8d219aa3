using System.Numerics;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Instances.Library.Import;

/// <summary>Reads an untrusted VHDX file, and refuses all but complete disks that were closed properly.</summary>
/// <remarks>Numbers are little-endian. See Microsoft's [MS-VHDX] for the format.</remarks>
internal sealed class VhdxInspector
{
    private const ulong Mebibyte = 1 << 20;
    private const int HeaderBytes = 4 << 10;
    private const ulong FirstHeader = 64 << 10;
    private const ulong SecondHeader = 128 << 10;
    private const uint LogicalSectorBytes = 512;
    private const ulong SectorsOfBitmap = 1 << 23;
    private const ulong StateMask = 7;
    private const ulong FullyPresent = 6;
    private const ulong PartiallyPresent = 7;

    private readonly FileReader _file;

    private VhdxInspector(FileReader file) => _file = file;

    public static InspectedImage Inspect(SafeFileHandle file, long maxVirtualBytes) => new VhdxInspector(new(file)).Inspect(maxVirtualBytes);

    private InspectedImage Inspect(long maxVirtualBytes)
    {
        CheckHeader();
        var regions = VhdxRegions.Read(_file);
        var metadata = VhdxMetadata.Read(_file, regions.Metadata);
        if (metadata.HasParent)
            throw ImportFaults.RefersOutside("a parent");
        if (metadata.LogicalSectorBytes != LogicalSectorBytes)
            throw ImportFaults.UnsupportedFeature("sectors of another size than 512 bytes");
        if (!BitOperations.IsPow2(metadata.BlockBytes) || metadata.BlockBytes is < (uint)Mebibyte or > 256 * (uint)Mebibyte)
            throw ImportFaults.Malformed("its blocks have an impossible size");
        if (metadata.VirtualSizeBytes is 0 or > long.MaxValue || metadata.VirtualSizeBytes % LogicalSectorBytes != 0)
            throw ImportFaults.Malformed("its virtual size is impossible");
        if (metadata.VirtualSizeBytes > (ulong)maxVirtualBytes)
            throw ImportFaults.TooLarge((long)metadata.VirtualSizeBytes, maxVirtualBytes);

        CheckBlocks(regions, metadata);
        return new(ImageFormat.Vhdx, (long)metadata.VirtualSizeBytes);
    }

    // The header that was written last counts. A log that was not replayed would change the tables that are read here.
    private void CheckHeader()
    {
        if (!_file.Read(0, 8, "header").AsSpan().SequenceEqual("vhdxfile"u8))
            throw ImportFaults.FormatMismatch(ImageFormat.Vhdx);
        var headers = new[] { FirstHeader, SecondHeader }
            .Select(offset => _file.Read(offset, HeaderBytes, "header"))
            .Where(header => VhdxNumbers.IsWhole(header, "head"u8))
            .ToList();
        if (headers.Count == 0)
            throw ImportFaults.Malformed("both its headers are damaged");

        var current = headers.MaxBy(header => VhdxNumbers.Number64(header, 8))!;
        if (VhdxNumbers.Number16(current, 66) != 1)
            throw ImportFaults.UnsupportedVersion("VHDX");
        if (current.AsSpan(48, 16).ContainsAnyExcept((byte)0))
            throw ImportFaults.Malformed("it was not closed properly, and its log is to be replayed", "Replay it with qemu-img check -r all -f vhdx, and import the file again.");
    }

    private void CheckBlocks(VhdxRegions regions, VhdxMetadata metadata)
    {
        var blocks = (metadata.VirtualSizeBytes + metadata.BlockBytes - 1) / metadata.BlockBytes;
        var blocksOfBitmap = SectorsOfBitmap * LogicalSectorBytes / metadata.BlockBytes;
        var entries = blocks + ((blocks - 1) / blocksOfBitmap);
        if (regions.Blocks.Bytes / sizeof(ulong) < entries)
            throw ImportFaults.Malformed("its table of blocks does not fit its size");

        var offsets = new List<ulong>();
        var table = MemoryMarshal.Cast<byte, ulong>(_file.ReadTable(regions.Blocks.Offset, (UInt128)entries * sizeof(ulong), "table of blocks"));
        for (var index = 0; index < table.Length; index++)
        {
            // At regular intervals there is an entry for a bitmap, which a disk without a parent does not have.
            var isBitmap = (ulong)index % (blocksOfBitmap + 1) == blocksOfBitmap;
            var state = table[index] & StateMask;
            if (isBitmap ? state != 0 : state is 4 or 5)
                throw ImportFaults.Malformed("its table of blocks has entries that have no meaning");
            if (state == PartiallyPresent)
                throw ImportFaults.RefersOutside("a parent");
            if (state == FullyPresent)
                offsets.Add(table[index] / Mebibyte * Mebibyte);
        }

        FileReader.RequireApart(offsets, metadata.BlockBytes, Mebibyte, _file.Bytes, "blocks");
        if (offsets.Exists(offset => regions.Overlap(offset, metadata.BlockBytes)))
            throw ImportFaults.Malformed("its blocks lie over its tables");
    }
}
