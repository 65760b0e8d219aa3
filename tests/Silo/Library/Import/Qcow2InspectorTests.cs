using System.Diagnostics;
using System.Text;
using CsCheck;
using Instances.Faults;
using Xunit;
using static Instances.Library.Import.TestImages;

namespace Instances.Library.Import;

public sealed class Qcow2InspectorTests : IDisposable
{
    private const long Quota = 1L << 40;

    private readonly string _folder = Testing.MemoryFolder.Create("inspect-");

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    /// <summary>What is refused: a name, a code, and how the file is made.</summary>
    public static TheoryData<string, string> Refused => [.. s_refused.Select(row => (row.Key, row.Value.Code))];

    private static readonly Dictionary<string, (string Code, Func<byte[]> Make)> s_refused = new()
    {
        ["backing file"] = ("image-refers-outside", () => Made("create", "-q", "-f", "qcow2", "-u", "-b", "/etc/passwd", "-F", "raw", "$path", "16M")),
        ["backing file, relative"] = ("image-refers-outside", () => Made("create", "-q", "-f", "qcow2", "-u", "-b", "../../x", "-F", "raw", "$path", "16M")),
        ["backing file, JSON"] = ("image-refers-outside", () => Backing("json:{\"driver\":\"file\",\"filename\":\"/etc/shadow\"}")),
        ["backing file, NBD"] = ("image-refers-outside", () => Backing("nbd://127.0.0.1:10809/x")),
        ["backing file, HTTP"] = ("image-refers-outside", () => Backing("http://127.0.0.1/x")),
        ["backing file, descriptor"] = ("image-refers-outside", () => Backing("fd:0")),
        ["backing name without length"] = ("image-malformed", () => Patched64(Plain, 8, 512)),
        ["backing name without offset"] = ("image-malformed", () => Patched32(Plain, 16, 10)),
        ["backing name in the header"] = ("image-malformed", () => Patched32(Patched64(Plain, 8, 40), 16, 10)),
        ["backing name of 1,024 bytes"] = ("image-malformed", () => Patched32(Patched64(Plain, 8, 512), 16, 1024)),
        ["backing name of 65,536 bytes"] = ("image-malformed", () => Patched32(Patched64(Plain, 8, 512), 16, 65_536)),
        ["backing name past the end"] = ("image-malformed", () => Patched32(Patched64(Plain, 8, 1UL << 40), 16, 10)),
        ["backing name at the last number"] = ("image-malformed", () => Patched32(Patched64(Plain, 8, ulong.MaxValue), 16, 10)),
        ["backing name over the cluster's end"] = ("image-malformed", () => Patched32(Patched64(Plain, 8, 65_530), 16, 10)),
        ["data file bit without a name"] = ("image-refers-outside", () => Patched(Plain, 79, 4)),
        ["data file with a name"] = ("image-refers-outside", () => Patched(WithExtension(0x44415441, 8), 79, 4)),
        ["data file name without the bit"] = ("image-malformed", () => WithExtension(0x44415441, 8)),
        ["data file twice"] = ("image-malformed", () => Patched(WithExtensions((0x44415441, 8), (0x44415441, 8)), 79, 4)),
        ["data file behind an endless extension"] = ("image-malformed", () => Patched(WithExtensions((0x12345678, 0xFFFFFFFF), (0x44415441, 8)), 79, 4)),
        ["65 extensions"] = ("image-malformed", () => WithExtensions([.. Enumerable.Range(1, 65).Select(type => ((uint)type, 0u))])),
        ["extension over the cluster's end"] = ("image-malformed", () => WithExtension(0x12345678, 65_536)),
        ["unknown feature 5"] = ("image-unsupported-feature", () => Patched(Plain, 79, 1 << 5)),
        ["unknown feature 63"] = ("image-unsupported-feature", () => Patched(Plain, 72, 0x80)),
        ["corrupt bit"] = ("image-corrupt", () => Patched(Plain, 79, 2)),
        ["LUKS"] = ("image-encrypted", () => Patched32(Plain, 32, 2)),
        ["AES"] = ("image-encrypted", () => Patched32(Plain, 32, 1)),
        ["encryption 99"] = ("image-malformed", () => Patched32(Plain, 32, 99)),
        ["encryption header without encryption"] = ("image-malformed", () => WithExtension(0x0537BE77, 16)),
        ["snapshots"] = ("image-has-snapshots", Snapshot),
        ["snapshots, 65,537"] = ("image-malformed", () => Patched32(Snapshot(), 60, 65_537)),
        ["snapshots past the end"] = ("image-malformed", () => Patched64(Snapshot(), 64, 1UL << 40)),
        ["snapshots at the last number"] = ("image-malformed", () => Patched64(Snapshot(), 64, ulong.MaxValue)),
        ["version 1"] = ("image-unsupported-version", () => Patched32(Plain, 4, 1)),
        ["version 4"] = ("image-unsupported-version", () => Patched32(Plain, 4, 4)),
        ["version 2^32-1"] = ("image-unsupported-version", () => Patched32(Plain, 4, uint.MaxValue)),
        ["cluster bits 0"] = ("image-malformed", () => Patched32(Plain, 20, 0)),
        ["cluster bits 8"] = ("image-malformed", () => Patched32(Plain, 20, 8)),
        ["cluster bits 22"] = ("image-malformed", () => Patched32(Plain, 20, 22)),
        ["cluster bits 31"] = ("image-malformed", () => Patched32(Plain, 20, 31)),
        ["cluster bits 63"] = ("image-malformed", () => Patched32(Plain, 20, 63)),
        ["size 0"] = ("image-malformed", () => Patched64(Plain, 24, 0)),
        ["size 2^63"] = ("image-malformed", () => Patched64(Plain, 24, 1UL << 63)),
        ["size 2^64-1"] = ("image-malformed", () => Patched64(Plain, 24, ulong.MaxValue)),
        ["size of half a sector"] = ("image-malformed", () => Patched64(Plain, 24, 256)),
        ["size over the quota"] = ("quota-exceeded", () => Patched64(Plain, 24, 64UL << 40)),
        ["size just over the quota"] = ("quota-exceeded", () => Patched64(Plain, 24, (1UL << 40) + 512)),
        ["L1 of no entries"] = ("image-malformed", () => Patched32(Plain, 36, 0)),
        ["L1 of 2^31-1 entries"] = ("image-malformed", () => Patched32(Plain, 36, 0x7FFFFFFF)),
        ["L1 smaller than the size"] = ("image-malformed", () => Patched64(Plain, 24, 8UL << 30)),
        ["L1 unaligned"] = ("image-malformed", () => Patched64(Plain, 40, Number64(Plain, 40) + 8)),
        ["L1 in the header"] = ("image-malformed", () => Patched64(Plain, 40, 0)),
        ["L1 past the end"] = ("image-malformed", () => Patched64(Plain, 40, 1UL << 50)),
        ["L1 at the last cluster"] = ("image-malformed", () => Patched64(Plain, 40, ulong.MaxValue - 0xFFFF)),
        ["L1 over the reference table"] = ("image-malformed", () => Patched64(Plain, 40, Number64(Plain, 48))),
        ["L1 entry past the end"] = ("image-malformed", () => L1Entry(1UL << 40)),
        ["L1 entry in the header"] = ("image-malformed", () => L1Entry(512)),
        ["L1 entry at the L1 table"] = ("image-malformed", () => L1Entry(Number64(Plain, 40))),
        ["L1 entry with reserved bits"] = ("image-malformed", () => L1Entry(Number64(Plain, (int)Number64(Plain, 40)) | 2)),
        ["L1 entries aliased"] = ("image-malformed", AliasedL1),
        ["reference table of no clusters"] = ("image-malformed", () => Patched32(Plain, 56, 0)),
        ["reference table of 2^32-1 clusters"] = ("image-malformed", () => Patched32(Plain, 56, uint.MaxValue)),
        ["reference table unaligned"] = ("image-malformed", () => Patched64(Plain, 48, Number64(Plain, 48) + 8)),
        ["reference table past the end"] = ("image-malformed", () => Patched64(Plain, 48, 1UL << 50)),
        ["reference block past the end"] = ("image-malformed", () => Patched64(Plain, (int)Number64(Plain, 48), 1UL << 40)),
        ["reference order 7"] = ("image-malformed", () => Patched32(Plain, 96, 7)),
        ["reference order 63"] = ("image-malformed", () => Patched32(Plain, 96, 63)),
        ["header length 0"] = ("image-malformed", () => Patched32(Plain, 100, 0)),
        ["header length 71"] = ("image-malformed", () => Patched32(Plain, 100, 71)),
        ["header length 103"] = ("image-malformed", () => Patched32(Plain, 100, 103)),
        ["header length 2^31"] = ("image-malformed", () => Patched32(Plain, 100, 1U << 31)),
        ["compression 2"] = ("image-unsupported-feature", () => Patched(Patched(Plain, 104, 2), 79, 8)),
        ["compression 255"] = ("image-unsupported-feature", () => Patched(Plain, 104, 255)),
        ["compression without its bit"] = ("image-malformed", () => Patched(Plain, 104, 1)),
        ["compression bit without one"] = ("image-malformed", () => Patched(Plain, 79, 8)),
        ["divided clusters of 512 bytes"] = ("image-malformed", () => Patched(Qcow2("cluster_size=512"), 79, 16)),
        ["65,536 bitmaps"] = ("image-malformed", () => Bitmaps(65_536, 32, 65_536)),
        ["no bitmaps"] = ("image-malformed", () => Bitmaps(0, 32, 65_536)),
        ["bitmaps past the end"] = ("image-malformed", () => Bitmaps(1, 32, 1UL << 50)),
        ["bitmaps of 2^64-1 bytes"] = ("image-malformed", () => Bitmaps(1, ulong.MaxValue, 65_536)),
        ["cut after 4 bytes"] = ("image-malformed", () => Plain[..4]),
        ["cut after 72 bytes"] = ("image-malformed", () => Plain[..72]),
        ["cut after 104 bytes"] = ("image-malformed", () => Plain[..104]),
        ["cut at the reference table"] = ("image-malformed", () => Plain[..(int)Number64(Plain, 48)]),
        ["cut at the L1 table"] = ("image-malformed", () => Plain[..(int)Number64(Plain, 40)]),
        ["cut in the L1 table"] = ("image-malformed", () => Plain[..((int)Number64(Plain, 40) + 4)]),
        ["cut after the header's cluster"] = ("image-malformed", () => Plain[..65_536]),
        ["empty"] = ("image-empty", () => []),
        ["1 byte"] = ("image-malformed", () => [0x51]),
        ["magic only"] = ("image-malformed", () => Plain[..4]),
        ["raw"] = ("format-mismatch", () => new byte[4096]),
        ["VMDK"] = ("format-mismatch", () => Made("create", "-q", "-f", "vmdk", "$path", "16M")),
        ["QED"] = ("format-mismatch", () => Made("create", "-q", "-f", "qed", "$path", "16M")),
        ["qcow of version 1"] = ("image-unsupported-version", () => Made("create", "-q", "-f", "qcow", "$path", "16M")),
        ["HTML"] = ("format-mismatch", () => Encoding.UTF8.GetBytes("<html>404</html>")),
    };

