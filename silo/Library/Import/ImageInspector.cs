using Instances.Faults;
using Microsoft.Win32.SafeHandles;

namespace Instances.Library.Import;

/// <summary>Reads a file of unknown origin before any other program does: finds its format out, and refuses what is not a plain, self-contained disk image.</summary>
internal static class ImageInspector
{
    private const int SectorBytes = 512;

    /// <param name="declared">What the sender says that it is, or null.</param>
    /// <exception cref="FaultException">One of the codes of <see cref="ImportFaults"/>.</exception>
    public static InspectedImage Inspect(SafeFileHandle file, ImageFormat? declared, long maxVirtualBytes)
    {
        if (RandomAccess.GetLength(file) == 0)
            throw ImportFaults.Empty();

        var found = FormatDetector.Format(file);
        if (declared is ImageFormat.Raw)
            return InspectRaw(file, found, maxVirtualBytes);
        if (declared is { } format && found != format)
            throw ImportFaults.FormatMismatch(format);
        return Inspect(file, found ?? throw ImportFaults.UnsupportedFormat(), maxVirtualBytes);
    }

    private static InspectedImage Inspect(SafeFileHandle file, ImageFormat format, long maxVirtualBytes) => format switch
    {
        ImageFormat.Qcow2 => Qcow2Inspector.Inspect(file, maxVirtualBytes).ToImage(),
        ImageFormat.Raw => InspectRaw(file, found: null, maxVirtualBytes),
        ImageFormat.Vmdk => VmdkInspector.Inspect(file, maxVirtualBytes),
        ImageFormat.Vdi => VdiInspector.Inspect(file, maxVirtualBytes),
        ImageFormat.Vhd => VhdInspector.Inspect(file, maxVirtualBytes),
        ImageFormat.Vhdx => VhdxInspector.Inspect(file, maxVirtualBytes),
    };

    // A raw disk may hold anything, a header of another format too, which its guest wrote: unless it is a whole image of that format, it is what was declared.
    private static InspectedImage InspectRaw(SafeFileHandle file, ImageFormat? found, long maxVirtualBytes)
    {
        if (found is { } other && IsWhole(file, other))
            throw ImportFaults.FormatMismatch(ImageFormat.Raw);
        var bytes = (RandomAccess.GetLength(file) + SectorBytes - 1) / SectorBytes * SectorBytes;
        return bytes <= maxVirtualBytes ? new(ImageFormat.Raw, bytes) : throw ImportFaults.TooLarge(bytes, maxVirtualBytes);
    }

    private static bool IsWhole(SafeFileHandle file, ImageFormat format)
    {
        try
        {
            Inspect(file, format, long.MaxValue);
            return true;
        }
        catch (FaultException)
        {
            return false;
        }
    }
}
