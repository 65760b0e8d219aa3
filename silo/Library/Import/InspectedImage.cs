namespace Instances.Library.Import;

/// <summary>A file whose header and tables hold nothing that is refused.</summary>
/// <param name="VirtualSizeBytes">The size of the disk in it.</param>
/// <param name="IsDirty">Its reference counts have to be repaired before they are checked.</param>
internal sealed record InspectedImage(ImageFormat Format, long VirtualSizeBytes, bool IsDirty = false)
{
    /// <summary>How much there is to read once it is expanded, at most; null for the length of the file.</summary>
    public long? DataBytes { get; init; }

    /// <summary>What its owner should know of it, in sentences.</summary>
    public IReadOnlyList<string> Remarks { get; init; } = [];
}
