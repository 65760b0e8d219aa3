using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using Instances.Faults;
using Instances.Library;
using Instances.Library.Import;
using Instances.Operations;
using Xunit;

namespace Instances.DataPlane;

/// <summary>Uploads in parts, over the real web server into real files. Where a name has a number, it is that of a line in the list of hostile images.</summary>
public sealed class UploadPartTests(UploadPartTests.Shared shared) : IClassFixture<UploadPartTests.Shared>
{
    private static readonly byte[] Disk = RandomNumberGenerator.GetBytes(1 << 20);

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    /// <summary>One silo for the tests that need no settings and do not look at all of the library.</summary>
    public sealed class Shared() : DataPlaneFixture;

    [Fact]
    public async Task Upload_InParts_BecomesReadyWithItsDigest()
    {
        var plane = shared.Plane;
        var before = Directory.GetFiles(plane.Store.Incoming);
        var import = await plane.BeginUpload(ImageFormat.Raw, Disk.Length, Convert.ToHexString(SHA256.HashData(Disk)));

        Assert.Equal(300_000, await Sent(plane, import, 0, Disk[..300_000]));
        Assert.Equal(300_000, (await plane.Image(import).GetUpload()).Offset);
        Assert.Equal(Disk.Length, await Sent(plane, import, 300_000, Disk[300_000..]));

        var operation = await plane.End(import);
        Assert.Equal(OperationStatus.Succeeded, operation.Status);
        Assert.Equal((Disk.Length, Disk.Length), (operation.Steps[0].Bytes, operation.Steps[0].TotalBytes));
        Assert.Equal(Convert.ToHexStringLower(SHA256.HashData(Disk)), (await plane.Image(import).Get()).Import!.Sha256);
        Assert.Equal(Disk.Length, (await plane.Image(import).GetUpload()).Offset);
        Assert.Empty(Directory.GetFiles(plane.Store.Incoming).Except(before));
    }

    [Fact]
    public async Task Part_ThatBreaksOff_CountsAsFarAsItCame()
    {
        var plane = shared.Plane;
        var import = await plane.BeginUpload(ImageFormat.Raw, 8192);
        var content = new HeldContent();
        var part = plane.Patch(import, 0, content);
        await Arrived(plane, import, 4096);

        content.BreakOff();

        await Assert.ThrowsAnyAsync<Exception>(() => part);
        Assert.Equal(4096, (await plane.Image(import).GetUpload()).Offset);
        await Testing.Eventually.Holds(async () => (await plane.Patch(import, 4096, new byte[4096])).IsSuccessStatusCode, "the part that broke off is forgotten");
        Assert.Equal(OperationStatus.Succeeded, (await plane.End(import)).Status);
    }

    /// <summary>How far an upload is, is the length of its file. A power cut must not leave one that is longer than the bytes that are on the disk.</summary>
    [Fact]
    public async Task Part_WithZerosBehindItsBytes_GetsItsLengthWhenTheyAreDurable()
    {
        var plane = shared.Plane;
        byte[] bytes = [.. Disk[..4096], .. new byte[8192], .. Disk[..4096], .. new byte[4096]];
        var plan = new UploadPlan(OperationId.New(), LayerId.New(), new("image", ImageFormat.Raw, bytes.Length));
        var (path, lengths) = (plane.Store.PartPathOf(plan.Layer), new List<long>());

        Assert.Equal(8192, await Append(bytes[..8192], 0));
        Assert.Equal(bytes.Length, await Append(bytes[8192..], 8192));

        Assert.Equal([0, 4096, 4096, 8192, 8192, 16384, 16384], lengths);
        Assert.Equal(bytes, await File.ReadAllBytesAsync(path, Token));

        Task<long> Append(byte[] part, long offset) => plane.Service<UploadParts>().Append(
            plan, offset, announcedBytes: null, new PieceByPiece(part, () => lengths.Add(new FileInfo(path).Length)), (_, _) => Task.FromResult(true), _ => Task.CompletedTask, Token);
    }

