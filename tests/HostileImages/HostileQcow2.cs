using Xunit.Sdk;
using static Instances.Library.Import.TestImages;

namespace Instances.Library.Import;

/// <summary>Lines 1 to 30 of what an import refuses: qcow2, and what is declared wrongly.</summary>
internal static class HostileQcow2
{
    private const uint DataFile = 0x44415441;

    private static int L1 => (int)Number64(Plain, 40);

    private static int L2 => (int)(Number64(Plain, L1) & 0x00FF_FFFF_FFFF_FE00);

    private static ulong Cluster => Number64(Plain, L2);

    public static IEnumerable<HostileImage> All =>
    [
        new(1, "backing file", "image-refers-outside", () => Made("create", "-q", "-f", "qcow2", "-u", "-b", Canary.Path, "-F", "raw", "$path", "16M")),
        new(1, "backing file of the system", "image-refers-outside", () => Made("create", "-q", "-f", "qcow2", "-u", "-b", "/etc/passwd", "-F", "raw", "$path", "16M")),
        new(2, "backing file above", "image-refers-outside", () => Backing("../../x")),
        new(2, "backing file of another enterprise", "image-refers-outside", () => Backing($"layers/{Guid.NewGuid()}.qcow2")),
        new(3, "backing file as JSON", "image-refers-outside", () => Backing($"json:{{\"driver\":\"file\",\"filename\":\"{Canary.Path}\"}}")),
        .. ((string[])["nbd://127.0.0.1:10809/x", "http://127.0.0.1/x", "ssh://127.0.0.1/x", "rbd:x/y", "iscsi://127.0.0.1/x/0", "fat:/etc", "fd:0"])
            .Select(name => new HostileImage(4, name, "image-refers-outside", () => Backing(name))),
        new(5, "backing name without length", "image-malformed", () => Patched64(Plain, 8, 512)),
        new(5, "backing name of 1,024", "image-malformed", () => Patched32(Patched64(Plain, 8, 512), 16, 1024)),
        new(5, "backing name of 65,536", "image-malformed", () => Patched32(Patched64(Plain, 8, 512), 16, 65_536)),
        new(5, "backing name past the end", "image-malformed", () => Patched32(Patched64(Plain, 8, 1UL << 40), 16, 10)),
        new(6, "data file", "image-refers-outside", () => Made("create", "-q", "-f", "qcow2", "-o", $"data_file={Path.Combine(Canary.Folder, "data")}", "$path", "16M")),
        new(7, "data file bit alone", "image-refers-outside", () => Patched(Plain, 79, 4)),
        new(7, "data file name alone", "image-malformed", () => Extended((DataFile, 8))),
        new(8, "data file twice", "image-malformed", () => Patched(Extended((DataFile, 8), (DataFile, 8)), 79, 4)),
        new(8, "data file behind an endless extension", "image-malformed", () => Patched(Extended((0x12345678, uint.MaxValue), (DataFile, 8)), 79, 4)),
        new(9, "feature 5", "image-unsupported-feature", () => Patched(Plain, 79, 1 << 5)),
        new(9, "feature 63", "image-unsupported-feature", () => Patched(Plain, 72, 0x80)),
        new(10, "corrupt bit", "image-corrupt", () => Patched(Plain, 79, 2)),
        new(11, "LUKS", "image-encrypted", Luks),
        new(11, "LUKS without a header", "image-encrypted", () => Patched32(Plain, 32, 2)),
        new(11, "AES", "image-encrypted", () => Patched32(Plain, 32, 1)),
        new(11, "encryption 99", "image-malformed", () => Patched32(Plain, 32, 99)),
        new(12, "snapshot", "image-has-snapshots", Snapshot),
        new(12, "snapshot with a state of 1 GiB", "image-has-snapshots", () => Patched32(Snapshot(), (int)Number64(Snapshot(), 64) + 32, 1 << 30)),
        new(12, "65,537 snapshots", "image-malformed", () => Patched32(Snapshot(), 60, 65_537)),
        new(12, "snapshots past the end", "image-malformed", () => Patched64(Snapshot(), 64, 1UL << 40)),
        .. ((uint[])[1, 4, uint.MaxValue]).Select(version => new HostileImage(13, $"version {version}", "image-unsupported-version", () => Patched32(Plain, 4, version))),
        .. ((uint[])[0, 8, 22, 31, 63]).Select(bits => new HostileImage(14, $"cluster bits {bits}", "image-malformed", () => Patched32(Plain, 20, bits))),
        .. ((ulong[])[0, 1UL << 63, ulong.MaxValue]).Select(size => new HostileImage(15, $"size {size}", "image-malformed", () => Patched64(Plain, 24, size))),
        new(15, "size of 64 TiB", "quota-exceeded", () => Patched64(Plain, 24, 64UL << 40)),
        new(16, "L1 of none", "image-malformed", () => Patched32(Plain, 36, 0)),
        new(16, "L1 of 2^31-1", "image-malformed", () => Patched32(Plain, 36, int.MaxValue)),
        new(16, "L1 of another size", "image-malformed", () => Patched64(Plain, 24, 8UL << 30)),
        new(17, "L1 unaligned", "image-malformed", () => Patched64(Plain, 40, (ulong)L1 + 8)),
        new(17, "L1 in the header", "image-malformed", () => Patched64(Plain, 40, 0)),
        new(17, "L1 past the end", "image-malformed", () => Patched64(Plain, 40, 1UL << 50)),
        new(18, "reference table of 2^32-1", "image-malformed", () => Patched32(Plain, 56, uint.MaxValue)),
        new(18, "reference table unaligned", "image-malformed", () => Patched64(Plain, 48, Number64(Plain, 48) + 8)),
        new(18, "reference table past the end", "image-malformed", () => Patched64(Plain, 48, 1UL << 50)),
        .. ((uint[])[7, 63]).Select(order => new HostileImage(19, $"reference order {order}", "image-malformed", () => Patched32(Plain, 96, order))),
        .. ((uint[])[0, 71, 103, 1U << 31]).Select(bytes => new HostileImage(20, $"header length {bytes}", "image-malformed", () => Patched32(Plain, 100, bytes))),
        new(21, "L2 entry past the end", "image-corrupt", () => Patched64(Plain, L2, (1UL << 63) | (1UL << 40))),
        new(21, "L2 entry in the header", "image-corrupt", () => Patched64(Plain, L2, (1UL << 63) | 512)),
        new(21, "L2 entry at its own table", "image-corrupt", () => Patched64(Plain, L2, (1UL << 63) | (uint)L2)),
        new(21, "L2 entry at the L1 table", "image-corrupt", () => Patched64(Plain, L2, (1UL << 63) | (uint)L1)),
        new(21, "L2 entry twice", "image-corrupt", () => Patched64(Plain, L2 + 8, Cluster)),
        new(22, "compressed cluster that is none", "image-corrupt", () => Patched64(Plain, L2, (1UL << 62) | (Cluster & 0x00FF_FFFF_FFFF_FE00))),
        new(22, "compressed cluster past the end", "image-corrupt", () => Patched64(Plain, L2, (1UL << 62) | (1UL << 40))),
        .. ((int[])[100, 150, 511]).SelectMany(bytes => (HostileImage[])
        [
            new(22, $"cut by {bytes} bytes in a compressed cluster", "image-malformed", () => TestImages.Compressed("zlib") is var file ? file[..^(Padding(file) + bytes)] : []),
            new(22, $"cut by {bytes} bytes in a cluster compressed with zstd", "image-malformed", () => TestImages.Compressed("zstd") is var file ? file[..^(Padding(file) + bytes)] : []),
        ]),
        new(22, "cut by 100 bytes in a cluster", "image-malformed", () => Bytes.Converted("qcow2")[..^100]),
        new(23, "1 TiB of compressed zeros", "quota-exceeded", Bomb),
        new(24, "compression 2", "image-unsupported-feature", () => Patched(Patched(Plain, 104, 2), 79, 8)),
        new(24, "compression 255", "image-unsupported-feature", () => Patched(Plain, 104, 255)),
        new(25, "65,536 bitmaps", "image-malformed", () => Bitmaps(65_536, 32, 65_536)),
        new(25, "bitmaps past the end", "image-malformed", () => Bitmaps(1, 32, 1UL << 50)),
        .. ((int[])[4, 72, 104]).Select(bytes => new HostileImage(26, $"cut after {bytes}", "image-malformed", () => Plain[..bytes])),
        new(26, "cut in half", "image-malformed", () => Plain[..(Plain.Length / 2)]),
        new(26, "cut at the reference table", "image-malformed", () => Plain[..(int)Number64(Plain, 48)]),
        new(26, "cut at the L1 table", "image-malformed", () => Plain[..L1]),
        new(26, "cut at the L2 table", "image-malformed", () => Plain[..L2]),
        new(27, "no bytes", "image-empty", () => []),
        new(27, "one byte", "image-malformed", () => [0x51]),
        new(27, "magic only", "image-malformed", () => Plain[..4]),
        new(28, "whole qcow2 with a boot sector, declared raw", "format-mismatch", () => Patched(Plain, 510, 0x55, 0xAA), ImageFormat.Raw),
        new(30, "raw, declared qcow2", "format-mismatch", () => Bytes.Disk, ImageFormat.Qcow2),
        new(30, "VMDK, declared raw", "format-mismatch", () => Bytes.Converted("vmdk"), ImageFormat.Raw),
        new(30, "ISO, declared VMDK", "format-mismatch", Iso, ImageFormat.Vmdk),
    ];

