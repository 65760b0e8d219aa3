namespace Instances.Library.Import;

/// <summary>A file whose header and tables were accepted.</summary>
/// <param name="VirtualSizeBytes">The size of the disk in it.</param>
/// <param name="IsDirty">Its reference counts must be repaired before they are checked.</param>
internal sealed record InspectedImage(ImageFormat Format, long VirtualSizeBytes, bool IsDirty = false)
{
    /// <summary>The most bytes to read after its expansion; null for the length of the file.</summary>
    public long? DataBytes { get; init; }

    /// <summary>Remarks for the owner, in sentences.</summary>
    public IReadOnlyList<string> Remarks { get; init; } = [];
}