    [Fact]
    public async Task Silo_RestartedInTheMiddle_GoesOnWhereItWas()
    {
        var plane = await TestDataPlane.Start();
        var import = await plane.BeginUpload(ImageFormat.Raw, Disk.Length, Convert.ToHexString(SHA256.HashData(Disk)));
        await Sent(plane, import, 0, Disk[..500_000]);

        await using var next = await plane.Restart();

        await next.Sweep();
        Assert.Equal(500_000, (await next.Image(import).GetUpload()).Offset);
        await Sent(next, import, 500_000, Disk[500_000..]);
        Assert.Equal(OperationStatus.Succeeded, (await next.End(import)).Status);
    }

    /// <summary>The silo died between the last byte and its report to the image.</summary>
    [Fact]
    public async Task Upload_WholeWithoutAnybodyKnowing_IsTakenUp()
    {
        await using var plane = await TestDataPlane.Start();
        var import = await plane.BeginUpload(ImageFormat.Raw, Disk.Length);
        await Sent(plane, import, 0, Disk[..^1]);
        await using (var part = new FileStream(Assert.Single(Directory.GetFiles(plane.Store.Incoming)), FileMode.Append)) part.Write(Disk.AsSpan(Disk.Length - 1));

        Assert.Equal(Disk.Length, (await plane.Image(import).GetUpload()).Offset);

        Assert.Equal(OperationStatus.Succeeded, (await plane.End(import)).Status);
    }

    [Theory]
    [InlineData(50)]
    [InlineData(150)]
    [InlineData(-1)]
    [InlineData(0)]
    [InlineData(5_000)]
    public async Task Line43_PartAtAnotherOffset_IsRefusedAndSpoilsNothing(long offset)
    {
        var plane = shared.Plane;
        var import = await plane.BeginUpload(ImageFormat.Raw, 512, Convert.ToHexString(SHA256.HashData(Disk[..512])));
        await Sent(plane, import, 0, Disk[..100]);

        await AssertProblem(await plane.Patch(import, offset, new byte[20]), HttpStatusCode.Conflict, "upload-mismatch");

        Assert.Equal(100, (await plane.Image(import).GetUpload()).Offset);
        await Sent(plane, import, 100, Disk[100..512]);
        Assert.Equal(OperationStatus.Succeeded, (await plane.End(import)).Status);
    }

    [Theory, InlineData(true), InlineData(false)]
    public async Task Line43_PartPastTheEnd_IsRefusedAndSpoilsNothing(bool isAnnounced)
    {
        var plane = shared.Plane;
        var import = await plane.BeginUpload(ImageFormat.Raw, 512, Convert.ToHexString(SHA256.HashData(Disk[..512])));
        await Sent(plane, import, 0, Disk[..100]);

        HttpContent content = isAnnounced ? new ByteArrayContent(new byte[1000]) : new UnannouncedContent(1000);
        await AssertProblem(await plane.Patch(import, 100, content), HttpStatusCode.Conflict, "upload-mismatch");

        Assert.Equal(100, (await plane.Image(import).GetUpload()).Offset);
        await Sent(plane, import, 100, Disk[100..512]);
        Assert.Equal(OperationStatus.Succeeded, (await plane.End(import)).Status);
    }

    [Fact]
    public async Task Line43_DigestWrong_FailsAndNothingIsKept()
    {
        await using var plane = await TestDataPlane.Start();
        var import = await plane.BeginUpload(ImageFormat.Raw, 512, new string('0', 64));

        await Sent(plane, import, 0, Disk[..512]);

        var ended = await plane.End(import);
        Assert.Equal((OperationStatus.Failed, "upload-mismatch"), (ended.Status, ended.Fault?.Code));
        await plane.NothingIsLeft();
    }

    /// <summary>The older request hangs: its client may have reconnected.</summary>
    [Fact]
    public async Task TwoSenders_AtOnce_TheNewerWinsAndContinuesWhereTheOlderWas()
    {
        await using var plane = await TestDataPlane.Start(("Library:MaxUploads", "1"));
        var import = await plane.BeginUpload(ImageFormat.Raw, 8192);
        using var first = await OpenPart(plane, import, 8192);
        await first.SendAsync(new byte[4096], Token);
        await Arrived(plane, import, 4096);

        using var second = await plane.Patch(import, 4096, new byte[4096]);

        Assert.Equal(HttpStatusCode.NoContent, second.StatusCode);
        Assert.Contains("upload-busy", await ReadAnswer(first), StringComparison.Ordinal);
        Assert.Equal(OperationStatus.Succeeded, (await plane.End(import)).Status);
    }