    /// <summary>QEMU's padding after the last compressed cluster, up to a whole sector.</summary>
    public static int Padding(byte[] image) => image.Length - 1 - image.AsSpan().LastIndexOfAnyExcept((byte)0);

    public static byte[] Iso() => new byte[64 << 10].With(32 << 10, Bytes.Text("\u0001CD001\u0001"));

    public static byte[] Backing(string name) =>
        Patched(Patched32(Patched64(Plain, 8, 1024), 16, (uint)name.Length), 1024, Bytes.Text(name));

    /// <summary>qemu-img measures the processor to choose the cost of the key, and gives up on a busy one.</summary>
    private static byte[] Luks()
    {
        for (var attempt = 1; ; attempt++)
        {
            try
            {
                var key = $"encrypt.format=luks,encrypt.key-secret=key,encrypt.iter-time={attempt * 10}";
                return Made("create", "-q", "-f", "qcow2", "--object", "secret,id=key,data=x", "-o", key, "$path", "16M");
            }
            catch (XunitException) when (attempt < 20)
            {
                // Once more.
            }
        }
    }

    private static byte[] Snapshot() => s_snapshot.Value;

    private static readonly Lazy<byte[]> s_snapshot = new(() =>
    {
        var path = Path.GetTempFileName();
        File.WriteAllBytes(path, Plain);
        TestLibrary.QemuImg("snapshot", "-c", "before", path);
        var image = File.ReadAllBytes(path);
        File.Delete(path);
        return image;
    });

