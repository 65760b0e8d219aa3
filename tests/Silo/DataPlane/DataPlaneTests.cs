using System.Net;
using System.Text;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text.Json;
using Instances.Faults;
using Instances.Library;
using Instances.Library.Import;
using Instances.Operations;
using Xunit;

namespace Instances.DataPlane;

public sealed class DataPlaneTests
{
    private static CancellationToken Token => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Upload_WholeImage_BecomesReady()
    {
        await using var plane = await TestDataPlane.Start();
        var bytes = TestImages.Plain;
        var import = await plane.Begin(ImageFormat.Qcow2, bytes.Length, Convert.ToHexStringLower(SHA256.HashData(bytes)));

        using var response = await plane.Put(import, bytes);

        Assert.Equal(HttpStatusCode.Accepted, response.StatusCode);
        Assert.Equal(OperationStatus.Succeeded, (await plane.End(import)).Status);
        var image = await plane.Image(import).Get();
        Assert.Equal((ImageStatus.Ready, ImageKind.Master), (image.Status, image.Kind));
        Assert.Equal(16 << 20, Assert.Single(image.Disks).VirtualSizeBytes);
        Assert.True(plane.Store.Contains(image.Disks[0].Layers[0].Id));
        Assert.Equal(import.Image, Assert.Single(await plane.Store.ReadManifests(Token)).Id);
    }

    // The server's own bound for a body is 30 MB.
    [Fact]
    public async Task Upload_OfManyMegabytes_IsTaken()
    {
        await using var plane = await TestDataPlane.Start();
        var import = await plane.Begin(ImageFormat.Raw);

        using var response = await plane.Put(import, new byte[40 << 20]);

        Assert.Equal(HttpStatusCode.Accepted, response.StatusCode);
        Assert.Equal(OperationStatus.Succeeded, (await plane.End(import)).Status);
    }

    [Fact]
    public async Task Upload_WithAnotherSecret_IsForbiddenAndSpoilsNothing()
    {
        await using var plane = await TestDataPlane.Start();
        var import = await plane.Begin(ImageFormat.Qcow2);

        await AssertProblem(await plane.Put(import, new ByteArrayContent(TestImages.Plain), secret: "guess"), HttpStatusCode.Forbidden, "ticket-invalid");
        await AssertProblem(await plane.Client.PutAsync(import.Ticket.Address, new ByteArrayContent([1]), Token), HttpStatusCode.Forbidden, "ticket-invalid");

        Assert.Equal(HttpStatusCode.Accepted, (await plane.Put(import, TestImages.Plain)).StatusCode);
        Assert.Equal(OperationStatus.Succeeded, (await plane.End(import)).Status);
        await AssertProblem(await plane.Put(import, TestImages.Plain), HttpStatusCode.Forbidden, "ticket-invalid");
    }

    [Fact]
    public async Task Upload_HostileImage_IsRefusedAtOnce()
    {
        await using var plane = await TestDataPlane.Start();
        var import = await plane.Begin(ImageFormat.Qcow2);
        var hostile = TestImages.Made("create", "-q", "-f", "qcow2", "-u", "-b", "/etc/passwd", "-F", "raw", "$path", "16M");

        await AssertProblem(await plane.Put(import, hostile), HttpStatusCode.UnprocessableEntity, "image-refers-outside");

        Assert.Equal((OperationStatus.Failed, "image-refers-outside"), Ending(await plane.End(import)));
        Assert.Equal(ImageStatus.Failed, (await plane.Image(import).Get()).Status);
        await plane.NothingIsLeft();
    }

    [Fact]
    public async Task Upload_DamagedImage_FailsInTheBackground()
    {
        await using var plane = await TestDataPlane.Start();
        var import = await plane.Begin(ImageFormat.Qcow2);

        // A reference count, two bytes for a cluster: those are left to qemu-img.
        var counts = (int)TestImages.Number64(TestImages.Plain, (int)TestImages.Number64(TestImages.Plain, 48));
        var damaged = TestImages.Patched(TestImages.Plain, counts + 2, 0, 0);

        Assert.Equal(HttpStatusCode.Accepted, (await plane.Put(import, damaged)).StatusCode);

        Assert.Equal((OperationStatus.Failed, "image-corrupt"), Ending(await plane.End(import)));
        await plane.NothingIsLeft();
    }

    [Fact]
    public async Task Upload_OtherLengthThanDeclared_IsRefusedBeforeItComes()
    {
        await using var plane = await TestDataPlane.Start();
        var import = await plane.Begin(ImageFormat.Raw, bytes: 4096);

        await AssertProblem(await plane.Put(import, new byte[8192]), HttpStatusCode.UnprocessableEntity, "upload-mismatch");

        Assert.Equal((OperationStatus.Failed, "upload-mismatch"), Ending(await plane.End(import)));
        await plane.NothingIsLeft();
    }

    [Fact]
    public async Task Upload_SenderThatBreaksOff_FailsTheImport()
    {
        await using var plane = await TestDataPlane.Start();
        var import = await plane.Begin(ImageFormat.Raw);
        var content = new HeldContent();
        var put = plane.Put(import, content);
        await content.Began.WaitAsync(Token);

        content.BreakOff();

        await Assert.ThrowsAnyAsync<Exception>(() => put);
        Assert.Equal((OperationStatus.Failed, "upload-aborted"), Ending(await plane.End(import)));
        await plane.NothingIsLeft();
    }

