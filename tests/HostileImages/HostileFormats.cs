using static Instances.Library.Import.TestImages;

namespace Instances.Library.Import;

/// <summary>Lines 31 to 40 of what an import refuses: the other formats.</summary>
internal static class HostileFormats
{
    private const int HeaderOffset = 64 << 10;
    private const int RegionOffset = 192 << 10;
    private const int RegionBytes = 64 << 10;

    private static byte[] Sparse => s_sparse.Value;

    private static byte[] Stream => s_stream.Value;

    private static byte[] Vdi => s_vdi.Value;

    private static byte[] Vhd => s_vhd.Value;

    private static byte[] Vhdx => s_vhdx.Value;

    private static int Metadata => (int)RegionOf(new("8B7CA206-4790-4B9A-B8FE-575F050F886E"));

    private static readonly Lazy<byte[]> s_sparse = new(() => Bytes.Converted("vmdk"));
    private static readonly Lazy<byte[]> s_stream = new(() => Bytes.Converted("vmdk", "subformat=streamOptimized"));
    private static readonly Lazy<byte[]> s_vdi = new(() => Bytes.Converted("vdi"));
    private static readonly Lazy<byte[]> s_vhd = new(() => Bytes.Converted("vpc"));
    private static readonly Lazy<byte[]> s_vhdx = new(() => Bytes.Converted("vhdx"));

    public static IEnumerable<HostileImage> All => [.. Vmdks, .. Vdis, .. Vhds, .. Vhdxs, .. Others];

    /// <summary>As VMware's programs write it: the directory after the grains, and its place in a footer.</summary>
    public static byte[] WithFooter(byte[] stream)
    {
        var footer = new byte[3 * 512].Little32(8, 0).Little32(12, 3).With(512, stream[..512]);
        return [.. stream.Little64(56, ulong.MaxValue), .. new byte[(512 - (stream.Length % 512)) % 512], .. footer];
    }

    private static IEnumerable<HostileImage> Vmdks =>
    [
        .. ((string[])[$"RW 32768 FLAT \"{Canary.Path}\" 0", "RW 32768 FLAT \"../x\" 0", $"RW 32768 VMFS \"{Canary.Path}\"", $"RW 32768 SPARSE \"{Canary.Path}\""])
            .SelectMany(extent => ((string[])["monolithicFlat", "twoGbMaxExtentSparse", "vmfs"]).Select(kind =>
                new HostileImage(31, $"{kind} {extent.Replace(Canary.Folder, "", StringComparison.Ordinal)}", "image-refers-outside", () => Descriptor(kind, extent)))),
        new(31, "description declared VMDK", "image-refers-outside", () => Descriptor("monolithicFlat", $"RW 32768 FLAT \"{Canary.Path}\" 0"), ImageFormat.Vmdk),
        new(31, "description without its first line", "image-refers-outside", () => Descriptor("monolithicFlat", $"RW 8 FLAT \"{Canary.Path}\" 0")[22..]),
        new(31, "sparse that says monolithicFlat", "image-unsupported-format", () => Sparse.Described(text => text.Replace("monolithicSparse", "monolithicFlat", StringComparison.Ordinal))),
        new(32, "sparse with an extent elsewhere", "image-refers-outside", () => Sparse.Described(text => Extent(text, $"RW 32768 SPARSE \"{Canary.Path}\""))),
        new(32, "sparse with a flat extent", "image-refers-outside", () => Sparse.Described(text => Extent(text, "RW 32768 FLAT \"x\" 0"))),
        new(32, "sparse with two extents", "image-refers-outside", () => Sparse.Described(text => Extent(text, "RW 8 SPARSE \"x\"\nRW 8 SPARSE \"y\""))),
        new(32, "capacity 0, so that the description counts", "image-malformed", () => Sparse.Little64(12, 0)),
        new(32, "description of 2 GiB", "image-malformed", () => Sparse.Little64(36, 4 << 20)),
        new(32, "description nowhere", "image-malformed", () => Sparse.Little64(28, 0)),
        new(32, "description at sector 2", "image-malformed", () => Sparse.Little64(28, 2)),
        new(32, "description without an end", "image-malformed", () => Sparse.Described(text => text.PadRight(20 * 512, '\n'))),
        new(33, "parent's name", "image-refers-outside", () => Sparse.Described(text => $"{text}parentFileNameHint=\"{Canary.Path}\"\n")),
        new(33, "parent's identity", "image-refers-outside", () => Sparse.Described(text => text.Replace("parentCID=ffffffff", "parentCID=12345678", StringComparison.Ordinal))),
        new(33, "second parent's identity", "image-refers-outside", () => Sparse.Described(text => $"{text}x_parentCID=12345678\n")),
        new(34, "footer of another disk", "image-malformed", () => WithFooter(Stream) is var image ? image.Little64(image.Length - 1024 + 12, 1) : []),
        new(34, "no end of stream", "image-malformed", () => WithFooter(Stream)[..^512]),
        new(34, "directory in a footer that is not there", "image-malformed", () => Stream.Little64(56, ulong.MaxValue)),
        new(34, "grains of 4 GiB", "image-malformed", () => Stream.Little64(20, 1 << 23)),
        new(34, "compressed grain of 4 GiB", "image-malformed", () => Stream.Little32(FirstGrain(Stream) + 8, uint.MaxValue)),
        .. ((ulong[])[0, 3, 1UL << 31]).Select(sectors => new HostileImage(35, $"grain of {sectors}", "image-malformed", () => Sparse.Little64(20, sectors))),
        .. ((uint[])[0, 1U << 31]).Select(count => new HostileImage(35, $"grain tables of {count}", "image-malformed", () => Sparse.Little32(44, count))),
        new(35, "capacity 2^63", "image-malformed", () => Sparse.Little64(12, 1UL << 63)),
        new(35, "capacity over the quota", "quota-exceeded", () => Sparse.Little64(12, 1UL << 40)),
        new(35, "grain directory past the end", "image-malformed", () => Sparse.Little64(56, 1UL << 40)),
        new(35, "grain past the end", "image-malformed", () => Sparse.Little32(FirstTable(Sparse), uint.MaxValue)),
    ];

