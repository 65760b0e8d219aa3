using Instances.Faults;
using Microsoft.Win32.SafeHandles;

namespace Instances.Library.Import;

/// <summary>Checks a compressed, untrusted file before a program expands it. A file may have several streams (.xz), frames (.zst) or members (.gz), as the programs accept them.</summary>
/// <remarks>See RFC 1952, the .xz file format and RFC 8878.</remarks>
internal static class CompressedFile
{
    private const int MinGzipBytes = 18;
    private const byte GzipReservedFlags = 0xE0;
    private const long MetadataBytes = 64L << 20;

    /// <summary>The most bytes of the expanded file: the largest disk with the tables of its format, and the largest upload.</summary>
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
                XzStreams.Check(reader, maxBytes);
                break;
            case ImageCompression.Zstd:
                ZstdFrames.Check(reader, maxBytes);
                break;
        }
    }

    private static void CheckGzip(FileReader reader)
    {
        if (reader.Bytes < MinGzipBytes || (reader.Read(0, 4, "header")[3] & GzipReservedFlags) != 0)
            throw ImportFaults.Malformed("its gzip header is cut or damaged");
    }
}
