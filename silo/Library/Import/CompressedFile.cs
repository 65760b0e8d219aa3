using System.Buffers.Binary;
using Instances.Faults;
using Microsoft.Win32.SafeHandles;

namespace Instances.Library.Import;

/// <summary>Looks at a compressed file of unknown origin before the program that expands it does: it has to be one member, stream or frame, and nothing behind.</summary>
/// <remarks>Readers disagree about what follows the first one: some take it, some leave it out. See RFC 1952, the .xz file format and RFC 8878.</remarks>
internal static class CompressedFile
{
    private const int MinGzipBytes = 18;
    private const byte GzipReservedFlags = 0xE0;
    private const long MetadataBytes = 64L << 20;

    /// <summary>How many bytes may come out: those of the largest disk with the tables of its format, and those of the largest upload.</summary>
    public static long BoundOf(ImportOptions options, LibraryOptions library)
    {
        var disk = options.MaxVirtualBytes / 1024 * 1025 + MetadataBytes;
        return Math.Min(disk < options.MaxVirtualBytes ? long.MaxValue : disk, library.MaxUploadBytes);
    }

    /// <exception cref="FaultException">image-malformed; quota-exceeded.</exception>
    public static void Check(SafeFileHandle file, ImageCompression compression, long maxBytes)
    {
        var reader = new FileReader(file);
        switch (compression)
        {
            case ImageCompression.Gzip:
                CheckGzip(reader);
                break;
            case ImageCompression.Xz:
                XzIndex.Check(reader, maxBytes);
                break;
            case ImageCompression.Zstd:
                ZstdFrame.Check(reader, maxBytes);
                break;
        }
    }

    /// <summary>Where a second member follows, what the file says at its end is not what came out.</summary>
    public static void RequireOneMember(SafeFileHandle file, long expandedBytes)
    {
        var reader = new FileReader(file);
        var length = BinaryPrimitives.ReadUInt32LittleEndian(reader.Read(reader.Bytes - sizeof(uint), sizeof(uint), "end"));
        if (length != (uint)expandedBytes)
            throw ImportFaults.Malformed("it is compressed in several members");
    }

    private static void CheckGzip(FileReader reader)
    {
        if (reader.Bytes < MinGzipBytes || (reader.Read(0, 4, "header")[3] & GzipReservedFlags) != 0)
            throw ImportFaults.Malformed("its gzip header is cut or damaged");
    }
}
