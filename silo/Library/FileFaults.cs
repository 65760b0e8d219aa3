using Instances.Faults;

namespace Instances.Library;

/// <summary>Converts errors of the file system to faults.</summary>
internal static class FileFaults
{
    private const int NoSuchFile = 2; // ENOENT
    private const int NoSpace = 28; // ENOSPC
    private const int QuotaExceeded = 122; // EDQUOT

    public static FaultException NoSpaceLeft(string folder, Exception? cause = null) =>
        new(new(FaultKind.Capacity, "no-space", $"The disk of the layers ({folder}) is full. Delete images or undeploy appliances that are not needed, or give it more space."), cause);

    public static FaultException DiskFailed(string folder, Exception? cause = null) =>
        FaultException.Unavailable("disk-failed", $"The library's disk ({folder}) failed to read or write. The image is not the cause: check the log of the library's machine, and repeat the import when the disk works.", cause);

    /// <summary>A failure of the disk itself, not of the data.</summary>
    public static FaultException OfDisk(IOException exception, string folder) => IsNoSpace(exception) ? NoSpaceLeft(folder, exception) : DiskFailed(folder, exception);

    public static FaultException LayerMissing(LayerId layer, Exception? cause = null) =>
        new(new(FaultKind.NotFound, "layer-missing", $"The layer {layer} is not in the library. Images that need it cannot be used: restore the layer from a copy, or delete the image."), cause);

    /// <summary>The fault for an exception of the file system, or null if it has no meaning of its own.</summary>
    public static FaultException? Of(Exception exception, LayerId layer, string folder) => exception switch
    {
        FileNotFoundException or DirectoryNotFoundException => LayerMissing(layer, exception),
        IOException io when IsNoSpace(io) => NoSpaceLeft(folder, exception),
        IOException io when (io.HResult & 0xFFFF) == NoSuchFile => LayerMissing(layer, exception),
        _ => null,
    };

    public static bool IsNoSpace(IOException exception) => (exception.HResult & 0xFFFF) is NoSpace or QuotaExceeded;
}
