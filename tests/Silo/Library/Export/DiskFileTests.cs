using CsCheck;
using Xunit;

namespace Instances.Library.Export;

/// <summary>Files of each format, of chains that QEMU has written, against QEMU's own reading of both.</summary>
public sealed class DiskFileTests : IDisposable
{
    private const long MiB = 1L << 20;

    private static readonly Guid Id = Guid.Parse("01234567-89ab-4cde-8f01-23456789abcd");

    private readonly TestLibrary _library = new();
    private readonly string _folder = Testing.MemoryFolder.Create("export-");

    public static TheoryData<ExportFormat> Formats => [.. Enum.GetValues<ExportFormat>()];

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose()
    {
        _library.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Theory, MemberData(nameof(Formats))]
    public async Task Write_ChainWithDataZerosAndDiscards_IsWhatQemuReads(ExportFormat format)
    {
        var chain = new TestChain(_library.Store);
        await chain.Add(200 * MiB, "write -P 1 0 3M", "write -P 2 63M 2M", "write -P 3 199M 1M");
        await chain.Add(200 * MiB, "write -P 4 1M 5000", "write -z 2M 64k", "discard 63M 512k", "write -P 5 100M 64k");
        await chain.Add(200 * MiB, "write -P 6 1050k 2k", "write -z -u 199M 512k", "write -P 7 150M 6k");
        await chain.Add(200 * MiB, "write -P 8 2100k 2k", "discard 100M 64k");

        await WriteAndCompare(chain, format);
    }

    [Theory, MemberData(nameof(Formats))]
    public async Task Write_EmptyDisk_IsWhatQemuReads(ExportFormat format)
    {
        var chain = new TestChain(_library.Store);
        await chain.Add(3 * MiB + 512);

        await WriteAndCompare(chain, format);
    }

    [Theory, MemberData(nameof(Formats))]
    public async Task Write_DiskOfOneSector_IsWhatQemuReads(ExportFormat format)
    {
        var chain = new TestChain(_library.Store);
        await chain.Add(512, "write -P 9 0 512");

        await WriteAndCompare(chain, format);
    }

    /// <summary>After the end of a lower layer there are zeros, whatever an even lower layer has there.</summary>
    [Theory, MemberData(nameof(Formats))]
    public async Task Write_ChainOfDifferentSizes_IsWhatQemuReads(ExportFormat format)
    {
        var chain = new TestChain(_library.Store);
        await chain.Add(8 * MiB, "write -P 1 0 8M");
        await chain.Add(3 * MiB + 1024, "write -P 2 1M 64k");
        await chain.Add(10 * MiB, "write -P 3 9M 100k");

        await WriteAndCompare(chain, format);
    }

    /// <summary>A guest may write anything to its first sector: no program reads a format or a file name from it.</summary>
    [Theory, MemberData(nameof(Formats))]
    public async Task Write_DiskThatLooksLikeAnotherImage_IsWhatQemuReads(ExportFormat format)
    {
        var hostile = Path.Combine(_folder, "hostile");
        TestLibrary.QemuImg("create", "-q", "-f", "qcow2", "-u", "-b", "/etc/passwd", "-F", "raw", hostile, "1M");
        var chain = new TestChain(_library.Store);
        await chain.Add(8 * MiB, $"write -s {hostile} 0 192k");

        await WriteAndCompare(chain, format);
    }

