using System.Diagnostics;
using System.Formats.Tar;
using System.Net;
using System.Net.Http.Headers;
using System.Security.Cryptography;
using System.Text.Json;
using Instances.Library;
using Instances.Library.Export;
using Instances.Operations;
using Instances.Testing;
using Xunit;

namespace Instances.DataPlane;

/// <summary>Exports over HTTP, by the real image grain and out of the real library.</summary>
public sealed class ExportTests(ExportTests.Shared shared) : IClassFixture<ExportTests.Shared>, IAsyncLifetime
{
    private const long MiB = 1L << 20;

    /// <summary>More than fits into the buffers of all sockets on the way.</summary>
    private const long LongBytes = 32 * MiB;

    private static readonly (string, string) OneExport = ("Export:MaxExports", "1");

    private readonly string _folder = Testing.MemoryFolder.Create("export-");
    private TestDataPlane _plane = shared.Plane;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync() => await PlaceIsFree();

    public async ValueTask DisposeAsync()
    {
        if (_plane != shared.Plane) await _plane.DisposeAsync();
        Directory.Delete(_folder, recursive: true);
    }

    /// <summary>One silo for all tests but those that sweep.</summary>
    public sealed class Shared() : DataPlaneFixture(OneExport);

    [Theory]
    [InlineData(ExportFormat.Qcow2, null), InlineData(ExportFormat.Qcow2, ExportCompression.Zstd)]
    [InlineData(ExportFormat.Raw, null), InlineData(ExportFormat.Raw, ExportCompression.Zstd)]
    [InlineData(ExportFormat.Vmdk, null), InlineData(ExportFormat.Vmdk, ExportCompression.Zstd)]
    [InlineData(ExportFormat.Vhdx, null), InlineData(ExportFormat.Vhdx, ExportCompression.Zstd)]
    public async Task Export_OfAChain_ImportsAgainBitByBit(ExportFormat format, ExportCompression? compression)
    {
        var (image, chains) = await AddImage("Debian 12", disks: 1);

        var file = await Download(image, format, compression);

        var extension = $".{format}".ToLowerInvariant() + (compression is null ? "" : ".zst");
        Assert.Equal($"Debian 12{extension}", Path.GetFileName(file));
        var import = await _plane.Begin(Enum.Parse<ImageFormat>(format.ToString()));
        using var response = await _plane.Put(import, await File.ReadAllBytesAsync(file, Token));
        Assert.Equal((OperationStatus.Succeeded, null), await Ending(import));
        var imported = (await _plane.Image(import).Get()).Disks[0];
        Assert.Equal(chains[0].VirtualSizeBytes, imported.VirtualSizeBytes);
        TestLibrary.QemuImg("compare", "-f", "qcow2", "-F", "qcow2", chains[0].TopPath, _plane.Store.PathOf(imported.Layers[0].Id));
    }

    [Theory, InlineData(null), InlineData(ExportCompression.Zstd)]
    public async Task Export_OfSeveralDisks_IsATarOfThem(ExportCompression? compression)
    {
        var (image, chains) = await AddImage("mail", disks: 3);

        var file = await Download(image, ExportFormat.Qcow2, compression);

        Assert.Equal(compression is null ? "mail.tar" : "mail.tar.zst", Path.GetFileName(file));
        if (compression is not null) TestLibrary.Run("zstd", "-d", "-q", "--rm", file);
        TestLibrary.Run("tar", "-C", _folder, "-xf", Path.Combine(_folder, "mail.tar"));
        await TarFile.ExtractToDirectoryAsync(Path.Combine(_folder, "mail.tar"), Directory.CreateDirectory(Path.Combine(_folder, "net")).FullName, overwriteFiles: false, Token);
        for (var index = 0; index < chains.Count; index++)
        {
            var disk = Path.Combine(_folder, $"mail-disk{index}.qcow2");
            TestLibrary.QemuImg("check", "-q", "-f", "qcow2", disk);
            TestLibrary.QemuImg("compare", "-f", "qcow2", "-F", "qcow2", chains[index].TopPath, disk);
            Assert.Equal(await File.ReadAllBytesAsync(disk, Token), await File.ReadAllBytesAsync(Path.Combine(_folder, "net", $"mail-disk{index}.qcow2"), Token));
        }
    }

    [Fact]
    public async Task Export_OfSeveralDisksAsVmdk_IsRefused()
    {
        var (image, _) = await AddImage("mail", disks: 2);

        await AssertProblem(await Get(image, ExportFormat.Vmdk), HttpStatusCode.UnprocessableEntity, "export-format-unsupported");
    }

