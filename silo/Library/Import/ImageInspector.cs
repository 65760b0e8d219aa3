using Instances.Faults;
using Microsoft.Win32.SafeHandles;

namespace Instances.Library.Import;

/// <summary>Reads an untrusted file before any other program does: detects its format, and refuses all but plain, self-contained disk images.</summary>
internal static class ImageInspector
{
    private const int SectorBytes = 512;

    /// <summary>A shorter file may end within a signature. If it is declared as raw, that is a coincidence.</summary>
    private const int WholeSignatureBytes = 128;

    /// <summary>The sector size of most current disks. Disks of virtual machines have sectors of 512 bytes.</summary>
    private const int LargeSectorBytes = 4096;

    /// <summary>The codes for a truncated file. Any other error in a part of a file is also an error of the whole file.</summary>
    private static readonly string[] s_faultsOfParts = ["image-malformed", "image-corrupt", "image-empty"];

    /// <param name="declared">The declared format, or null.</param>
    /// <param name="acceptSignature">Accepts a file that is declared as raw, whatever it looks like.</param>
    /// <exception cref="FaultException">One of the codes of <see cref="ImportFaults"/>.</exception>
    public static InspectedImage Inspect(SafeFileHandle file, ImageFormat? declared, long maxVirtualBytes, bool acceptSignature = false)
    {
        if (RandomAccess.GetLength(file) == 0)
            throw ImportFaults.Empty();

        var found = FormatDetector.Format(file, isWhole: true);
        if (declared is ImageFormat.Raw)
            return InspectRaw(file, found, maxVirtualBytes, acceptSignature, isWhole: true);
        if (declared is { } format && found != format)
            throw ImportFaults.FormatMismatch(format);
        if (found is not { } other)
            throw Unsupported(file, isWhole: true);
        return Inspect(file, other, maxVirtualBytes);
    }

    /// <summary>Refuses a file whose first bytes show errors that further bytes cannot correct.</summary>
    /// <exception cref="FaultException">As of <see cref="Inspect(SafeFileHandle, ImageFormat?, long, bool)"/>.</exception>
    public static void InspectHead(SafeFileHandle file, ImageFormat? declared, long maxVirtualBytes, bool acceptSignature)
    {
        try
        {
            var found = FormatDetector.Format(file, isWhole: false);
            if (declared is ImageFormat.Raw) InspectRaw(file, found, maxVirtualBytes, acceptSignature, isWhole: false);
            else if (found is { } format && (declared ?? format) == format) Inspect(file, format, maxVirtualBytes);
            // A fixed VHD is recognised by its end.
            else if (declared is { } other && (found is not null || other is not ImageFormat.Vhd)) throw ImportFaults.FormatMismatch(other);
            else if (KnownContent.Find(file, isWhole: false) is not null || KnownContent.IsText(file)) throw Unsupported(file, isWhole: false);
        }
        catch (FaultException exception) when (s_faultsOfParts.Contains(exception.Fault.Code))
        {
            // The missing bytes may still arrive.
        }
    }

    private static InspectedImage Inspect(SafeFileHandle file, ImageFormat format, long maxVirtualBytes) => format switch
    {
        ImageFormat.Qcow2 => Qcow2Inspector.Inspect(file, maxVirtualBytes).ToImage(),
        ImageFormat.Raw => InspectRaw(file, found: null, maxVirtualBytes, acceptSignature: true, isWhole: true),
        ImageFormat.Vmdk => VmdkInspector.Inspect(file, maxVirtualBytes),
        ImageFormat.Vdi => VdiInspector.Inspect(file, maxVirtualBytes),
        ImageFormat.Vhd => VhdInspector.Inspect(file, maxVirtualBytes),
        ImageFormat.Vhdx => VhdxInspector.Inspect(file, maxVirtualBytes),
    };

    // A raw disk may contain anything, even a header of another format that its guest wrote. But most files that look like another format are that format. So the client must confirm a raw disk.
    private static InspectedImage InspectRaw(SafeFileHandle file, ImageFormat? found, long maxVirtualBytes, bool acceptSignature, bool isWhole)
    {
        var length = RandomAccess.GetLength(file);
        if (!acceptSignature && length >= WholeSignatureBytes)
        {
            if (found is { } other) throw ImportFaults.RawWithSignature($"a {ImageFile.Of(other).Name} image", "Leave format out, so that it is imported as that.");
            if (KnownContent.Find(file, isWhole) is { } content) throw ImportFaults.RawWithSignature(content.Name, content.Hint);
        }

        var bytes = (length + SectorBytes - 1) / SectorBytes * SectorBytes;
        if (bytes > maxVirtualBytes) throw ImportFaults.TooLarge(bytes, maxVirtualBytes);
        List<string> remarks = [];
        if (bytes != length) remarks.Add($"The raw disk had {length} bytes and was padded with {bytes - length} zero bytes to whole sectors of {SectorBytes} bytes.");
        if (HasPartitionTable(file, LargeSectorBytes) && !HasPartitionTable(file, SectorBytes))
            remarks.Add($"The partition table is that of a disk with sectors of {LargeSectorBytes} bytes. Virtual machines have sectors of {SectorBytes} bytes, and find no partitions on it.");
        return new(ImageFormat.Raw, bytes) { Remarks = remarks };
    }

    private static FaultException Unsupported(SafeFileHandle file, bool isWhole) =>
        KnownContent.Find(file, isWhole) is { } content ? ImportFaults.Unsupported(content)
        : KnownContent.IsText(file) ? ImportFaults.Unsupported(new("a text", "Choose the file of the disk image."))
        : ImportFaults.UnsupportedFormat();

    /// <summary>Whether there is a GUID partition table in the second sector of this size.</summary>
    private static bool HasPartitionTable(SafeFileHandle file, int sectorBytes)
    {
        var signature = new byte[8];
        return RandomAccess.Read(file, signature, sectorBytes) == signature.Length && signature.AsSpan().SequenceEqual("EFI PART"u8);
    }
}
