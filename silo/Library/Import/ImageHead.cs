using System.Buffers.Binary;
using Instances.Faults;

namespace Instances.Library.Import;

/// <summary>The beginning of an upload, which arrives long before its end. Most refusals depend only on it, and for most formats it has the size of the disk.</summary>
/// <remarks>Only for early refusals. When the file is complete, <see cref="ImageInspector"/> checks all of it.</remarks>
internal static class ImageHead
{
    public const int Bytes = 512;

    /// <summary>The numbers of bytes after which the beginning is examined: the first sector, and the headers of all formats.</summary>
    public static readonly long[] Looks = [Bytes, KnownContent.HeadBytes];

    /// <summary>Refuses a file that further bytes cannot make valid.</summary>
    /// <returns>As of <see cref="VirtualSize"/>.</returns>
    /// <exception cref="FaultException">As of <see cref="ImageInspector.InspectHead"/>.</exception>
    public static long? Examine(string path, ImportCommand command, long maxVirtualBytes)
    {
        using (var file = File.OpenHandle(path))
        {
            if (RandomAccess.GetLength(file) < Bytes || FormatDetector.Compression(file) is not null) return null;
            ImageInspector.InspectHead(file, command.Format, maxVirtualBytes, command.AcceptSignature);
        }

        return VirtualSize(path, command.Format, maxVirtualBytes);
    }

    /// <param name="declared">The declared format, or null. A raw disk may begin with anything.</param>
    /// <returns>Null if the beginning does not have the size, as in VHDX, fixed VHD and compressed files; or if the size is invalid or too large, which later checks report better.</returns>
    public static long? VirtualSize(string path, ImageFormat? declared, long maxVirtualBytes)
    {
        if (declared is ImageFormat.Raw) return null;
        var head = new byte[Bytes];
        using (var file = File.OpenHandle(path))
        {
            if (RandomAccess.Read(file, head, 0) < Bytes) return null;
        }

        var said = Said(head);
        return said > 0 && said <= (ulong)maxVirtualBytes ? (long)said : null;
    }

    private static ulong Said(ReadOnlySpan<byte> head) =>
        BinaryPrimitives.ReadUInt32BigEndian(head) == Qcow2Header.Magic ? BinaryPrimitives.ReadUInt64BigEndian(head[24..])
        : head.StartsWith("conectix"u8) ? BinaryPrimitives.ReadUInt64BigEndian(head[48..])
        : head[0x40..].StartsWith((ReadOnlySpan<byte>)[0x7F, 0x10, 0xDA, 0xBE]) ? Whole(BinaryPrimitives.ReadUInt64LittleEndian(head[0x170..]), 1)
        : head.StartsWith("KDMV"u8) ? Whole(BinaryPrimitives.ReadUInt64LittleEndian(head[12..]), VmdkHeader.SectorBytes)
        : 0;

    /// <returns>A number of bytes in whole sectors; 0 if it is larger than any.</returns>
    private static ulong Whole(ulong count, ulong unit) =>
        count <= (ulong)long.MaxValue / unit - Bytes ? ((count * unit) + Bytes - 1) / Bytes * Bytes : 0;
}