    // After the header of 112 bytes, instead of the existing bytes.
    private static byte[] Extended(params (uint Type, uint Bytes)[] extensions)
    {
        var image = Plain;
        var place = 112;
        foreach (var (type, bytes) in extensions)
        {
            image = Patched32(Patched32(image, place, type), place + 4, bytes);
            place += 8 + (int)(bytes < 65_536 ? bytes : 8);
        }

        return Patched64(image, place, 0);
    }

    private static byte[] Bitmaps(uint count, ulong bytes, ulong offset) =>
        Patched64(Patched64(Patched64(Extended((0x23852875, 24)), 120, (ulong)count << 32), 128, bytes), 136, offset);

    // Two tables of compressed clusters that are all the same one, of 2 MiB.
    private static byte[] Bomb()
    {
        const int Cluster = 2 << 20;
        var image = Made("create", "-q", "-f", "qcow2", "-o", "cluster_size=2M,refcount_bits=64", "$path", "1T");
        var start = (image.Length + Cluster - 1) / Cluster * Cluster;
        var bomb = new byte[start + (3 * Cluster)];
        image.CopyTo(bomb, 0);
        for (var place = start; place < start + (2 * Cluster); place += 8)
            Bytes.Big64(new byte[8], 0, (1UL << 62) | (uint)(start + (2 * Cluster))).CopyTo(bomb, place);
        var table = (int)Number64(image, 40);
        return bomb.Big64(table, (1UL << 63) | (uint)start).Big64(table + 8, (1UL << 63) | (uint)(start + Cluster));
    }
}
