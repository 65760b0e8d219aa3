using System.IO.Compression;
using System.IO.Pipelines;
using System.Security.Cryptography;
using Instances.Faults;
using Instances.Operations;
using Microsoft.Extensions.Options;
using Xunit;
using static Instances.Library.Import.TestImages;

namespace Instances.Library.Import;

/// <summary>Receiver and converter on real files. The test receives the reports to the image.</summary>
public sealed class ImageImportTests : IDisposable
{
    private readonly TestLibrary _library = new();
    private readonly string _folder = Directory.CreateTempSubdirectory("instances-import-").FullName;
    private readonly List<(ImportStage Stage, long Bytes)> _reports = [];
    private readonly ImageId _image = ImageId.New();

    private readonly List<long> _admitted = [];

    private bool _acceptSignature;
    private Action? _atConverting;
    private Action<ImportStage, long>? _atReport;
    private ImportStage? _cancelAt;
    private long _quota = long.MaxValue;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose()
    {
        _library.Dispose();
        Directory.Delete(_folder, recursive: true);
    }

    [Theory]
    [InlineData("compat=0.10")]
    [InlineData("compat=1.1")]
    [InlineData("cluster_size=512")]
    [InlineData("cluster_size=2M")]
    [InlineData("extended_l2=on")]
    [InlineData("lazy_refcounts=on")]
    [InlineData("preallocation=metadata")]
    public Task Import_Qcow2_KeepsItsContent(string options) => ImportAndCompare(Qcow2(options), ImageFormat.Qcow2);

    [Theory, InlineData("zlib"), InlineData("zstd")]
    public Task Import_CompressedQcow2_KeepsItsContent(string type) => ImportAndCompare(Compressed(type), ImageFormat.Qcow2);

    [Fact]
    public Task Import_RawOfOneSector_KeepsItsContent() => ImportAndCompare(RandomNumberGenerator.GetBytes(512), ImageFormat.Raw);

    [Fact]
    public Task Import_RawWithHoles_KeepsItsContent()
    {
        var disk = new byte[32 << 20];
        Random.Shared.NextBytes(disk.AsSpan(5_000_000, 100_000));
        return ImportAndCompare(disk, ImageFormat.Raw);
    }

    // A guest may write anything to its own first sector.
    [Fact]
    public async Task Import_RawThatLooksLikeQcow2_StaysRaw()
    {
        var disk = Made("create", "-q", "-f", "qcow2", "-u", "-b", "/etc/passwd", "-F", "raw", "$path", "1M");
        Assert.Equal("format-mismatch", (await Assert.ThrowsAsync<FaultException>(() => Import(disk, ImageFormat.Raw))).Fault.Code);
        _acceptSignature = true;

        var manifest = await ImportAndCompare(disk, ImageFormat.Raw);

        Assert.Equal((disk.Length + 511) / 512 * 512, manifest.Disks[0].VirtualSizeBytes);
    }

    [Fact]
    public async Task Import_Manifest_TellsAllThatThereIs()
    {
        var image = Plain;

        var manifest = await ImportAndCompare(image, ImageFormat.Qcow2);

        var layer = Assert.Single(Assert.Single(manifest.Disks).Layers);
        Assert.Null(layer.Sha256);
        Assert.Equal((_image, "image", ImageKind.Master), (manifest.Id, manifest.Name, manifest.Kind));
        Assert.Equal(Convert.ToHexStringLower(SHA256.HashData(image)), manifest.Import!.Sha256);
        Assert.Equal(image.Length, manifest.Import.Bytes);
        Assert.Equal([ImportStage.Receiving, ImportStage.Checking, ImportStage.Converting, ImportStage.Publishing], _reports.Select(report => report.Stage).Distinct());
        Assert.Equal(manifest.Id, Assert.Single(await _library.Store.ReadManifests(Token)).Id);
        Assert.Equal(Environment.IsPrivilegedProcess ? "440" : "400", TestLibrary.Run("stat", "-c", "%a", _library.Store.PathOf(layer.Id)).Trim());
        Assert.Contains("extended l2: false", TestLibrary.QemuImg("info", "-f", "qcow2", _library.Store.PathOf(layer.Id)), StringComparison.Ordinal);
    }

    [Fact]
    public async Task Import_DirtyImage_IsRepairedOnTheCopy()
    {
        var path = Path.Combine(_folder, "dirty");
        await File.WriteAllBytesAsync(path, Qcow2("lazy_refcounts=on"), Token);

        // Ended in the middle, it leaves reference counts behind that are not written.
        TestLibrary.Run("sh", "-c", $"qemu-io -f qcow2 -c 'write -P 9 4M 64k' -c 'abort' '{path}' >/dev/null 2>&1; true");
        var image = await File.ReadAllBytesAsync(path, Token);
        Assert.Equal(1, image[79] & 1);

        await ImportAndCompare(image, ImageFormat.Qcow2);
    }

