using Microsoft.Win32.SafeHandles;

namespace Instances.Library.Import;

/// <summary>Detects the format of a file from its content, without its name or the client's declaration.</summary>
internal static class FormatDetector
{
    private const int HeadBytes = 4096;
    private const int VhdFooterBytes = 512;
    private const int VdiSignatureOffset = 0x40;
    private const int QcowVersionOffset = 4;
    private const int QcowClusterBitsOffset = 32;

    private static readonly byte[] s_qcow2 = [0x51, 0x46, 0x49, 0xFB];
    private static readonly byte[] s_vdi = [0x7F, 0x10, 0xDA, 0xBE];
    private static readonly byte[] s_vhd = "conectix"u8.ToArray();
    private static readonly byte[] s_vhdx = "vhdxfile"u8.ToArray();

    /// <param name="isWhole">Whether the file is complete: a fixed VHD is recognised by its end.</param>
    /// <returns>Null if it is none of the formats that can be detected.</returns>
    public static ImageFormat? Format(SafeFileHandle file, bool isWhole)
    {
        var head = Read(file, 0, HeadBytes);
        if (BeginsWith(head, s_qcow2))
            return IsQcow1(head) ? null : ImageFormat.Qcow2;
        if (VmdkInspector.Recognizes(head))
            return ImageFormat.Vmdk;
        if (BeginsWith(head, s_vhdx))
            return ImageFormat.Vhdx;
        if (head.Length > VdiSignatureOffset && BeginsWith(head.AsSpan(VdiSignatureOffset), s_vdi))
            return ImageFormat.Vdi;

        var bytes = RandomAccess.GetLength(file);
        return BeginsWith(head, s_vhd) || (isWhole && bytes > VhdFooterBytes && BeginsWith(Read(file, bytes - VhdFooterBytes, VhdFooterBytes), s_vhd)) ? ImageFormat.Vhd : null;
    }

    /// <returns>Null if it is not compressed in a known format.</returns>
    public static ImageCompression? Compression(SafeFileHandle file)
    {
        var head = Read(file, 0, 6);
        return head switch
        {
            [0x1F, 0x8B, 0x08, ..] => ImageCompression.Gzip,
            [0xFD, (byte)'7', (byte)'z', (byte)'X', (byte)'Z', 0, ..] => ImageCompression.Xz,
            _ => ZstdFrames.Recognizes(new(file)) ? ImageCompression.Zstd : null,
        };
    }

    // A file that ends within the magic is a truncated image, not another format.
    private static bool BeginsWith(ReadOnlySpan<byte> head, byte[] magic) =>
        head.Length > 0 && head[..Math.Min(head.Length, magic.Length)].SequenceEqual(magic.AsSpan(0, Math.Min(head.Length, magic.Length)));

    // The older format has the same magic, and its cluster size where qcow2 has the encryption method.
    private static bool IsQcow1(byte[] head) =>
        head.Length > QcowClusterBitsOffset && head.AsSpan(QcowVersionOffset, 4) is [0, 0, 0, 1] && head[QcowClusterBitsOffset] is >= 9 and <= 16;

    private static byte[] Read(SafeFileHandle file, long offset, int bytes)
    {
        var buffer = new byte[bytes];
        int read, done = 0;
        for (; done < bytes && (read = RandomAccess.Read(file, buffer.AsSpan(done), offset + done)) > 0; done += read)
        {
        }

        return buffer[..done];
    }
}