    [Fact]
    public async Task Upload_CancelledWhileItComes_LeavesNothing()
    {
        await using var plane = await TestDataPlane.Start(("Import:ReportPeriod", "00:00:00.010"));
        var import = await plane.Begin(ImageFormat.Raw);
        var content = new HeldContent();
        var put = plane.Put(import, content);
        await content.Began.WaitAsync(Token);
        await plane.UploadHasBegun();

        await plane.Image(import).CancelImport(import.Operation);
        content.Finish();

        // All bytes may have arrived before the cancellation is noticed: then the background work notices it.
        using var response = await put;
        Assert.Contains(response.StatusCode, (HttpStatusCode[])[HttpStatusCode.Conflict, HttpStatusCode.Accepted]);
        Assert.Equal(OperationStatus.Cancelled, (await plane.End(import)).Status);
        await plane.NothingIsLeft();
    }

    [Fact]
    public async Task Upload_WhenAllPlacesAreTaken_IsSentAwayUntilOneIsFree()
    {
        await using var plane = await TestDataPlane.Start(("Library:MaxUploads", "1"));
        var second = await plane.BeginUpload(ImageFormat.Raw, 512);
        var first = await plane.Begin(ImageFormat.Raw);
        var content = new HeldContent();
        var put = plane.Put(first, content);
        await content.Began.WaitAsync(Token);
        await plane.UploadHasBegun();

        var refused = await plane.Patch(second, 0, new byte[512]);
        await AssertProblem(refused, HttpStatusCode.ServiceUnavailable, "too-many-uploads");
        Assert.NotNull(refused.Headers.RetryAfter);
        Assert.Equal("too-many-uploads", (await Assert.ThrowsAsync<FaultException>(() => plane.Begin(ImageFormat.Raw))).Fault.Code);

        content.Finish();
        Assert.Equal(HttpStatusCode.Accepted, (await put).StatusCode);
        Assert.Equal(OperationStatus.Succeeded, (await plane.End(first)).Status);
        await Testing.Eventually.Holds(async () => (await plane.Patch(second, 0, new byte[512])).StatusCode is HttpStatusCode.NoContent, "the place is free again");
        Assert.Equal(OperationStatus.Succeeded, (await plane.End(second)).Status);
    }

    /// <summary>The bytes stop in the middle, and the cancellation is noticed all the same.</summary>
    [Fact]
    public async Task Upload_CancelledWhileItsSenderIsSilent_IsAnsweredAtOnce()
    {
        await using var plane = await TestDataPlane.Start();
        var import = await plane.Begin(ImageFormat.Raw);
        using var socket = await OpenPut(plane, import, 8192, new byte[4096]);
        await plane.UploadHasBegun();

        await plane.Image(import).CancelImport(import.Operation);

        Assert.Contains("operation-cancelled", await ReadAnswer(socket), StringComparison.Ordinal);
        await plane.NothingIsLeft();
    }

    [Fact]
    public async Task Upload_SenderThatIsSilent_IsEndedByTheBoundOnSilence()
    {
        await using var plane = await TestDataPlane.Start(("Library:UploadIdleBound", "00:00:05"));
        var import = await plane.Begin(ImageFormat.Raw);
        using var socket = await OpenPut(plane, import, 8192, new byte[4096]);

        var answer = await ReadAnswer(socket);

        Assert.StartsWith("HTTP/1.1 408 ", answer, StringComparison.Ordinal);
        Assert.Contains("upload-timed-out", answer, StringComparison.Ordinal);
        Assert.Equal((OperationStatus.Failed, "upload-timed-out"), Ending(await plane.End(import)));
        await plane.NothingIsLeft();
    }

    private static async Task<Socket> OpenPut(TestDataPlane plane, Import import, int bytes, byte[] first)
    {
        var address = import.Ticket.Address;
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        await socket.ConnectAsync(address.Host, address.Port, Token);
        await socket.SendAsync(Encoding.ASCII.GetBytes(
            $"PUT {address.AbsolutePath} HTTP/1.1\r\nHost: {address.Authority}\r\nAuthorization: Bearer {import.Ticket.Secret}\r\nContent-Length: {bytes}\r\n\r\n"), Token);
        await socket.SendAsync(first, Token);
        return socket;
    }

    /// <returns>A problem, with the head of the answer.</returns>
    private static async Task<string> ReadAnswer(Socket socket)
    {
        using var bound = CancellationTokenSource.CreateLinkedTokenSource(Token);
        bound.CancelAfter(Testing.Bounds.Wait);
        var (buffer, answer) = (new byte[4096], "");
        while (!answer.Contains("traceId", StringComparison.Ordinal))
        {
            var read = await socket.ReceiveAsync(buffer, bound.Token);
            Assert.True(read > 0, $"The connection ended: {answer}");
            answer += Encoding.UTF8.GetString(buffer, 0, read);
        }

        return answer;
    }

    private static (OperationStatus Status, string? Code) Ending(OperationView operation) => (operation.Status, operation.Fault?.Code);

    private static async Task AssertProblem(HttpResponseMessage response, HttpStatusCode status, string code)
    {
        Assert.Equal(status, response.StatusCode);
        Assert.Equal("application/problem+json", response.Content.Headers.ContentType?.MediaType);
        using var json = JsonDocument.Parse(await response.Content.ReadAsStringAsync(Token));
        Assert.Equal(code, json.RootElement.GetProperty("code").GetString());
    }
}