    [Theory, InlineData(true), InlineData(false)]
    public async Task Cancel_InTheMiddle_LeavesNothing(bool isSending)
    {
        await using var plane = await TestDataPlane.Start(("Import:ReportPeriod", "00:00:00.010"));
        var import = await plane.BeginUpload(ImageFormat.Raw, 8192);
        var content = new HeldContent();
        var part = isSending ? plane.Patch(import, 0, content) : plane.Patch(import, 0, new byte[4096]);
        await Arrived(plane, import, 4096);
        if (!isSending) Assert.Equal(HttpStatusCode.NoContent, (await part).StatusCode);

        await plane.Image(import).CancelUpload();
        await plane.Image(import).CancelUpload();
        content.Finish();

        if (isSending) Assert.Equal(HttpStatusCode.Conflict, (await part).StatusCode);
        Assert.Equal(OperationStatus.Cancelled, (await plane.End(import)).Status);
        await plane.NothingIsLeft();
    }

    [Theory]
    [InlineData("../../x", true)]
    [InlineData("/etc/x", true)]
    [InlineData("<b>bold</b> & \U0001F468‍\U0001F469‍\U0001F467 \U0001F600", true)]
    [InlineData("a\0b", false)]
    [InlineData("a\nb", false)]
    [InlineData("a\u202Eb", false)]
    [InlineData("a\u200Db", false)]
    [InlineData("", false)]
    [InlineData("   ", false)]
    [InlineData("a\u0007", false)]
    [InlineData("256", false)]
    [InlineData("4096", false)]
    public async Task Lines44And45_NamesOfFilesAndImages_AreKeptAsTheyAreOrInvalidAndNeverPaths(string name, bool isKept)
    {
        var plane = shared.Plane;
        if (name is "256" or "4096") name = new('x', int.Parse(name, null));

        if (!isKept)
        {
            Assert.Equal("name-invalid", (await Assert.ThrowsAsync<FaultException>(() => plane.BeginUpload(ImageFormat.Raw, 512, name: name))).Fault.Code);
            return;
        }

        var import = await plane.BeginUpload(ImageFormat.Raw, 512, name: name);
        await Sent(plane, import, 0, Disk[..512]);
        Assert.Equal(OperationStatus.Succeeded, (await plane.End(import)).Status);
        Assert.Equal(name, (await plane.Image(import).Get()).Name);
        Assert.All(Directory.GetFiles(plane.Store.Folder), file => Assert.True(Path.GetFileName(file) is "store.id" or "library.binding" || Guid.TryParse(Path.GetFileNameWithoutExtension(file), out _), file));
    }

    [Fact]
    public async Task Line47_UploadsWithoutAByte_KeepNobodyOut()
    {
        await using var plane = await TestDataPlane.Start(("Library:MaxUploads", "2"));
        for (var count = 0; count < 16; count++) await plane.BeginUpload(ImageFormat.Raw, 512);

        var import = await plane.BeginUpload(ImageFormat.Raw, 512);
        await Sent(plane, import, 0, Disk[..512]);

        Assert.Equal(OperationStatus.Succeeded, (await plane.End(import)).Status);
    }

    /// <summary>A request is ended for silence, not for a low rate.</summary>
    [Theory, InlineData(false), InlineData(true)]
    public async Task Line47_Sender_IsEndedWhenItIsSilentAndNotWhenItIsSlow(bool isSlow)
    {
        await using var plane = await TestDataPlane.Start(("Library:UploadIdleBound", "00:00:05"));
        var import = await plane.BeginUpload(ImageFormat.Raw, 10);
        using var socket = await OpenPart(plane, import, 10);
        await socket.SendAsync(Disk.AsMemory(0, 1), Token);
        if (isSlow)
        {
            using var timer = new PeriodicTimer(TimeSpan.FromSeconds(1));
            for (var sent = 1; sent < 10 && await timer.WaitForNextTickAsync(Token); sent++) await socket.SendAsync(Disk.AsMemory(sent, 1), Token);
            Assert.Equal(OperationStatus.Succeeded, (await plane.End(import)).Status);
            return;
        }

        Assert.Contains("upload-timed-out", await ReadAnswer(socket), StringComparison.Ordinal);
        Assert.Equal(1, (await plane.Image(import).GetUpload()).Offset);
        await Sent(plane, import, 1, Disk[1..10]);
        Assert.Equal(OperationStatus.Succeeded, (await plane.End(import)).Status);
    }