    /// <summary>More than one table of each kind, and a block of reference counts that has to count itself.</summary>
    [Theory, InlineData(ExportFormat.Qcow2), InlineData(ExportFormat.Vhdx), InlineData(ExportFormat.Vmdk)]
    public async Task Write_LargeSparseDisk_IsWhatQemuReads(ExportFormat format)
    {
        var chain = new TestChain(_library.Store);
        await chain.Add(2L << 40, "write -P 1 0 64k", "write -P 2 511M 2M", "write -P 3 1500G 70k", "write -P 4 2047G 64k");

        var file = await WriteAndCheck(chain, format);

        foreach (var part in (string[])["1 0 64k", "2 511M 2M", "3 1500G 70k", "4 2047G 64k", "0 1G 1M"])
            Assert.DoesNotContain("fail", TestLibrary.Run("qemu-io", "-r", "-f", NameOf(format), "-c", $"read -P {part}", file), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Write_Zeros_AreNotInTheFile()
    {
        var chain = new TestChain(_library.Store);
        await chain.Add(100 * MiB, "write -P 1 0 64k", "write -z 10M 20M");

        Assert.Equal(6 * 65536, new FileInfo(await WriteAndCheck(chain, ExportFormat.Qcow2)).Length);
        Assert.Equal(5 * MiB, new FileInfo(await WriteAndCheck(chain, ExportFormat.Vhdx)).Length);
        Assert.InRange(new FileInfo(await WriteAndCheck(chain, ExportFormat.Vmdk)).Length, 65536, 3 * 65536);
    }

    [Fact]
    public async Task Write_AnyChain_IsWhatQemuReads()
    {
        const long Size = 5 * MiB + 1536;
        var operation =
            from verb in Gen.OneOf("write -P 1", "write -P 2", "write -P 3", "write -z", "write -z -u", "discard")
            from unit in Gen.OneOf(512L, 2048L, 4096L, 65536L)
            from start in Gen.Long[0, (Size / unit) - 1]
            from length in Gen.Long[1, 30]
            select $"{verb} {start * unit} {Math.Min(length * unit, Size - (start * unit))}";

        await operation.Array[0, 8].Array[1, 4].SampleAsync(async layers =>
        {
            var chain = new TestChain(_library.Store);
            foreach (var commands in layers) await chain.Add(Size, commands);
            foreach (var format in Enum.GetValues<ExportFormat>()) await WriteAndCompare(chain, format);
        }, iter: 12, threads: 1);
    }

    [Theory, MemberData(nameof(Formats))]
    public async Task Write_Twice_GivesTheSameBytes(ExportFormat format)
    {
        var chain = new TestChain(_library.Store);
        await chain.Add(10 * MiB, "write -P 1 0 3M");

        Assert.Equal(await File.ReadAllBytesAsync(await Write(chain, format), Token), await File.ReadAllBytesAsync(await Write(chain, format), Token));
    }

    /// <summary>Its file is deleted while it is read, as with its image.</summary>
    [Fact]
    public async Task Write_LayersThatAreDeletedMeanwhile_GoesOn()
    {
        var chain = new TestChain(_library.Store);
        await chain.Add(10 * MiB, "write -P 1 0 3M");
        await chain.Add(10 * MiB, "write -P 2 1M 3M");
        var before = await File.ReadAllBytesAsync(await Write(chain, ExportFormat.Raw), Token);
        using var file = DiskFile.Of(chain.Open(), ExportFormat.Raw, Id, Token);
        foreach (var layer in chain.Disk.Layers) await _library.Store.Delete(layer);

        using var written = new MemoryStream();
        await file.Write(written, Token);

        Assert.Equal(before, written.ToArray());
    }

    private async Task WriteAndCompare(TestChain chain, ExportFormat format)
    {
        var file = await WriteAndCheck(chain, format);
        TestLibrary.QemuImg("compare", "-f", "qcow2", "-F", NameOf(format), chain.TopPath, file);
        Assert.Contains($"({chain.VirtualSizeBytes} bytes)", TestLibrary.QemuImg("info", "-f", NameOf(format), file), StringComparison.Ordinal);
        File.Delete(file);
    }

    private async Task<string> WriteAndCheck(TestChain chain, ExportFormat format)
    {
        var file = await Write(chain, format);
        if (format is not ExportFormat.Raw) TestLibrary.QemuImg("check", "-f", NameOf(format), file);
        return file;
    }

    private async Task<string> Write(TestChain chain, ExportFormat format)
    {
        var path = Path.Combine(_folder, $"{Guid.NewGuid()}.{NameOf(format)}");
        using var file = DiskFile.Of(chain.Open(), format, Id, Token);
        await using var target = File.Create(path);
        await file.Write(target, Token);
        if (file.Bytes is { } bytes) Assert.Equal(bytes, target.Length);
        return path;
    }

    private static string NameOf(ExportFormat format) => format.ToString().ToLowerInvariant();
}
