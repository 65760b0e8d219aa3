using Xunit;

namespace Instances.Library.Import;

/// <summary>Images that an import accepts by their content. The test reads the disk back.</summary>
public sealed class AcceptedImageTests : IDisposable
{
    private readonly ImportScene _scene = new();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _scene.Dispose();

    [Theory]
    [InlineData("qcow2", "compat=0.10")]
    [InlineData("qcow2", "compat=1.1")]
    [InlineData("qcow2", "cluster_size=512")]
    [InlineData("qcow2", "cluster_size=4k")]
    [InlineData("qcow2", "cluster_size=2M")]
    [InlineData("qcow2", "extended_l2=on")]
    [InlineData("qcow2", "lazy_refcounts=on")]
    [InlineData("qcow2", "preallocation=metadata")]
    [InlineData("qcow2", "preallocation=full")]
    [InlineData("vmdk", "subformat=monolithicSparse")]
    [InlineData("vmdk", "subformat=streamOptimized")]
    [InlineData("vdi", "static=off")]
    [InlineData("vdi", "static=on")]
    [InlineData("vpc", "subformat=dynamic,force_size=on")]
    [InlineData("vpc", "subformat=fixed,force_size=on")]
    [InlineData("vpc", "subformat=dynamic")]
    [InlineData("vpc", "subformat=fixed")]
    [InlineData("vhdx", "subformat=dynamic")]
    [InlineData("vhdx", "subformat=fixed")]
    [InlineData("vhdx", "subformat=dynamic,block_size=1M")]
    public Task Import_Image_KeepsItsContent(string format, string options) => ImportAndCompare(Bytes.Converted(format, options), null, format);

    [Theory, InlineData("zlib"), InlineData("zstd")]
    public async Task Import_CompressedQcow2_KeepsItsContent(string type) =>
        Assert.Equal(ImageFormat.Qcow2, (await _scene.Import(TestImages.Compressed(type), null, Token)).Import!.Format);

    [Theory]
    [InlineData("gzip", "raw", ImageCompression.Gzip)]
    [InlineData("xz", "raw", ImageCompression.Xz)]
    [InlineData("zstd", "raw", ImageCompression.Zstd)]
    [InlineData("gzip", "qcow2", ImageCompression.Gzip)]
    [InlineData("xz", "vmdk", ImageCompression.Xz)]
    [InlineData("zstd", "vhdx", ImageCompression.Zstd)]
    [InlineData("zstd", "vdi", ImageCompression.Zstd)]
    [InlineData("gzip", "vpc", ImageCompression.Gzip)]
    public async Task Import_CompressedFile_KeepsItsContent(string program, string format, ImageCompression compression)
    {
        var image = format == "raw" ? Bytes.Disk : Bytes.Converted(format, format == "vpc" ? "force_size=on" : "");

        var manifest = await ImportAndCompare(Bytes.Compressed(image, program, "-c"), format == "raw" ? ImageFormat.Raw : null, format);

        Assert.Equal(compression, manifest.Import!.Compression);
    }

    [Fact]
    public Task Import_StrongestCompression_IsWithinTheMemory() => ImportAndCompare(Bytes.Compressed(Bytes.Disk, "xz", "-c", "-9e"), ImageFormat.Raw, "raw");

    /// <summary>As gunzip accepts it: several members, and zeros after the last one.</summary>
    [Fact]
    public Task Import_GzipOfTwoMembersWithPadding_KeepsItsContent() => ImportAndCompare(
        [.. Bytes.Compressed(Bytes.Disk[..(5 << 20)], "gzip", "-c"), .. Bytes.Compressed(Bytes.Disk[(5 << 20)..], "gzip", "-c"), .. new byte[1000]], ImageFormat.Raw, "raw");

