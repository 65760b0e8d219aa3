using System.Buffers.Binary;
using System.Diagnostics;
using System.Text;

namespace Instances.Library.Import;

/// <summary>Image files, and changes to them. The numbers of all formats but qcow2 and VHD are little-endian.</summary>
internal static class Bytes
{
    private static readonly string s_folder = Directory.CreateTempSubdirectory("instances-hostile-").FullName;

    static Bytes() => AppDomain.CurrentDomain.ProcessExit += (_, _) => Directory.Delete(s_folder, recursive: true);

    /// <summary>A raw disk of 16 MiB with data at its beginning and its end.</summary>
    public static byte[] Disk { get; } = MakeDisk();

    public static byte[] Text(string text) => Encoding.Latin1.GetBytes(text);

    public static byte[] Little32(this byte[] image, int offset, uint value)
    {
        var bytes = new byte[sizeof(uint)];
        BinaryPrimitives.WriteUInt32LittleEndian(bytes, value);
        return TestImages.Patched(image, offset, bytes);
    }

    public static byte[] Little64(this byte[] image, int offset, ulong value)
    {
        var bytes = new byte[sizeof(ulong)];
        BinaryPrimitives.WriteUInt64LittleEndian(bytes, value);
        return TestImages.Patched(image, offset, bytes);
    }

    public static byte[] Big32(this byte[] image, int offset, uint value) => TestImages.Patched32(image, offset, value);

    public static byte[] Big64(this byte[] image, int offset, ulong value) => TestImages.Patched64(image, offset, value);

    public static byte[] With(this byte[] image, int offset, params byte[] bytes) => TestImages.Patched(image, offset, bytes);

    /// <summary>Replaces a text by another one, which is padded with line ends if it is shorter.</summary>
    public static byte[] Replaced(this byte[] image, string text, string by)
    {
        var place = image.AsSpan().IndexOf(Text(text));
        return place >= 0 && by.Length <= text.Length ? image.With(place, Text(by.PadRight(text.Length, '\n'))) : throw new InvalidOperationException($"No place for '{by}'.");
    }

    /// <summary>Another description in a VMDK file.</summary>
    public static byte[] Described(this byte[] image, Func<string, string> change)
    {
        var description = Encoding.Latin1.GetString(image, 512, 20 * 512).TrimEnd('\0');
        return image.With(512, Text(change(description).PadRight(20 * 512, '\0')));
    }

    /// <summary>The disk in another format.</summary>
    public static byte[] Converted(string format, string options = "", byte[]? disk = null)
    {
        var (source, target) = (Path.Combine(s_folder, $"{Guid.NewGuid()}"), Path.Combine(s_folder, $"{Guid.NewGuid()}"));
        File.WriteAllBytes(source, disk ?? Disk);
        string[] with = options.Length > 0 ? ["-o", options] : [];
        TestLibrary.QemuImg(["convert", "-f", "raw", "-O", format, .. with, source, target]);
        return File.ReadAllBytes(target);
    }

    /// <summary>The bytes, compressed by a program that reads its standard input.</summary>
    public static byte[] Compressed(byte[] bytes, params string[] command)
    {
        var (source, target) = (Path.Combine(s_folder, $"{Guid.NewGuid()}"), Path.Combine(s_folder, $"{Guid.NewGuid()}"));
        File.WriteAllBytes(source, bytes);
        TestLibrary.Run("sh", ["-c", "input=$1 output=$2; shift 2; exec \"$@\" <\"$input\" >\"$output\"", "sh", source, target, .. command]);
        return File.ReadAllBytes(target);
    }

    /// <summary>A VHD's footer, in both its places, with a right checksum.</summary>
    public static byte[] WithFooter(this byte[] image, Func<byte[], byte[]> change)
    {
        var footer = Checked(change(image[^512..]), 512, 64);
        var changed = image.With(image.Length - 512, footer);
        return image.AsSpan().StartsWith("conectix"u8) ? changed.With(0, footer) : changed;
    }

    /// <summary>A dynamic VHD's second header, with a right checksum.</summary>
    public static byte[] WithDynamicHeader(this byte[] image, Func<byte[], byte[]> change) => image.With(512, Checked(change(image[512..1536]), 1024, 36));

    /// <summary>A structure of a VHDX, with a right checksum.</summary>
    public static byte[] WithStructure(this byte[] image, int offset, int bytes, Func<byte[], byte[]> change)
    {
        var structure = change(image[offset..(offset + bytes)]).Little32(4, 0);
        var crc = uint.MaxValue;
        foreach (var value in structure)
            crc = System.Numerics.BitOperations.Crc32C(crc, value);
        return image.With(offset, structure.Little32(4, ~crc));
    }

    private static byte[] Checked(byte[] structure, int bytes, int offset)
    {
        Debug.Assert(structure.Length == bytes);
        var zeroed = structure.Big32(offset, 0);
        return zeroed.Big32(offset, ~(uint)zeroed.Sum(value => value));
    }

    private static byte[] MakeDisk()
    {
        var disk = new byte[16 << 20];
        var random = new Random(1);
        random.NextBytes(disk.AsSpan(0, 200_000));
        random.NextBytes(disk.AsSpan(9 << 20, 70_000));
        random.NextBytes(disk.AsSpan(disk.Length - 1000));
        return disk;
    }
}