    [Fact]
    public async Task Line47_ThousandConnectionsOpenedAndClosed_DisturbNobody()
    {
        var plane = shared.Plane;
        var import = await plane.BeginUpload(ImageFormat.Raw, 8192);
        var content = new HeldContent();
        var honest = plane.Patch(import, 0, content);
        await Arrived(plane, import, 4096);
        var address = (await plane.Image(import).ContinueUpload()).Address;

        for (var count = 0; count < 1000; count++)
        {
            using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
            await socket.ConnectAsync(address.Host, address.Port, Token);
            if (count % 2 == 0) await socket.SendAsync(Encoding.ASCII.GetBytes($"PATCH {address.AbsolutePath} HTTP/1.1\r\nHost: x\r\nUpload-Offset: 0\r\nContent-Length: 9\r\n\r\n"), Token);
        }

        content.Finish();
        Assert.Equal(HttpStatusCode.NoContent, (await honest).StatusCode);
        Assert.Equal(OperationStatus.Succeeded, (await plane.End(import)).Status);
    }

    private static async Task<Socket> OpenPart(TestDataPlane plane, Import import, int bytes)
    {
        var ticket = await plane.Image(import).ContinueUpload();
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        await socket.ConnectAsync(ticket.Address.Host, ticket.Address.Port, Token);
        await socket.SendAsync(Encoding.ASCII.GetBytes(
            $"PATCH {ticket.Address.AbsolutePath} HTTP/1.1\r\nHost: {ticket.Address.Authority}\r\nAuthorization: Bearer {ticket.Secret}\r\nUpload-Offset: 0\r\nContent-Length: {bytes}\r\n\r\n"), Token);
        return socket;
    }

    private static async Task<string> ReadAnswer(Socket socket)
    {
        using var bound = CancellationTokenSource.CreateLinkedTokenSource(Token);
        bound.CancelAfter(Testing.Bounds.Wait);
        var (buffer, answer) = (new byte[4096], new StringBuilder());
        try
        {
            while (await socket.ReceiveAsync(buffer, bound.Token) is > 0 and var count && !answer.Append(Encoding.UTF8.GetString(buffer, 0, count)).ToString().Contains("traceId", StringComparison.Ordinal))
            {
            }
        }
        catch (SocketException)
        {
            // Reset: as good as closed.
        }

        return answer.ToString();
    }

    private static Task Arrived(TestDataPlane plane, Import import, long bytes) =>
        Testing.Eventually.Holds(async () => (await plane.Image(import).GetUpload()).Offset == bytes, $"{bytes} bytes have come");

    private static async Task<long> Sent(TestDataPlane plane, Import import, long offset, byte[] bytes)
    {
        using var response = await plane.Patch(import, offset, bytes);
        Assert.True(response.StatusCode is HttpStatusCode.NoContent, await response.Content.ReadAsStringAsync(Token));
        return long.Parse(response.Headers.GetValues("Upload-Offset").Single(), null);
    }

    private static async Task AssertProblem(HttpResponseMessage response, HttpStatusCode status, string code)
    {
        var text = await response.Content.ReadAsStringAsync(Token);
        Assert.True(status == response.StatusCode, $"{response.StatusCode} {text}");
        using var json = JsonDocument.Parse(text);
        Assert.Equal(code, json.RootElement.GetProperty("code").GetString());
    }

    /// <param name="look">Called before each piece, and at the end.</param>
    private sealed class PieceByPiece(byte[] bytes, Action look) : MemoryStream(bytes)
    {
        public override ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            look();
            return base.ReadAsync(buffer[..Math.Min(buffer.Length, 4096)], cancellationToken);
        }
    }

    /// <summary>Zeroes that come in chunks.</summary>
    private sealed class UnannouncedContent(int bytes) : HttpContent
    {
        protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context) => await stream.WriteAsync(new byte[bytes], Token);

        protected override bool TryComputeLength(out long length)
        {
            length = 0;
            return false;
        }
    }
}
