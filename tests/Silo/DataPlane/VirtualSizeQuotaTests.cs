using System.IO.Compression;
using System.Net;
using System.Text.Json;
using Instances.Enterprises;
using Instances.Faults;
using Instances.Library;
using Instances.Library.Import;
using Instances.Operations;
using Xunit;

namespace Instances.DataPlane;

/// <summary>Imports into an enterprise whose quota of virtual size they do not fit, on real files. The disk has 16 MiB, and its file far less.</summary>
public sealed class VirtualSizeQuotaTests
{
    private const long DiskBytes = 16 << 20;

    private static readonly (string, string) Allowed = ("Import:AllowedFolders:0", "$folder/outside");

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData("in one request")]
    [InlineData("compressed")]
    [InlineData("in parts")]
    [InlineData("from a path")]
    public async Task Import_OfALargerDiskThanTheQuota_FailsAndLeavesNothingUntilTheQuotaIsRaised(string way)
    {
        await using var plane = await TestDataPlane.Start(Allowed);
        await SetQuota(plane, DiskBytes - 1);

        var refused = await Import(plane, way);

        var ended = await plane.End(refused);
        Assert.Equal((OperationStatus.Failed, "quota-virtual-bytes"), (ended.Status, ended.Fault?.Code));
        Assert.Contains("has 0 bytes of at most 16 MiB of virtual size in its images", ended.Fault!.Message, StringComparison.Ordinal);
        Assert.Equal(way == "compressed", ended.Steps.Single(step => step.Name == "check").Status is not StepStatus.Waiting);
        Assert.Equal(StepStatus.Waiting, ended.Steps.Single(step => step.Name == "convert").Status);
        await plane.NothingIsLeft();
        Assert.Equal(EnterpriseUsage.None, await UsageOf(plane));

        await SetQuota(plane, DiskBytes);
        var taken = await Import(plane, way);
        Assert.Equal(OperationStatus.Succeeded, (await plane.End(taken)).Status);
        Assert.Equal((1, DiskBytes), ((await UsageOf(plane)).Images, (await UsageOf(plane)).VirtualBytes));
    }

    [Fact]
    public async Task Uploads_OfTwoAtOnceWhereOneFits_ExactlyOneIsTaken()
    {
        await using var plane = await TestDataPlane.Start();
        await SetQuota(plane, (2 * DiskBytes) - 1);
        var imports = new[] { await plane.Begin(ImageFormat.Qcow2), await plane.Begin(ImageFormat.Qcow2) };

        var answers = await Task.WhenAll(imports.Select(import => plane.Put(import, TestImages.Plain)));

        Assert.Equal([HttpStatusCode.Accepted, HttpStatusCode.InsufficientStorage], answers.Select(answer => answer.StatusCode).Order());
        foreach (var (import, answer) in imports.Zip(answers))
            Assert.Equal(answer.IsSuccessStatusCode ? OperationStatus.Succeeded : OperationStatus.Failed, (await plane.End(import)).Status);
        Assert.Equal(DiskBytes, (await UsageOf(plane)).VirtualBytes);
        Assert.Empty(Directory.GetFiles(plane.Store.Incoming));
    }

    /// <summary>The first sector says how large the disk is.</summary>
    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Upload_WhoseHeadSaysThatItDoesNotFit_IsRefusedBeforeTheRestHasCome(bool inParts)
    {
        await using var plane = await TestDataPlane.Start();
        await SetQuota(plane, DiskBytes - 1);
        var content = new HeldContent(TestImages.Plain[..4096]);
        var import = inParts ? await plane.BeginUpload(ImageFormat.Qcow2, HeldContent.Bytes) : await plane.Begin(ImageFormat.Qcow2, HeldContent.Bytes);
        var sending = inParts ? plane.Patch(import, 0, content) : plane.Put(import, content);

        var ended = await plane.End(import);

        Assert.Equal((OperationStatus.Failed, "quota-virtual-bytes"), (ended.Status, ended.Fault?.Code));
        await plane.NothingIsLeft();
        if (inParts) Assert.Equal("upload-not-found", (await Assert.ThrowsAsync<FaultException>(() => plane.Image(import).ContinueUpload())).Fault.Code);
        content.Finish();
        using var answer = await sending;
        await AssertAnswer(plane, answer, HttpStatusCode.Accepted);
    }

    /// <summary>Its silo dies when all bytes have arrived, before they are examined.</summary>
    [Fact]
    public async Task Upload_TakenUpByAnotherSilo_IsRefusedThere()
    {
        var plane = await TestDataPlane.Start();
        var import = await plane.BeginUpload(ImageFormat.Qcow2, TestImages.Plain.Length);
        using (var answer = await plane.Patch(import, 0, TestImages.Plain[..100])) Assert.Equal(HttpStatusCode.NoContent, answer.StatusCode);
        await using (var part = new FileStream(Assert.Single(Directory.GetFiles(plane.Store.Incoming)), FileMode.Append)) part.Write(TestImages.Plain.AsSpan(100));
        await SetQuota(plane, DiskBytes / 2);

        await using var next = await plane.Restart();

        await next.Image(import).GetUpload();
        Assert.Equal("quota-virtual-bytes", (await next.End(import)).Fault?.Code);
        await next.NothingIsLeft();
    }

    private static async Task<Import> Import(TestDataPlane plane, string way)
    {
        var bytes = TestImages.Plain;
        switch (way)
        {
            case "from a path":
                var path = Path.Combine(plane.Outside, "disk.qcow2");
                await File.WriteAllBytesAsync(path, bytes, Token);
                return await plane.BeginFromPath(ImageFormat.Qcow2, path);
            case "in parts":
                var upload = await plane.BeginUpload(ImageFormat.Qcow2, bytes.Length);
                using (var answer = await plane.Patch(upload, 0, bytes)) await AssertAnswer(plane, answer, HttpStatusCode.NoContent);
                return upload;
            default:
                var import = await plane.Begin(ImageFormat.Qcow2);
                using (var answer = await plane.Put(import, way == "compressed" ? Gzipped(bytes) : bytes)) await AssertAnswer(plane, answer, HttpStatusCode.Accepted, isKnown: way != "compressed");
                return import;
        }
    }

    /// <summary>The client gets the refusal at once, if the received bytes contain the size.</summary>
    private static async Task AssertAnswer(TestDataPlane plane, HttpResponseMessage answer, HttpStatusCode otherwise, bool isKnown = true)
    {
        var isRefused = isKnown && (await Enterprise(plane).Get()).Quotas.VirtualBytes < DiskBytes;
        Assert.Equal(isRefused ? HttpStatusCode.InsufficientStorage : otherwise, answer.StatusCode);
        if (!isRefused) return;
        using var problem = JsonDocument.Parse(await answer.Content.ReadAsStringAsync(Token));
        Assert.Equal("quota-virtual-bytes", problem.RootElement.GetProperty("code").GetString());
    }

    private static IEnterpriseGrain Enterprise(TestDataPlane plane) => plane.Grains.GetGrain<IEnterpriseGrain>(EnterpriseId.Default.Value);

    private static Task SetQuota(TestDataPlane plane, long virtualBytes) => Enterprise(plane).Change(new("default", new(VirtualBytes: virtualBytes)), ifVersion: null);

    private static async Task<EnterpriseUsage> UsageOf(TestDataPlane plane) => (await Enterprise(plane).Get()).Usage!;

    private static byte[] Gzipped(byte[] bytes)
    {
        using var compressed = new MemoryStream();
        using (var gzip = new GZipStream(compressed, CompressionLevel.Fastest)) gzip.Write(bytes);
        return compressed.ToArray();
    }
}