    [Fact]
    public async Task Head_TellsWhatWouldCome()
    {
        var (image, _) = await AddImage("Käse \"a/b\"", disks: 1);

        using var head = await Get(image, ExportFormat.Raw, method: HttpMethod.Head);

        Assert.Equal(HttpStatusCode.OK, head.StatusCode);
        Assert.Equal($"{20 * MiB + 512}", head.Headers.GetValues("Export-Length").Single());
        Assert.Equal("Käse _a_b_.raw", head.Content.Headers.ContentDisposition!.FileNameStar);
        Assert.Empty(await head.Content.ReadAsByteArrayAsync(Token));
    }

    [Fact]
    public async Task Export_OfAnImageThatIsNotReady_SaysWhy()
    {
        var (image, chains) = await AddImage("one", disks: 1);
        var import = await _plane.Begin(ImageFormat.Raw);
        await AssertProblem(await Get(import.Image, ExportFormat.Raw), HttpStatusCode.Conflict, "image-not-ready");
        await AssertProblem(await Get(ImageId.New(), ExportFormat.Raw), HttpStatusCode.NotFound, "image-not-found");

        await Grain(image).Judge([chains[0].Disk.Layers[0]]);

        await AssertProblem(await Get(image, ExportFormat.Raw), HttpStatusCode.Conflict, "image-corrupt");
    }

    [Fact]
    public async Task Export_WithoutATicketForTheImage_IsForbidden()
    {
        var (image, _) = await AddImage("one", disks: 1);

        await AssertProblem(await Get(image, ExportFormat.Raw, secret: "guess"), HttpStatusCode.Forbidden, "ticket-invalid");
        await AssertProblem(await Get(image, ExportFormat.Raw, secret: _plane.Service<ExportTickets>().Issue(ImageId.New())), HttpStatusCode.Forbidden, "ticket-invalid");
        await AssertProblem(await _plane.Client.GetAsync($"{(await Grain(image).Export()).Address}?format=raw", Token), HttpStatusCode.Forbidden, "ticket-invalid");
    }

    [Fact]
    public async Task Export_WithALayerThatIsGone_SaysWhich()
    {
        var (image, chains) = await AddImage("one", disks: 1);
        await _plane.Store.Delete(chains[0].Disk.Layers[1]);

        await AssertProblem(await Get(image, ExportFormat.Qcow2), HttpStatusCode.NotFound, "layer-missing");
    }

    /// <summary>One place: it is taken while a client receives, and free after the client has disconnected.</summary>
    [Theory, InlineData(null), InlineData(ExportCompression.Zstd)]
    public async Task Export_WhoseReceiverLeaves_EndsAndLeavesNothing(ExportCompression? compression)
    {
        var (image, chains) = await AddLongImage();
        using (var begun = await Get(image, ExportFormat.Raw, compression))
        {
            await AssertProblem(await Get(image, ExportFormat.Raw), HttpStatusCode.ServiceUnavailable, "too-many-exports");
            await Eventually.Holds(() => Task.FromResult(OpenLayers(chains[0]) == chains[0].Disk.Layers.Count && Compressors().Count == (compression is null ? 0 : 1)), "the export runs");
        }

        await Eventually.Holds(() => Task.FromResult(OpenLayers(chains[0]) == 0 && Compressors().Count == 0), "its files are closed, and its program has ended");
        await PlaceIsFree();
    }

    [Fact]
    public async Task Export_OfAnImageThatIsDeletedMeanwhile_GoesOnToItsEnd()
    {
        await WithoutGracePeriod();
        var (image, chains) = await AddLongImage();
        _plane.SweepAfter(TimeSpan.Zero);
        var before = await HashOf(chains[0]);
        using var begun = await Get(image, ExportFormat.Raw);

        await Grain(image).Delete();
        await Eventually.Holds(() => Task.FromResult(!chains[0].Disk.Layers.Any(_plane.Store.Contains)), "the layers are gone");

        Assert.Equal(before, await Receive(begun, Stream.Null));
        await AssertProblem(await Get(image, ExportFormat.Raw), HttpStatusCode.NotFound, "image-not-found");
    }

    /// <summary>Either the export opens all layers before they are deleted, or it sees that the image is deleted: never a partial export, and never a missing layer.</summary>
    [Fact]
    public async Task Export_AgainstADeletion_IsWholeOrRefused()
    {
        await WithoutGracePeriod();

        // Create all of them before the first deletion, because its sweep deletes files that have no image at that time.
        var images = new List<ImageId>();
        var before = "";
        while (images.Count < 24)
        {
            var chain = new TestChain(_plane.Store);
            await chain.Add(MiB, "write -P 1 0 300k");
            await chain.Add(MiB);
            images.Add(await Publish("one", [chain]));
            if (images.Count == 1) before = await HashOf(chain);
        }

        _plane.SweepAfter(TimeSpan.Zero);
        var (whole, refused) = (0, 0);
        foreach (var (round, image) in images.Index())
        {
            // From simultaneous to clearly one after the other, in both orders.
            var deletion = Later(round % 2 == 0 ? 0 : round / 3, () => Grain(image).Delete());
            await Task.Delay(round % 2 == 0 ? round / 3 : 0, Token);
            using var response = await Get(image, ExportFormat.Raw);

            if (response.StatusCode is HttpStatusCode.OK)
            {
                Assert.Equal(before, await Receive(response, Stream.Null));
                whole++;
            }
            else
            {
                using var json = JsonDocument.Parse(await response.Content.ReadAsStringAsync(Token));
                Assert.Contains(json.RootElement.GetProperty("code").GetString(), (string?[])["image-not-found", "image-not-ready"]);
                refused++;
            }

            await deletion;
            await PlaceIsFree();
        }

        Assert.True(whole > 0 && refused > 0, $"{whole} {refused}");
    }

