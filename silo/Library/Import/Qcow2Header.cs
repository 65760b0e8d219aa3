namespace Instances.Library.Import;

/// <summary>The header of a qcow2 file that <see cref="Qcow2Inspector"/> has accepted.</summary>
/// <param name="IsDirty">It was not closed properly: its reference counts may be wrong, but its content is complete.</param>
internal sealed record Qcow2Header(int Version, int ClusterBits, long VirtualSizeBytes, bool IsDirty)
{
    public const uint Magic = 0x514649FB; // "QFI" and 0xfb

    public const int Version2Bytes = 72;
    public const int Version3Bytes = 104;

    public int ClusterBytes => 1 << ClusterBits;

    /// <summary>The size of all clusters that the file names, expanded.</summary>
    public long DataBytes { get; init; }

    public InspectedImage ToImage() => new(ImageFormat.Qcow2, VirtualSizeBytes, IsDirty) { DataBytes = DataBytes };
}

/// <summary>Incompatible features: a reader that does not know one must refuse the file.</summary>
[Flags]
internal enum Qcow2Features : ulong
{
    None = 0,
    Dirty = 1 << 0,
    Corrupt = 1 << 1,
    ExternalDataFile = 1 << 2,
    CompressionType = 1 << 3,
    ExtendedL2 = 1 << 4,
    Known = Dirty | Corrupt | ExternalDataFile | CompressionType | ExtendedL2,
}

internal enum Qcow2Extension : uint
{
    End = 0,
    BackingFormat = 0xE2792ACA,
    FeatureNames = 0x6803F857,
    Bitmaps = 0x23852875,
    CryptoHeader = 0x0537BE77,
    ExternalDataFile = 0x44415441,
}