    [Theory, MemberData(nameof(Refused))]
    public void Inspect_HostileFile_IsRefusedWithItsCode(string name, string code)
    {
        var refusal = Assert.Throws<FaultException>(() => Inspect(s_refused[name].Make()));

        Assert.Equal(code, refusal.Fault.Code);
        Assert.DoesNotContain("passwd", refusal.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("compat=0.10", 2)]
    [InlineData("compat=1.1", 3)]
    [InlineData("cluster_size=512", 3)]
    [InlineData("cluster_size=4k", 3)]
    [InlineData("cluster_size=2M", 3)]
    [InlineData("extended_l2=on", 3)]
    [InlineData("extended_l2=on,cluster_size=128k", 3)]
    [InlineData("lazy_refcounts=on", 3)]
    [InlineData("preallocation=metadata", 3)]
    [InlineData("preallocation=falloc", 3)]
    [InlineData("refcount_bits=1", 3)]
    [InlineData("refcount_bits=64", 3)]
    [InlineData("compression_type=zstd", 3)]
    public void Inspect_WholeImage_IsRead(string options, int version)
    {
        var header = Inspect(Qcow2(options));

        Assert.Equal(version, header.Version);
        Assert.Equal(16 << 20, header.VirtualSizeBytes);
        Assert.False(header.IsDirty);
    }

    [Theory, InlineData("zlib"), InlineData("zstd")]
    public void Inspect_CompressedImage_IsRead(string type) => Assert.Equal(16 << 20, Inspect(Compressed(type)).VirtualSizeBytes);

    [Fact]
    public void Inspect_DirtyImage_SaysSo() => Assert.True(Inspect(Patched(Plain, 79, 1)).IsDirty);

    [Theory, InlineData("1T"), InlineData("512"), InlineData("1536")]
    public void Inspect_SizesUpToTheQuota_AreRead(string size) =>
        Inspect(Made("create", "-q", "-f", "qcow2", "$path", size));

    [Fact]
    public void Inspect_ImageWithABitmap_IsRead()
    {
        var path = Path.Combine(_folder, "bitmap");
        File.WriteAllBytes(path, Plain);
        TestLibrary.QemuImg("bitmap", "--add", "-f", "qcow2", path, "b0");

        Inspect(File.ReadAllBytes(path));
    }

    // A machine's disk that shrank keeps its table.
    [Fact]
    public void Inspect_ImageThatShrank_IsRead()
    {
        var path = Path.Combine(_folder, "shrunk");
        TestLibrary.QemuImg("create", "-q", "-f", "qcow2", path, "100G");
        TestLibrary.QemuImg("resize", "-q", "-f", "qcow2", "--shrink", path, "1G");

        Assert.Equal(1 << 30, Inspect(File.ReadAllBytes(path)).VirtualSizeBytes);
    }

    // No content of a file makes the reader throw anything but a refusal, take long or read much.
    [Fact]
    public void Inspect_AnyMutationOfAHeader_IsReadOrRefused()
    {
        byte[][] images = [Plain, Qcow2("compat=0.10"), Qcow2("cluster_size=512"), Snapshot(), Backing("x")];
        var mutation =
            from place in Gen.OneOf(Gen.Int[0, 120], Gen.Int[0, 1024], Gen.Int[0, 400_000])
            from value in Gen.OneOf(Any(0UL, 1UL, 0xFFUL, 0x7FFFFFFFUL, 0xFFFFFFFFUL, ulong.MaxValue, 1UL << 63, 0x10000UL, 0x20000UL), Gen.ULong)
            from bytes in Any(1, 2, 4, 8)
            select (place, value, bytes);
        var path = Path.Combine(_folder, "mutated");

        Gen.Select(Any(images), mutation.Array[1, 8], Gen.Int[0, 500_000]).Sample(
            (image, mutations, length) =>
            {
                var mutated = (byte[])image.Clone();
                foreach (var (place, value, bytes) in mutations)
                {
                    for (var index = 0; index < bytes && place + index < mutated.Length; index++)
                        mutated[place + index] = (byte)(value >> (8 * (bytes - 1 - index)));
                }

                File.WriteAllBytes(path, length < 50_000 ? mutated[..Math.Min(length, mutated.Length)] : mutated);
                var clock = Stopwatch.StartNew();
                try
                {
                    using var file = File.OpenHandle(path);
                    Assert.InRange(Qcow2Inspector.Inspect(file, Quota).VirtualSizeBytes, 512, Quota);
                }
                catch (FaultException exception)
                {
                    Assert.Matches("^(image|format|quota)-", exception.Fault.Code);
                }

                Assert.InRange(clock.Elapsed, TimeSpan.Zero, Testing.Bounds.Wait);
            },
            iter: 3_000, threads: 1);
    }

    // Tables of the largest size that is taken, all of it aliased: the case that keeps qemu-img check busy for minutes.
    [Fact]
    public void Inspect_LargestTables_AreReadQuickly()
    {
        var path = Path.Combine(_folder, "large");
        using (var file = File.Open(path, FileMode.Create))
        {
            file.SetLength(64 << 20);
            var head = Patched64(Patched32(Patched64(Patched32(Plain, 36, (32 << 20) / 8), 40, 16 << 20), 56, 128), 48, 65_536)[..65_536];
            file.Write(head);
            file.Position = 16 << 20;
            var entries = new byte[32 << 20];
            for (var place = 0; place < entries.Length; place += 8)
                entries[place + 5] = (byte)(0x81 + (place / 8 % 2));
            file.Write(entries);
        }

        var clock = Stopwatch.StartNew();
        using var handle = File.OpenHandle(path);
        Assert.Equal("image-malformed", Assert.Throws<FaultException>(() => Qcow2Inspector.Inspect(handle, Quota)).Fault.Code);
        Assert.InRange(clock.Elapsed, TimeSpan.Zero, Testing.Bounds.Wait);
    }

    private Qcow2Header Inspect(byte[] image)
    {
        var path = Path.Combine(_folder, "image");
        File.WriteAllBytes(path, image);
        using var file = File.OpenHandle(path);
        return Qcow2Inspector.Inspect(file, Quota);
    }

    private static Gen<T> Any<T>(params T[] values) => Gen.Int[0, values.Length - 1].Select(index => values[index]);

    private static byte[] Backing(string name)
    {
        var image = Patched32(Patched64(Plain, 8, 1024), 16, (uint)name.Length);
        return Patched(image, 1024, Encoding.ASCII.GetBytes(name));
    }

    private static byte[] Snapshot() => Made(
        "create", "-q", "-f", "qcow2", "-o", "compat=1.1", "$path", "16M") is var image
        ? Patched32(Patched64(image, 64, Number64(image, 48)), 60, 1)
        : throw new UnreachableException();

    private static byte[] WithExtension(uint type, uint bytes) => WithExtensions((type, bytes));

    // After the header of 112 bytes, instead of the existing bytes.
    private static byte[] WithExtensions(params (uint Type, uint Bytes)[] extensions)
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

    private static byte[] Bitmaps(uint count, ulong directoryBytes, ulong directoryOffset)
    {
        var image = WithExtension(0x23852875, 24);
        return Patched64(Patched64(Patched64(image, 120, (ulong)count << 32), 128, directoryBytes), 136, directoryOffset);
    }

    private static byte[] L1Entry(ulong value) => Patched64(Plain, (int)Number64(Plain, 40), value);

    private static byte[] AliasedL1()
    {
        var image = Patched32(Plain, 36, 2);
        var table = (int)Number64(image, 40);
        return Patched64(image, table + 8, Number64(image, table));
    }
}
