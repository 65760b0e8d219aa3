using System.Buffers.Binary;
using System.Numerics;

namespace Instances.Library.Import;

/// <summary>The first sector of a sparse extent, or its copy in the footer.</summary>
internal sealed class VmdkHeader(byte[] sector)
{
    public const int SectorBytes = 512;
    public const uint EntriesOfTable = 512;

    private const uint MaxVersion = 3;
    private const uint MinGrainSectors = 8;
    private const uint MaxGrainSectors = 2048;
    private const uint RedundantFlag = 1 << 1;
    private const uint CompressedFlag = 1 << 16;
    private const uint MarkersFlag = 1 << 17;

    public uint Flags => Number32(8);

    public ulong Capacity => Number64(12);

    public ulong GrainSectors => Number64(20);

    public ulong DescriptorSector => Number64(28);

    public ulong DescriptorSectors => Number64(36);

    public ulong DirectorySector => Number64(56);

    /// <summary>The place of the second directory, or null.</summary>
    public ulong? RedundantDirectorySector => (Flags & RedundantFlag) != 0 ? Number64(48) : null;

    public ulong OverheadSectors => Number64(64);

    public bool IsCompressed => (Flags & CompressedFlag) != 0;

    public void Check()
    {
        if (Number32(4) is 0 or > MaxVersion)
            throw ImportFaults.UnsupportedVersion("VMDK");
        if (sector.AsSpan(73, 4) is not [(byte)'\n', (byte)' ', (byte)'\r', (byte)'\n'])
            throw ImportFaults.Malformed("a transfer as text has changed it");
        if (!BitOperations.IsPow2(GrainSectors) || GrainSectors is < MinGrainSectors or > MaxGrainSectors || Number32(44) != EntriesOfTable)
            throw ImportFaults.Malformed("its grains or their tables have an impossible size");

        var algorithm = BinaryPrimitives.ReadUInt16LittleEndian(sector.AsSpan(77));
        if (algorithm > 1)
            throw ImportFaults.UnsupportedFeature("an unknown kind of compression");
        if (algorithm == 1 != IsCompressed || IsCompressed != ((Flags & MarkersFlag) != 0))
            throw ImportFaults.Malformed("its kind of compression is contradictory");
    }

    /// <summary>Whether everything except places is equal.</summary>
    public bool IsSameDisk(VmdkHeader other) =>
        Range(0, 48).SequenceEqual(other.Range(0, 48)) && Range(72, 7).SequenceEqual(other.Range(72, 7));

    private ReadOnlySpan<byte> Range(int offset, int bytes) => sector.AsSpan(offset, bytes);

    private uint Number32(int offset) => BinaryPrimitives.ReadUInt32LittleEndian(sector.AsSpan(offset));

    private ulong Number64(int offset) => BinaryPrimitives.ReadUInt64LittleEndian(sector.AsSpan(offset));
}