    /// <summary>A table of the layer is damaged, far after its beginning.</summary>
    [Fact]
    public async Task Export_ThatFailsInTheMiddle_BreaksOffAndNeverLooksWhole()
    {
        var chain = new TestChain(_plane.Store);
        await chain.Add(608 * MiB, $"write -s {Noise((int)(4 * MiB))} 0 4M", "write -P 2 600M 64k");
        var image = await Publish("broken", [chain]);
        Damage(chain);
        await AssertProblem(await Get(image, ExportFormat.Qcow2), HttpStatusCode.Conflict, "layer-unreadable");

        using var begun = await Get(image, ExportFormat.Raw);

        Assert.Equal(HttpStatusCode.OK, begun.StatusCode);
        await Assert.ThrowsAnyAsync<IOException>(() => Receive(begun, Stream.Null));
        await PlaceIsFree();
        using var compressed = await Get(image, ExportFormat.Raw, ExportCompression.Zstd);
        Assert.Equal(HttpStatusCode.OK, compressed.StatusCode);
        await Assert.ThrowsAnyAsync<IOException>(() => Receive(compressed, Stream.Null));
    }

    [Fact]
    public async Task Export_WhoseCompressionIsKilled_BreaksOff()
    {
        var (image, _) = await AddLongImage();
        using var begun = await Get(image, ExportFormat.Raw, ExportCompression.Zstd);

        Assert.Single(Compressors()).Kill();

        await Assert.ThrowsAnyAsync<IOException>(() => Receive(begun, Stream.Null));
    }

    [Fact]
    public async Task Compression_WhoseProgramIsMissing_SaysSoBeforeTheFirstByte()
    {
        var compressor = new ExportCompressor(_plane.Service<ProcessConfinement>()) { Program = "no-such-program" };
        using var target = new MemoryStream();

        var exception = await Assert.ThrowsAsync<Faults.FaultException>(() => compressor.Compress((stream, token) => stream.WriteAsync(new byte[MiB], token).AsTask(), target, MiB, Token));

        Assert.Equal(("zstd-missing", 0), (exception.Fault.Code, (int)target.Length));
    }

    private async Task WithoutGracePeriod() => _plane = await TestDataPlane.Start(sweepsByHand: true, OneExport, ("Library:GracePeriod", "00:00:00"));

    private IImageGrain Grain(ImageId image) => _plane.Grains.GetGrain<IImageGrain>(image.Value);

    private async Task<(ImageId Image, IReadOnlyList<TestChain> Chains)> AddImage(string name, int disks)
    {
        var chains = new List<TestChain>();
        for (var disk = 0; disk < disks; disk++)
        {
            var chain = new TestChain(_plane.Store);
            await chain.Add(20 * MiB + 512, "write -P 1 0 3M", $"write -P {disk + 2} 19M 100k");
            await chain.Add(20 * MiB + 512, "write -P 9 1M 5000", "write -z 2M 64k");
            await chain.Add(20 * MiB + 512, "write -P 10 1050k 2k", "discard 19M 64k");
            chains.Add(chain);
        }

        return (await Publish(name, chains), chains);
    }

    private async Task<(ImageId Image, IReadOnlyList<TestChain> Chains)> AddLongImage()
    {
        var chain = new TestChain(_plane.Store);
        await chain.Add(LongBytes, $"write -s {Noise((int)LongBytes)} 0 {LongBytes}");
        await chain.Add(LongBytes, "write -P 1 5M 10k");
        return (await Publish("long", [chain]), [chain]);
    }

    private Task PlaceIsFree() => Eventually.Holds(async () =>
    {
        using var head = await Get(ImageId.New(), ExportFormat.Raw, method: HttpMethod.Head);
        return head.StatusCode is not HttpStatusCode.ServiceUnavailable;
    }, "the place is free");

    /// <summary>A file that cannot be compressed.</summary>
    private string Noise(int bytes)
    {
        var path = Path.Combine(_folder, "noise");
        File.WriteAllBytes(path, RandomNumberGenerator.GetBytes(bytes));
        return path;
    }