    public static TheoryData<string> Damaged => ["L2 entry past the end", "L2 entry in the header", "data cluster twice", "cut in half", "compressed cluster past the end"];

    [Theory, MemberData(nameof(Damaged))]
    public async Task Import_DamagedImage_IsRefused(string damage)
    {
        var l2 = (int)(Number64(Plain, (int)Number64(Plain, 40)) & 0x00FFFFFFFFFFFE00);
        var image = damage switch
        {
            "L2 entry past the end" => Patched64(Plain, l2, (1UL << 63) | (1UL << 40)),
            "L2 entry in the header" => Patched64(Plain, l2, 1UL << 63),
            "data cluster twice" => Patched64(Plain, l2 + 8, Number64(Plain, l2)),
            "cut in half" => Plain[..(Plain.Length / 2 / 65_536 * 65_536)],
            "compressed cluster past the end" => Patched64(Plain, l2, (1UL << 62) | (1UL << 40)),
            _ => throw new InvalidOperationException(damage),
        };
        if (damage == "L2 entry in the header")
            image = Patched64(Plain, l2, (1UL << 63) | 512);

        var refusal = await Assert.ThrowsAsync<FaultException>(() => Import(image, ImageFormat.Qcow2));

        Assert.Contains(refusal.Fault.Code, (string[])["image-corrupt", "image-malformed"]);
        AssertNothingLeft();
    }

    // A program that opens a FIFO as the backing file would hang.
    [Fact]
    public async Task Import_ImageWithABackingFile_DoesNotOpenIt()
    {
        var fifo = Path.Combine(_folder, "canary");
        TestLibrary.Run("mkfifo", fifo);
        var image = Made("create", "-q", "-f", "qcow2", "-u", "-b", fifo, "-F", "raw", "$path", "1M");

        var refusal = await Assert.ThrowsAsync<FaultException>(
            () => Import(image, ImageFormat.Qcow2).WaitAsync(Testing.Bounds.Wait, Token));

        Assert.Equal("image-refers-outside", refusal.Fault.Code);
        Assert.DoesNotContain("canary", refusal.Message, StringComparison.Ordinal);
        AssertNothingLeft();
    }

    [Theory]
    [InlineData(1, null)]
    [InlineData(-1, null)]
    [InlineData(0, "0000000000000000000000000000000000000000000000000000000000000000")]
    public async Task Receive_OtherBytesThanDeclared_AreRefused(int more, string? sha256)
    {
        var refusal = await Assert.ThrowsAsync<FaultException>(() => Import(Plain, ImageFormat.Qcow2, Plain.Length + more, sha256));

        Assert.Equal("upload-mismatch", refusal.Fault.Code);
        AssertNothingLeft();
    }

    [Fact]
    public Task Receive_DeclaredDigest_IsTakenInAnyCase() =>
        ImportAndCompare(Plain, ImageFormat.Qcow2, Plain.Length, Convert.ToHexString(SHA256.HashData(Plain)));

    [Fact]
    public async Task Receive_MoreThanAllowed_IsRefused()
    {
        var refusal = await Assert.ThrowsAsync<FaultException>(() => Import(new byte[4097], ImageFormat.Raw, maxUploadBytes: 4096));

        Assert.Equal("image-too-large", refusal.Fault.Code);
        AssertNothingLeft();
    }

    [Fact]
    public async Task Receive_DiskOverTheQuota_IsRefused()
    {
        var refusal = await Assert.ThrowsAsync<FaultException>(() => Import(Plain, ImageFormat.Qcow2, maxVirtualBytes: (16 << 20) - 512));

        Assert.Equal("quota-exceeded", refusal.Fault.Code);
        AssertNothingLeft();
    }

    [Theory, InlineData(ImageFormat.Raw), InlineData(ImageFormat.Qcow2)]
    public async Task Receive_NoBytes_IsRefused(ImageFormat format)
    {
        Assert.Equal("image-empty", (await Assert.ThrowsAsync<FaultException>(() => Import([], format))).Fault.Code);
        AssertNothingLeft();
    }

    [Fact]
    public async Task Receive_SenderThatBreaksOff_LeavesNothing()
    {
        var refusal = await Assert.ThrowsAsync<FaultException>(() => Receive(new BrokenStream(), ImageFormat.Raw));

        Assert.Equal("upload-aborted", refusal.Fault.Code);
        AssertNothingLeft();
    }