    private static IEnumerable<HostileImage> Vdis =>
    [
        new(36, "differencing", "image-refers-outside", () => Vdi.Little32(0x4C, 4)),
        new(36, "type 9", "image-malformed", () => Vdi.Little32(0x4C, 9)),
        new(36, "parent", "image-refers-outside", () => Vdi.Little32(0x1B8, 1)),
        .. ((uint[])[0, 1U << 31]).Select(bytes => new HostileImage(36, $"blocks of {bytes}", "image-malformed", () => Vdi.Little32(0x178, bytes))),
        new(36, "2^32-1 blocks", "image-malformed", () => Vdi.Little32(0x180, uint.MaxValue)),
        new(36, "2^32-1 blocks allocated", "image-malformed", () => Vdi.Little32(0x184, uint.MaxValue)),
        new(36, "map past the end", "image-malformed", () => Vdi.Little32(0x154, 1U << 30)),
        new(36, "block past the end", "image-malformed", () => Vdi.Little32(0x200, 1000)),
        new(36, "block twice", "image-malformed", () => Vdi.Little32(0x200 + 4, 0)),
        new(36, "version 2", "image-unsupported-version", () => Vdi.Little32(0x44, 0x0002_0000)),
        new(36, "size over the quota", "image-malformed", () => Vdi.Little64(0x170, 1UL << 62)),
    ];

    private static IEnumerable<HostileImage> Vhds =>
    [
        new(37, "differencing", "image-refers-outside", () => Vhd.WithFooter(footer => footer.Big32(60, 4))),
        new(37, "parent locator", "image-refers-outside", () => Vhd.WithDynamicHeader(header => header.Big32(576, 0x57326B75))),
        new(37, "table of 2^32-1", "image-malformed", () => Vhd.WithDynamicHeader(header => header.Big32(28, uint.MaxValue))),
        new(37, "block past the end", "image-malformed", () => Vhd.Big32(1536, uint.MaxValue - 1)),
        .. ((uint[])[0, 1U << 31]).Select(bytes => new HostileImage(37, $"blocks of {bytes}", "image-malformed", () => Vhd.WithDynamicHeader(header => header.Big32(32, bytes)))),
        new(37, "wrong checksum", "image-malformed", () => Vhd.Big32(Vhd.Length - 512 + 64, 0)),
        new(37, "header and footer of two disks", "image-malformed", () => Vhd.With(30, 1)),
        new(37, "size over the quota", "quota-exceeded", () => Vhd.WithFooter(footer => footer.Big64(48, 1UL << 50))),
        new(37, "fixed of another length", "image-malformed", () => Bytes.Converted("vpc", "subformat=fixed").WithFooter(footer => footer.Big64(48, 1UL << 30))),
    ];

    private static IEnumerable<HostileImage> Vhdxs =>
    [
        new(38, "parent locator", "image-refers-outside", () => Vhdx.With(
            Metadata + (6 * 32), new Guid("A8D35F2D-B30B-454D-ABF7-D3D84834AB0C").ToByteArray()).Little32(Metadata + 8, 6U << 16)),
        new(38, "has a parent", "image-refers-outside", () => Vhdx.Little32(Metadata + (64 << 10) + 4, 2)),
        new(38, "2,048 regions", "image-malformed", () => Region(table => table.Little32(8, 2048))),
        new(38, "region past the end", "image-malformed", () => Region(table => table.Little64(16 + 16, 1UL << 40))),
        new(38, "region twice", "image-malformed", () => Region(table => table.With(16 + 32, table[16..48]))),
        new(38, "region of a later version", "image-unsupported-feature", () => Region(table => table.Little32(8, 3).With(16 + 64, [.. Guid.NewGuid().ToByteArray()]).Little64(16 + 64 + 16, 5 << 20).Little32(16 + 64 + 24, 1 << 20).Little32(16 + 64 + 28, 1))),
        new(38, "log to be replayed", "image-malformed", () => Vhdx
            .WithStructure(HeaderOffset, 4096, header => header.Little32(48, 7)).WithStructure(2 * HeaderOffset, 4096, header => header.Little32(48, 7))),
        new(38, "blocks of 0", "image-malformed", () => Vhdx.Little32(Metadata + (64 << 10), 0)),
        new(38, "metadata of 2^16 entries", "image-malformed", () => Vhdx.Little32(Metadata + 8, 0xFFFF_0000)),
        new(38, "both headers bad", "image-malformed", () => Vhdx.Little32(HeaderOffset + 4, 0).Little32((2 * HeaderOffset) + 4, 0)),
        new(38, "size over the quota", "quota-exceeded", () => Vhdx.Little64(Metadata + (64 << 10) + 8, 1UL << 50)),
    ];