    private static async Task Later(int milliseconds, Func<Task> act)
    {
        await Task.Delay(milliseconds, Token);
        await act();
    }

    private async Task<ImageId> Publish(string name, IReadOnlyList<TestChain> chains)
    {
        var image = ImageId.New();
        var manifest = new ImageManifest(image, name, ImageKind.Master, null, null, [.. chains.Select(chain => chain.ToManifest(image))], TimeProvider.System.GetUtcNow());
        await Grain(image).Publish(manifest);
        await _plane.Store.WriteManifest(manifest);
        return image;
    }

    /// <summary>Makes the last entry of the last table of the top point outside the file.</summary>
    private void Damage(TestChain chain)
    {
        var bytes = File.ReadAllBytes(chain.TopPath);
        var l1 = (int)Number(40);
        var l2 = (int)(Number(l1 + 8) & 0x00FF_FFFF_FFFF_FE00);
        var place = l2 + ((600 - 512) * 16 * 8);
        Assert.NotEqual(0UL, Number(place));
        bytes[place + 2] = 0x70;
        File.SetUnixFileMode(chain.TopPath, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        File.WriteAllBytes(chain.TopPath, bytes);

        ulong Number(int offset) => System.Buffers.Binary.BinaryPrimitives.ReadUInt64BigEndian(bytes.AsSpan(offset));
    }

    private async Task<HttpResponseMessage> Get(ImageId image, ExportFormat format, ExportCompression? compression = null, HttpMethod? method = null, string? secret = null)
    {
        var address = $"{_plane.Service<IDataPlane>().OfferExport(image).Address}?format={format}{(compression is null ? "" : $"&compression={compression}")}";
        using var request = new HttpRequestMessage(method ?? HttpMethod.Get, address);
        request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", secret ?? _plane.Service<ExportTickets>().Issue(image));
        return await _plane.Client.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, Token);
    }

    /// <summary>Into a file of the name that was proposed.</summary>
    private async Task<string> Download(ImageId image, ExportFormat format, ExportCompression? compression)
    {
        using var response = await Get(image, format, compression);
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        var path = Path.Combine(_folder, response.Content.Headers.ContentDisposition!.FileNameStar!);
        await using var file = File.Create(path);
        await Receive(response, file);
        Assert.Equal(format is not ExportFormat.Vmdk && compression is null, response.Headers.TryGetValues("Export-Length", out var length));
        if (length is not null) Assert.Equal($"{file.Length}", length.Single());
        return path;
    }

    /// <returns>The digest, which is that of the trailer.</returns>
    private static async Task<string> Receive(HttpResponseMessage response, Stream target)
    {
        using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
        await using var body = await response.Content.ReadAsStreamAsync(Token);
        var buffer = new byte[64 << 10];
        for (int read; (read = await body.ReadAsync(buffer, Token)) > 0;)
        {
            hash.AppendData(buffer, 0, read);
            await target.WriteAsync(buffer.AsMemory(0, read), Token);
        }

        var digest = Convert.ToBase64String(hash.GetHashAndReset());
        Assert.Equal($"sha-256=:{digest}:", response.TrailingHeaders.GetValues("Repr-Digest").Single());
        return digest;
    }

    private async Task<string> HashOf(TestChain chain)
    {
        var raw = Path.Combine(_folder, "whole.raw");
        TestLibrary.QemuImg("convert", "-f", "qcow2", "-O", "raw", chain.TopPath, raw);
        await using var file = File.OpenRead(raw);
        return Convert.ToBase64String(await SHA256.HashDataAsync(file, Token));
    }

    private int OpenLayers(TestChain chain) => Directory.EnumerateFiles("/proc/self/fd")
        .Select(file => new FileInfo(file).LinkTarget ?? "")
        .Count(target => chain.Disk.Layers.Any(layer => target == _plane.Store.PathOf(layer)));

    private List<Process> Compressors() =>
        [.. Process.GetProcessesByName("zstd").Where(process => File.ReadAllText($"/proc/{process.Id}/stat").Split(' ')[3] == $"{Environment.ProcessId}")];

    private async Task<(OperationStatus Status, string? Code)> Ending(Import import)
    {
        var operation = await _plane.End(import);
        return (operation.Status, operation.Fault?.Code);
    }

    private static async Task AssertProblem(HttpResponseMessage response, HttpStatusCode status, string code)
    {
        using (response)
        {
            var text = await response.Content.ReadAsStringAsync(Token);
            Assert.True(status == response.StatusCode, $"{response.StatusCode} {text}");
            Assert.Equal("application/problem+json", response.Content.Headers.ContentType?.MediaType);
            using var json = JsonDocument.Parse(text);
            Assert.Equal(code, json.RootElement.GetProperty("code").GetString());
        }
    }
}
