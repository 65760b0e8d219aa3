using System.Text;
using Microsoft.Win32.SafeHandles;

namespace Instances.Library.Import;

/// <summary>Identifies files that cannot be imported, and says what to do with them: formats of QEMU's other block drivers, archives, and files that are often sent by mistake.</summary>
/// <param name="Name">With its article.</param>
internal sealed record KnownContent(string Name, string Hint)
{
    /// <summary>How many bytes of the beginning are examined. The descriptor of a CD image is the furthest.</summary>
    public const int HeadBytes = 64 << 10;

    private const int SectorBytes = 512;
    private const int TarNameBytes = 100;

    private static readonly KnownContent s_tar = Packed("a tar archive", "tar -xf");
    private static readonly KnownContent s_ova = new("an OVA", "Take its disk out with tar -xf, and import the .vmdk file.");
    private static readonly KnownContent s_zstd = Packed("a zstd file that begins with a skippable frame", "zstd -d");
    private static readonly KnownContent s_page = Other("a web page or an XML document");
    private static readonly KnownContent s_dmg = Disk("an Apple disk image", "dmg");

    private static readonly (int Offset, byte[] Magic, KnownContent Content)[] s_known =
    [
        (0, [.. "BZh"u8], Packed("a bzip2 file", "bunzip2")),
        (0, [(byte)'P', (byte)'K', 3, 4], Packed("a zip archive", "unzip")),
        (0, [(byte)'P', (byte)'K', 5, 6], Packed("a zip archive", "unzip")),
        (0, [(byte)'7', (byte)'z', 0xBC, 0xAF, 0x27, 0x1C], Packed("a 7z archive", "7z x")),
        (0, [0x04, 0x22, 0x4D, 0x18], Packed("an lz4 file", "lz4 -d")),
        (0, [0x02, 0x21, 0x4C, 0x18], Packed("an lz4 file", "lz4 -d")),
        (0, [.. "Rar!"u8, 0x1A, 7], Packed("a rar archive", "unrar x")),
        (0, [.. "LZIP"u8], Packed("an lzip file", "lzip -d")),
        (0, [0x89, .. "LZO"u8, 0], Packed("an lzop file", "lzop -d")),
        (0, [0x5D, 0, 0, 0x80, 0, 0xFF, 0xFF, 0xFF, 0xFF], Packed("an lzma file", "xz --format=lzma -d")),
        (0, [.. "MSCF"u8, 0, 0, 0, 0], Packed("a cabinet archive", "cabextract")),
        (0, [.. "070701"u8], Packed("a cpio archive", "cpio -i")),
        (0, [.. "070702"u8], Packed("a cpio archive", "cpio -i")),
        (0, [.. "!<arch>\n"u8], Packed("an ar archive", "ar x")),
        (257, [.. "ustar"u8], s_tar),
        (32_769, [.. "CD001"u8], new("a CD image (ISO 9660)", "Install a virtual machine from it, and import that machine's disk.")),
        (0, [.. "MSWIM"u8, 0, 0, 0], new("a Windows image (WIM)", "It contains files, not a disk: install a virtual machine from it, and import that machine's disk.")),
        (0, [.. "QFI"u8, 0xFB, 0, 0, 0, 1], Disk("a qcow image of version 1", "qcow")),
        (0, [.. "QED"u8, 0], Disk("a QED image", "qed")),
        (0, [.. "WithoutFreeSpace"u8], Disk("a Parallels image", "parallels")),
        (0, [.. "WithouFreSpacExt"u8], Disk("a Parallels image", "parallels")),
        (0, [.. "Bochs Virtual HD Image"u8], Disk("a Bochs image", "bochs")),
        (0, [.. "#!/bin/sh\n#V2.0 Format"u8], Disk("a cloop image", "cloop")),
        (0, [.. "LUKS"u8, 0xBA, 0xBE], new("an encrypted disk (LUKS)", "Decrypt it with qemu-img convert.")),
        (0, [0x7F, .. "ELF"u8], Other("a program (ELF)")),
        (0, [.. "%PDF-"u8], Other("a PDF document")),
        (0, [0x89, .. "PNG"u8], Other("a PNG picture")),
        (0, [0xFF, 0xD8, 0xFF], Other("a JPEG picture")),
        (4, [.. "ftyp"u8], Other("a video (MP4)")),
    ];

    /// <param name="isWhole">Whether the file is complete: one format is recognised by its end.</param>
    /// <returns>Null if the content is not known.</returns>
    public static KnownContent? Find(SafeFileHandle file, bool isWhole)
    {
        var head = Read(file, 0, HeadBytes);
        foreach (var (offset, magic, content) in s_known)
        {
            if (head.Length >= offset + magic.Length && head.AsSpan(offset, magic.Length).SequenceEqual(magic)) return content == s_tar && IsOva(head) ? s_ova : content;
        }

        if (head is [>= 0x50 and <= 0x5F, 0x2A, 0x4D, 0x18, ..]) return s_zstd;
        if (IsPage(head)) return s_page;
        var bytes = RandomAccess.GetLength(file);
        return isWhole && bytes >= SectorBytes && Read(file, bytes - SectorBytes, SectorBytes).AsSpan().StartsWith("koly"u8) ? s_dmg : null;
    }

    /// <summary>Whether a file begins with a sector of readable text, as no usable disk does.</summary>
    public static bool IsText(SafeFileHandle file) => Read(file, 0, SectorBytes) is { Length: > 0 } head && Array.TrueForAll(head, value => value is >= 0x20 or (byte)'\t' or (byte)'\n' or (byte)'\r');

    private static bool IsPage(byte[] head)
    {
        var text = Encoding.Latin1.GetString(head, 0, Math.Min(head.Length, SectorBytes)).TrimStart();
        return Array.Exists(["<!doctype", "<html", "<?xml"], start => text.StartsWith(start, StringComparison.OrdinalIgnoreCase));
    }

    /// <summary>An OVA is a tar archive whose first file is the description of its machine.</summary>
    private static bool IsOva(byte[] head) => Encoding.Latin1.GetString(head, 0, TarNameBytes).TrimEnd('\0').EndsWith(".ovf", StringComparison.OrdinalIgnoreCase);

    private static KnownContent Packed(string name, string command) => new(name, $"Unpack it with {command}, and import the disk image in it.");

    private static KnownContent Disk(string name, string format) => new(name, $"Convert it with qemu-img convert -f {format} -O qcow2.");

    private static KnownContent Other(string name) => new(name, "Choose the file of the disk image.");

    private static byte[] Read(SafeFileHandle file, long offset, int bytes)
    {
        var buffer = new byte[Math.Min(bytes, Math.Max(0, RandomAccess.GetLength(file) - offset))];
        int read, done = 0;
        for (; done < buffer.Length && (read = RandomAccess.Read(file, buffer.AsSpan(done), offset + done)) > 0; done += read)
        {
        }

        return buffer[..done];
    }
}