    /// <summary>Programs that compress in several threads make such files, and <c>cat</c> does from several files.</summary>
    [Theory]
    [InlineData("xz")]
    [InlineData("xz", "-T4", "--block-size=1MiB")]
    [InlineData("zstd")]
    [InlineData("zstd", "--no-check")]
    [InlineData("pzstd", "-p", "4", "-q")]
    public Task Import_CompressedInSeveralParts_KeepsItsContent(string program, params string[] options) => ImportAndCompare(
        [.. Bytes.Compressed(Bytes.Disk[..(5 << 20)], [program, .. options, "-c"]), .. Bytes.Compressed(Bytes.Disk[(5 << 20)..], [program, .. options, "-c"])], ImageFormat.Raw, "raw");

    /// <summary>Zeros are padding in an .xz file. A skippable frame is a table of contents in a .zst file.</summary>
    [Theory]
    [InlineData("xz", new byte[] { 0, 0, 0, 0 })]
    [InlineData("zstd", new byte[] { 0x5E, 0x2A, 0x4D, 0x18, 2, 0, 0, 0, 1, 2 })]
    public Task Import_CompressedWithWhatItsFormatAllowsBehind_KeepsItsContent(string program, byte[] behind) => ImportAndCompare(
        [.. Bytes.Compressed(Bytes.Disk[..(5 << 20)], program, "-c"), .. behind, .. Bytes.Compressed(Bytes.Disk[(5 << 20)..], program, "-c"), .. behind], ImageFormat.Raw, "raw");

    /// <summary>Some writers update the time or the saved state in only one of the two footers.</summary>
    [Theory]
    [InlineData(24, 0x12345678)]
    [InlineData(84, 0x01000000)]
    public Task Import_VhdWhoseFootersDifferInTimeOrSavedState_KeepsItsContent(int offset, uint value)
    {
        var image = Bytes.Converted("vpc", "force_size=on");
        return ImportAndCompare(image.WithFooter(footer => footer.Big32(offset, value)).With(0, image[..512]), null, "vpc");
    }

    /// <summary>Some writers do not pad the last sector.</summary>
    [Fact]
    public async Task Import_CompressedQcow2ThatEndsWithItsData_KeepsItsContent()
    {
        var image = TestImages.Compressed("zlib");

        var manifest = await _scene.Import(image[..^HostileQcow2.Padding(image)], null, Token);

        var whole = Path.Combine(_scene.Library.Store.Folder, "whole");
        await File.WriteAllBytesAsync(whole, image, Token);
        TestLibrary.QemuImg("compare", "-f", "qcow2", "-F", "qcow2", whole, _scene.PathOf(manifest));
    }

    /// <summary>From a killed writer: unreferenced clusters, but no lost content.</summary>
    [Fact]
    public Task Import_Qcow2WithLeakedClusters_KeepsItsContent()
    {
        var image = Bytes.Converted("qcow2");
        var counts = (int)TestImages.Number64(image, (int)TestImages.Number64(image, 48));
        var unused = image.Length / 65_536;
        return ImportAndCompare([.. image.With(counts + (2 * unused), 0, 1), .. new byte[65_536]], null, "qcow2");
    }

    [Theory]
    [InlineData(1000, 0, "padded with 24 zero bytes")]
    [InlineData(1024, 0, null)]
    [InlineData(8192, 4096, "sectors of 4096 bytes")]
    [InlineData(8192, 512, null)]
    public async Task Import_OfARawDisk_RemarksWhatIsUnusual(int bytes, int table, string? words)
    {
        var disk = Bytes.Disk[..bytes];
        if (table > 0) disk = disk.With(table, Bytes.Text("EFI PART"));

        var remarks = (await _scene.Import(disk, ImageFormat.Raw, Token)).Import!.Remarks;

        if (words is null) Assert.Null(remarks);
        else Assert.Contains(words, Assert.Single(remarks!), StringComparison.Ordinal);
    }

    [Fact]
    public Task Import_VmdkWithItsDirectoryInAFooter_KeepsItsContent() =>
        ImportAndCompare(HostileFormats.WithFooter(Bytes.Converted("vmdk", "subformat=streamOptimized")), null, "vmdk");

    [Fact]
    public Task Import_VmdkWithLineEndsOfWindows_KeepsItsContent() =>
        ImportAndCompare(Bytes.Converted("vmdk").Described(text => text.Replace("\n", "\r\n", StringComparison.Ordinal)), null, "vmdk");