    /// <summary>Before a program is started on the file; for an uncompressed file also before all of it has arrived.</summary>
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Import_OfADiskThatItsOwnerHasNoRoomFor_IsRefusedBeforeItIsChecked(bool isCompressed)
    {
        _quota = (16 << 20) - 1;
        var bytes = isCompressed ? Gzipped(Plain) : Plain;

        var refusal = await Assert.ThrowsAsync<FaultException>(() => Import(bytes, ImageFormat.Qcow2));

        Assert.Equal("quota-virtual-bytes", refusal.Fault.Code);
        Assert.Equal([16 << 20], _admitted);
        Assert.DoesNotContain(_reports, report => report.Stage is ImportStage.Converting);
        AssertNothingLeft();
        _quota++;
        Assert.Equal(16 << 20, (await Import(bytes, ImageFormat.Qcow2)).Disks[0].VirtualSizeBytes);
        Assert.All(_admitted, size => Assert.Equal(16 << 20, size));
        Assert.Equal(isCompressed ? 2 : 3, _admitted.Count);
    }

    [Fact]
    public async Task Receive_WithoutSpace_IsRefusedBeforeTheFirstByte()
    {
        using var library = new TestLibrary(minimumFreeBytes: long.MaxValue / 2);
        var receiver = new ImageReceiver(
            library.Store, Options.Create(new ImportOptions()), Options.Create(new LibraryOptions()), TimeProvider.System);

        var refusal = await Assert.ThrowsAsync<FaultException>(() => receiver.Receive(
            Plan(ImageFormat.Raw, null, null), new BrokenStream(), null, Report, Admit, Token));

        Assert.Equal("no-space", refusal.Fault.Code);
    }

    [Theory]
    [InlineData(ImportStage.Receiving)]
    [InlineData(ImportStage.Checking)]
    [InlineData(ImportStage.Converting)]
    [InlineData(ImportStage.Publishing)]
    public async Task Import_CancelledAtAnyStage_LeavesNothing(ImportStage stage)
    {
        _cancelAt = stage;

        await Assert.ThrowsAsync<ImportCancelledException>(() => Import(Plain, ImageFormat.Qcow2));

        AssertNothingLeft();
    }