    private static IEnumerable<HostileImage> Others =>
    [
        new(39, "QED", "image-unsupported-format", () => Made("create", "-q", "-f", "qed", "$path", "16M")),
        new(39, "QED with a backing file", "image-unsupported-format", () => Made("create", "-q", "-u", "-f", "qed", "-b", Canary.Path, "-F", "raw", "$path", "16M")),
        new(39, "Parallels", "image-unsupported-format", () => Made("create", "-q", "-f", "parallels", "$path", "16M")),
        new(39, "qcow", "image-unsupported-format", () => Made("create", "-q", "-f", "qcow", "$path", "16M")),
        new(39, "Bochs", "image-unsupported-format", () => new byte[4096].With(0, Bytes.Text("Bochs Virtual HD Image"))),
        new(39, "cloop", "image-unsupported-format", () => new byte[4096].With(0, Bytes.Text("#!/bin/sh\n#V2.0 Format\nmodprobe cloop file=$0"))),
        new(39, "dmg", "image-unsupported-format", () => new byte[4096].With(4096 - 512, Bytes.Text("koly\0\0\0\u0004"))),
        .. Known.SelectMany(known => (HostileImage[])
        [
            new(39, known.Name, "image-unsupported-format", known.Make),
            new(39, $"{known.Name}, declared raw", "format-mismatch", known.Make, ImageFormat.Raw),
        ]),
        new(39, "a folder as vvfat", "image-unsupported-format", () => Bytes.Text("fat:rw:/etc")),
        new(39, "a part of VMware ESX", "image-unsupported-format", () => new byte[4096].With(0, Bytes.Text("COWD"))),
        new(40, "ISO 9660", "image-unsupported-format", HostileQcow2.Iso),
        new(40, "GPT with a qcow2 behind", "image-unsupported-format", () => [.. new byte[1024].With(510, 0x55, 0xAA).With(512, Bytes.Text("EFI PART")), .. HostileQcow2.Backing(Canary.Path)]),
        new(40, "tar", "image-unsupported-format", Tar),
        new(40, "ELF", "image-unsupported-format", () => File.ReadAllBytes("/bin/true")),
        new(40, "HTML", "image-unsupported-format", () => Bytes.Text("<!doctype html><title>404</title>")),
        new(40, "tar in gzip", "image-unsupported-format", () => Bytes.Compressed(Tar(), "gzip", "-c")),
    ];

    /// <summary>Formats of archivers and of QEMU's other drivers, and files that are sent by mistake.</summary>
    private static IEnumerable<(string Name, Func<byte[]> Make)> Known =>
    [
        ("bzip2", () => Bytes.Compressed(Plain, "bzip2", "-c")),
        ("zip", () => new byte[4096].With(0, Bytes.Text("PK\u0003\u0004"))),
        ("7z", () => new byte[4096].With(0, (byte)'7', (byte)'z', 0xBC, 0xAF, 0x27, 0x1C)),
        ("lz4", () => new byte[4096].With(0, 0x04, 0x22, 0x4D, 0x18)),
        ("OVA", () => Tar().With(0, Bytes.Text("machine.ovf"))),
        ("LUKS", () => new byte[4096].With(0, [.. Bytes.Text("LUKS"), 0xBA, 0xBE])),
        ("PDF", () => new byte[4096].With(0, Bytes.Text("%PDF-1.7"))),
        ("ISO", HostileQcow2.Iso),
    ];

    private static byte[] Tar() => new byte[10240].With(0, Bytes.Text("disk.qcow2")).With(257, Bytes.Text("ustar"));

    private static byte[] Descriptor(string kind, string extent) =>
        Bytes.Text($"# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"{kind}\"\n\n{extent}\n");

    private static string Extent(string description, string extent) =>
        string.Join('\n', description.Split('\n').Select(line => line.StartsWith("RW ", StringComparison.Ordinal) ? extent : line));

    private static int FirstTable(byte[] image) => 512 * (int)BitConverter.ToUInt32(image, 512 * (int)BitConverter.ToUInt64(image, 56));

    private static int FirstGrain(byte[] image) => 512 * (int)BitConverter.ToUInt32(image, FirstTable(image));

    private static byte[] Region(Func<byte[], byte[]> change) => Vhdx.WithStructure(RegionOffset, RegionBytes, change);

    private static long RegionOf(Guid id) =>
        BitConverter.ToInt64(Vhdx, Vhdx.AsSpan(RegionOffset, RegionBytes).IndexOf(id.ToByteArray()) + RegionOffset + 16);
}
