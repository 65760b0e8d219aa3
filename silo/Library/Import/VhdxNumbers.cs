using System.Buffers.Binary;
using System.Numerics;

namespace Instances.Library.Import;

/// <summary>The numbers and checksums of a VHDX file's structures.</summary>
internal static class VhdxNumbers
{
    private const int ChecksumOffset = 4;

    /// <summary>Whether a structure has its signature and its checksum: CRC-32C over all of it, with the checksum itself as 0.</summary>
    public static bool IsWhole(ReadOnlySpan<byte> structure, ReadOnlySpan<byte> signature) =>
        structure.StartsWith(signature) && Checksum(structure) == Number32(structure, ChecksumOffset);

    /// <summary>Gives a structure its checksum.</summary>
    public static void Seal(Span<byte> structure) => BinaryPrimitives.WriteUInt32LittleEndian(structure[ChecksumOffset..], Checksum(structure));

    public static ushort Number16(ReadOnlySpan<byte> bytes, int offset) => BinaryPrimitives.ReadUInt16LittleEndian(bytes[offset..]);

    public static uint Number32(ReadOnlySpan<byte> bytes, int offset) => BinaryPrimitives.ReadUInt32LittleEndian(bytes[offset..]);

    public static ulong Number64(ReadOnlySpan<byte> bytes, int offset) => BinaryPrimitives.ReadUInt64LittleEndian(bytes[offset..]);

    private static uint Checksum(ReadOnlySpan<byte> structure)
    {
        var crc = uint.MaxValue;
        for (var place = 0; place < structure.Length; place++)
            crc = BitOperations.Crc32C(crc, place is >= ChecksumOffset and < ChecksumOffset + sizeof(uint) ? (byte)0 : structure[place]);
        return ~crc;
    }
}