    // A file system of 8 MiB stands for a disk that fills up.
    [Fact]
    public async Task Import_ThatFillsTheDisk_SaysSoAndLeavesNothing()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "Only root mounts file systems.");
        using var library = new TestLibrary(tmpfsBytes: 8 << 20);
        var disk = RandomNumberGenerator.GetBytes(6 << 20);

        var refusal = await Assert.ThrowsAsync<FaultException>(() => Import(library, disk, ImageFormat.Raw));

        Assert.Equal("no-space", refusal.Fault.Code);
        Assert.Empty(library.Store.List());
    }

    // A file system that can no longer be written stands for a disk that fails.
    [Fact]
    public async Task Import_WhoseDiskFails_DoesNotBlameTheImage()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "Only root mounts file systems.");
        using var library = new TestLibrary(tmpfsBytes: 64 << 20);
        _atConverting = () => TestLibrary.Run("mount", "-o", "remount,ro", Path.GetDirectoryName(library.Store.Folder + "/")!);

        var refusal = await Assert.ThrowsAsync<FaultException>(() => Import(library, Plain, ImageFormat.Qcow2));

        Assert.Equal((FaultKind.Unavailable, "disk-failed"), (refusal.Fault.Kind, refusal.Fault.Code));
        Assert.Contains(library.Store.Folder, refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task ConfinedPrograms_OfRoot_AreNobodyWithoutNetworkAndEnvironment()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "Only root becomes another user.");
        await ImportAndCompare(Plain, ImageFormat.Qcow2);
        string[] command = [.. _library.Confinement.Prefix(ProcessBounds.Short), "sh", "-c", "id -un; env | cut -d= -f1 | sort | tr '\\n' ' '; ls /sys/class/net | wc -l; cat /proc/net/dev | wc -l; ulimit -v"];

        var output = TestLibrary.Run(command[0], command[1..]).Split('\n');

        Assert.Equal("nobody", output[0]);
        Assert.DoesNotContain("HOME", output[1], StringComparison.Ordinal);
        Assert.Equal("3", output[2].Trim()); // Two lines of heading, and the loopback device.
        Assert.Equal((ProcessBounds.Short.MemoryBytes >> 10).ToString(null, null), output[3].Trim());
    }

    /// <summary>Nobody watches it any more.</summary>
    [Fact]
    public async Task Import_WhoseReportFails_EndsItsProgram()
    {
        var part = Gzipped(new byte[64 << 20]);
        byte[] bytes = [.. Enumerable.Repeat(part, 256).SelectMany(bytes => bytes)];
        _atReport = (stage, expanded) =>
        {
            if (stage is ImportStage.Checking && expanded > 0) throw new InvalidOperationException("The report failed.");
        };

        await Assert.ThrowsAsync<InvalidOperationException>(() => Import(bytes, ImageFormat.Raw, maxUploadBytes: 1L << 40));

        Assert.DoesNotContain(
            Directory.EnumerateFiles("/proc/self/fd").Select(descriptor => new FileInfo(descriptor).LinkTarget),
            file => file is not null && file.StartsWith(_library.Store.Incoming, StringComparison.Ordinal));
        AssertNothingLeft();
    }

    private async Task<ImageManifest> ImportAndCompare(byte[] bytes, ImageFormat format, long? declaredBytes = null, string? sha256 = null)
    {
        var original = Path.Combine(_folder, "original");
        await File.WriteAllBytesAsync(original, bytes, Token);

        var manifest = await Import(bytes, format, declaredBytes, sha256);

        var layer = _library.Store.PathOf(manifest.Disks[0].Layers[0].Id);
        TestLibrary.QemuImg("compare", "-f", ImageFile.Of(format).Text, "-F", "qcow2", original, layer);
        TestLibrary.QemuImg("check", "-q", "-f", "qcow2", layer);
        Assert.Empty(Directory.GetFiles(_library.Store.Incoming));
        return manifest;
    }

    private Task<ImageManifest> Import(
        byte[] bytes, ImageFormat format, long? declaredBytes = null, string? sha256 = null, long maxUploadBytes = 1 << 30, long maxVirtualBytes = 1L << 40) =>
        Import(_library, bytes, format, declaredBytes, sha256, maxUploadBytes, maxVirtualBytes);

    private async Task<ImageManifest> Import(
        TestLibrary library, byte[] bytes, ImageFormat format, long? declaredBytes = null, string? sha256 = null, long maxUploadBytes = 1 << 30, long maxVirtualBytes = 1L << 40)
    {
        var plan = Plan(format, declaredBytes, sha256);
        var options = Options.Create(new ImportOptions { MaxVirtualBytes = maxVirtualBytes });
        var bound = Options.Create(new LibraryOptions { MaxUploadBytes = maxUploadBytes });
        var receiver = new ImageReceiver(library.Store, options, bound, TimeProvider.System);
        var decompressor = new Decompressor(library.Store, library.Confinement, options, bound);
        var converter = new ImageConverter(library.Store, library.Tools, library.Confinement, decompressor, options, TimeProvider.System);
        var upload = await receiver.Receive(plan, new MemoryStream(bytes), announcedBytes: null, Report, Admit, Token);
        return await converter.Convert(_image, plan, upload, Report, Admit, Token);
    }

    private async Task Receive(Stream body, ImageFormat format)
    {
        var receiver = new ImageReceiver(_library.Store, Options.Create(new ImportOptions()), Options.Create(new LibraryOptions()), TimeProvider.System);
        using var place = new ImportPlaces(Options.Create(new LibraryOptions()), TimeProvider.System).Take(_image);
        var sender = new UploadBody(PipeReader.Create(body), place, Report, offset: 0, TimeSpan.FromMinutes(2), TimeSpan.FromSeconds(1), isPart: false, TimeProvider.System);
        await receiver.Receive(Plan(format, null, null), sender, announcedBytes: null, Report, Admit, Token);
    }

    private UploadPlan Plan(ImageFormat format, long? bytes, string? sha256) =>
        new(OperationId.New(), LayerId.New(), new ImportCommand("image", format, bytes, sha256, AcceptSignature: _acceptSignature));

    private Task<bool> Report(ImportStage stage, long bytes)
    {
        _reports.Add((stage, bytes));
        _atReport?.Invoke(stage, bytes);
        if (stage is ImportStage.Converting) Interlocked.Exchange(ref _atConverting, null)?.Invoke();
        return Task.FromResult(stage != _cancelAt);
    }

    private Task Admit(long virtualSizeBytes)
    {
        _admitted.Add(virtualSizeBytes);
        return _quota >= virtualSizeBytes ? Task.CompletedTask : throw FaultException.Capacity("quota-virtual-bytes", "Too large.");
    }

    private static byte[] Gzipped(byte[] bytes)
    {
        using var compressed = new MemoryStream();
        using (var gzip = new GZipStream(compressed, CompressionLevel.Fastest)) gzip.Write(bytes);
        return compressed.ToArray();
    }

    private void AssertNothingLeft() => Assert.Empty(Directory.GetFiles(_library.Store.Folder, "*", SearchOption.AllDirectories));

    /// <summary>Gives some bytes, then fails as a connection does.</summary>
    private sealed class BrokenStream : MemoryStream
    {
        private bool _gave;

        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            if (_gave)
                throw new IOException("The connection was reset.");
            _gave = true;
            return ValueTask.FromResult(100);
        }
    }
}