    [Fact]
    public async Task Import_RawOfOneSector_KeepsItsContent() =>
        Assert.Equal(512, (await _scene.Import(Bytes.Disk[..512], ImageFormat.Raw, Token)).Disks[0].VirtualSizeBytes);

    /// <summary>The upload itself is left out, because hashing this many bytes takes many minutes.</summary>
    [Fact]
    public async Task Import_RawOfATebibyteWithHoles_KeepsItsContent()
    {
        const long Tebibyte = 1L << 40;
        var plan = ImportScene.PlanOf(ImageFormat.Raw);
        var (part, kept) = (_scene.Library.Store.PartPathOf(plan.Layer), Path.Combine(_scene.Library.Store.Folder, "disk"));
        foreach (var path in new[] { part, kept })
        {
            using var disk = File.OpenHandle(path, FileMode.Create, FileAccess.Write);
            foreach (var offset in new[] { 0, Tebibyte / 2, Tebibyte - 4096 }) RandomAccess.Write(disk, Bytes.Disk.AsSpan(0, 4096), offset);
        }

        InspectedImage image;
        using (var file = File.OpenHandle(part)) image = ImageInspector.Inspect(file, plan.Command.Format, ImportScene.MaxVirtualBytes);
        var manifest = await _scene.Convert(plan, new(part, Tebibyte, new string('0', 64), Compression: null, image), Token);

        Assert.Equal(Tebibyte, manifest.Disks[0].VirtualSizeBytes);
        TestLibrary.QemuImg("compare", "-f", "raw", "-F", "qcow2", kept, _scene.PathOf(manifest));
        Assert.True(manifest.Disks[0].Layers[0].Bytes < 4 << 20);
    }

    [Fact]
    public async Task Receive_OfARawDiskThatIsMostlyZeros_TakesTheSpaceOfTheRest()
    {
        var disk = new byte[64 << 20];
        Bytes.Disk.AsSpan(0, 4096).CopyTo(disk.AsSpan(20 << 20));
        var plan = ImportScene.PlanOf(ImageFormat.Raw);

        var upload = await _scene.Receive(plan, new MemoryStream(disk), Token);

        Assert.Equal(disk.Length, new FileInfo(upload.Path).Length);
        Assert.Equal(Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData(disk)), upload.Sha256);
        Assert.True(UnixFiles.AllocatedBytes(upload.Path) <= 1 << 20);
        Assert.Equal(disk, await File.ReadAllBytesAsync(upload.Path, Token));
        await _scene.Convert(plan, upload, Token);
    }

    [Fact]
    public async Task Import_Bitmap_IsDropped()
    {
        var path = Path.Combine(_scene.Library.Store.Incoming, "bitmap");
        await File.WriteAllBytesAsync(path, Bytes.Converted("qcow2"), Token);
        TestLibrary.QemuImg("bitmap", "--add", "-f", "qcow2", path, "b0");
        var image = await File.ReadAllBytesAsync(path, Token);
        File.Delete(path);

        var manifest = await ImportAndCompare(image, null, "qcow2");

        Assert.DoesNotContain("bitmaps", TestLibrary.QemuImg("info", "-f", "qcow2", _scene.PathOf(manifest)), StringComparison.Ordinal);
    }

    private async Task<ImageManifest> ImportAndCompare(byte[] bytes, ImageFormat? declared, string format)
    {
        var manifest = await _scene.Import(bytes, declared, Token);

        var disk = Path.Combine(_scene.Library.Store.Folder, "disk");
        await File.WriteAllBytesAsync(disk, Bytes.Disk, Token);
        TestLibrary.QemuImg("compare", "-f", "raw", "-F", "qcow2", disk, _scene.PathOf(manifest));
        TestLibrary.QemuImg("check", "-q", "-f", "qcow2", _scene.PathOf(manifest));
        Assert.Equal(format, ImageFile.Of(manifest.Import!.Format).Text);
        Assert.Empty(Directory.GetFiles(_scene.Library.Store.Incoming));
        return manifest;
    }
}
