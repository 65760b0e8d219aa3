using System.Net;
using System.Net.Sockets;
using System.Text;
using Instances.Catalogue;
using Instances.Fakes;
using Instances.Faults;
using Instances.Operations;
using Instances.VirtualMachines;
using Xunit;
using static Instances.HttpExtensions;

namespace Instances.Library;

public sealed class ImageEndpointTests(Gateway gateway)
{
    private const long MiB = 1L << 20;

    private static readonly string Sha256 = new('A', 64);

    private readonly string _name = Guid.NewGuid().ToString();

    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    [Fact]
    public async Task List_Filters_ArePassedOn()
    {
        var master = ImageId.New();

        using var response = await gateway.Http.Get($"/images?kind=slave&status=retired&master={master}&name=tiny");

        var image = (await response.Read<Page<ImageView>>()).Items.Single();
        Assert.Equal((ImageKind.Slave, ImageStatus.Retired, master, "tiny"), (image.Kind, image.Status, image.Master, image.Name));
    }

    [Fact]
    public async Task Import_Bytes_ArriveAndAreAccepted()
    {
        using var response = await Upload(_name, new ByteArrayContent(new byte[12345]), $"&sha256={Sha256}");

        Assert.Equal(HttpStatusCode.Accepted, response.StatusCode);
        var operation = await response.Read<OperationView>();
        Assert.Equal($"{Local}/operations/{operation.Id}", response.Headers.Location?.OriginalString);
        Assert.Equal(12345, gateway.DataPlane.Received[_name]);
        var import = gateway.Datacenter.Imports[operation.Image!.Value];
        Assert.Equal((operation.Id, new ImportCommand(_name, ImageFormat.Raw, 12345, Sha256.ToLowerInvariant())), import);
    }

    [Fact]
    public async Task Import_WithoutFormat_LeavesItToTheContent()
    {
        using var response = await gateway.Http.PostAsync($"{Local}/images?name={_name}", new ByteArrayContent(new byte[1]), Cancelled);

        Assert.Equal(HttpStatusCode.Accepted, response.StatusCode);
        Assert.Null(gateway.Datacenter.Imports[(await response.Read<OperationView>()).Image!.Value].Command.Format);
    }

    /// <summary>Each piece reaches the data plane before the client sends the next one: nothing waits for the whole upload.</summary>
    [Fact]
    public async Task Import_LargeUpload_StreamsInBoundedMemory()
    {
        var content = new ZeroContent(pieces: 200, MiB);
        long arrived = 0;
        gateway.DataPlane.Arrived += (name, total) =>
        {
            if (name != _name) return;
            Interlocked.Exchange(ref arrived, total);
            content.Release(total);
        };
        var before = GC.GetTotalMemory(forceFullCollection: true);

        using var response = await Upload(_name, content);

        Assert.Equal(HttpStatusCode.Accepted, response.StatusCode);
        Assert.Equal(200 * MiB, arrived);
        Assert.Null(gateway.Datacenter.Imports[(await response.Read<OperationView>()).Image!.Value].Command.Bytes);
        Assert.InRange(content.PeakMemory - before, long.MinValue, 100 * MiB);
    }

    [Theory, InlineData(FakeDataPlane.Refused, "image-format-wrong"), InlineData(FakeDataPlane.RefusedLate, "digest-wrong")]
    public async Task Import_RefusedByTheDataPlane_PassesItsWordsOn(string way, string code)
    {
        using var response = await Upload(way + _name, new ByteArrayContent(new byte[MiB]));

        var problem = await response.AssertProblem(422, code);
        Assert.Equal("The data plane says no.", problem.GetProperty("detail").GetString());
    }

    [Fact]
    public async Task Import_WhoseDataPlaneIsBusy_SaysWhenToRepeatIt()
    {
        using var response = await Upload(FakeDataPlane.Busy + _name, new ByteArrayContent(new byte[1000]));

        await response.AssertProblem(503, "too-many-uploads");
        Assert.Equal("7", response.Headers.GetValues("Retry-After").Single());
    }

    /// <summary>The connection is closed although the client still sends, and the answer is lost with it.</summary>
    [Theory]
    [InlineData(FaultKind.Capacity, 507, "quota-virtual-bytes")]
    [InlineData(FaultKind.Invalid, 413, "image-too-large")]
    [InlineData(FaultKind.Conflict, 409, "operation-cancelled")]
    [InlineData(FaultKind.Unavailable, 503, "data-plane-unavailable")]
    public async Task Import_RefusedInTheMiddle_IsAnsweredWithWhatItsOperationSays(FaultKind kind, int status, string code)
    {
        var name = FakeDataPlane.RefusedInTheMiddle + _name;
        gateway.DataPlane.Arrived += (arrived, _) =>
        {
            if (arrived == name) OperationOf(name).Fail(new(kind, kind is FaultKind.Unavailable ? "upload-aborted" : code, "Why it was refused."));
        };

        using var response = await Upload(name, new ByteArrayContent(new byte[MiB / 4]));

        var problem = await response.AssertProblem(status, code);
        Assert.Equal(kind is not FaultKind.Unavailable, problem.GetProperty("detail").GetString() == "Why it was refused.");
    }

    [Fact]
    public async Task Import_ThatTheDataPlaneFailed_EndsAndIsUnavailable()
    {
        using var response = await Upload(FakeDataPlane.Broken + _name, new ByteArrayContent(new byte[1000]));

        await response.AssertProblem(503, "data-plane-unavailable");
        Assert.Equal(OperationStatus.Cancelled, OperationOf(FakeDataPlane.Broken + _name).Newest.Status);
    }

    /// <summary>The data plane ends the import: it knows that the client disconnected, and that the import was not cancelled.</summary>
    [Fact]
    public async Task Import_WhoseCallerLeaves_IsSeenByTheDataPlane()
    {
        using var leaving = CancellationTokenSource.CreateLinkedTokenSource(Cancelled);
        var left = new TaskCompletionSource();
        gateway.DataPlane.Arrived += (name, _) =>
        {
            if (name == _name) leaving.Cancel();
        };
        gateway.DataPlane.SenderLeft += name =>
        {
            if (name == _name) left.TrySetResult();
        };

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => Upload(_name, new ZeroContent(pieces: 2, MiB), cancellationToken: leaving.Token));

        await left.Task.WaitAsync(Gateway.Bound, Cancelled);
    }

    /// <summary>The answer arrives although the client has sent only its first bytes and sends no more.</summary>
    [Fact]
    public async Task Import_RefusedEarly_IsAnsweredWhileItsSenderStillSends()
    {
        using var socket = await Open(FakeDataPlane.RefusedEarly + _name, bytes: 1 << 30, first: 1000);

        var answer = await ReadAnswer(socket);

        Assert.StartsWith("HTTP/1.1 422 ", answer, StringComparison.Ordinal);
        Assert.Contains("image-refers-outside", answer, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Import_WhoseSenderClosesItsHalfBehindTheLastByte_IsAnswered()
    {
        using var socket = await Open(_name, bytes: 1000, first: 1000);

        socket.Shutdown(SocketShutdown.Send);

        Assert.StartsWith("HTTP/1.1 202 ", await ReadAnswer(socket), StringComparison.Ordinal);
    }

    [Theory, InlineData("format=iso"), InlineData("format=1")]
    public async Task Import_FormatThatIsNone_IsMalformed(string format)
    {
        using var response = await gateway.Http.PostAsync($"{Local}/images?name=x&{format}", new ByteArrayContent([]), Cancelled);

        await response.AssertProblem(400, "request-malformed");
    }

    [Fact]
    public async Task Import_DigestThatIsNone_IsInvalid()
    {
        using var response = await Upload(_name, new ByteArrayContent([]), "&sha256=abc");

        await response.AssertProblem(422, "sha256-invalid");
    }

    [Fact]
    public async Task Import_RepeatedWithItsKey_IsTheSameImport()
    {
        using var first = await Upload(_name, new ByteArrayContent(new byte[1000]), key: _name);
        using var repeat = await Upload(_name, new ByteArrayContent(new byte[1000]), key: _name);
        using var other = await Upload(_name + "-other", new ByteArrayContent(new byte[1000]), key: _name);

        Assert.Equal((await first.Read<OperationView>()).Id, (await repeat.Read<OperationView>()).Id);
        Assert.Equal(1000, gateway.DataPlane.Received[_name]);
        await other.AssertProblem(422, "idempotency-key-reused");
    }

    [Fact]
    public async Task Secret_OfATicket_IsInNoAnswerAndNoLog()
    {
        using var response = await Upload(_name, new ByteArrayContent(new byte[1000]));

        Assert.DoesNotContain(FakeDatacenter.Secret, await response.Content.ReadAsStringAsync(Cancelled), StringComparison.Ordinal);
        Assert.DoesNotContain(gateway.Logs.Lines, line => line.Text.Contains(FakeDatacenter.Secret, StringComparison.Ordinal));
        Assert.NotEmpty(gateway.Logs.Lines);
    }

    [Fact]
    public async Task Delete_Image_AnswersNothing()
    {
        using var accepted = await Upload(_name, new ByteArrayContent(new byte[1]));
        var image = (await accepted.Read<OperationView>()).Image!.Value;

        using var response = await gateway.Http.DeleteAsync($"{Local}/images/{image}", Cancelled);

        Assert.Equal(HttpStatusCode.NoContent, response.StatusCode);
        using var read = await gateway.Http.Get($"/images/{image}");
        await read.AssertProblem(404, "image-not-found");
    }

    [Fact]
    public async Task Import_Details_ArePassedOn()
    {
        using var response = await Upload(
            _name, new ByteArrayContent(new byte[1]),
            "&description=A%20shop&minCpus=2&defaultCpus=4&minMemoryBytes=67108864&defaultMemoryBytes=134217728&category=web&icon=cart&operatingSystem=Debian&label=env=test&label=a.b/c=x=y");

        var details = gateway.Datacenter.Imports[(await response.Read<OperationView>()).Image!.Value].Command.Details;
        Assert.Equal(
            new ImageDetails("A shop", 2, 4, 64 * MiB, 128 * MiB, "web", "cart", "Debian", new Dictionary<string, string> { ["env"] = "test", ["a.b/c"] = "x=y" }), details);
    }

    [Theory, InlineData("&label=env"), InlineData("&label=env=1&label=env=2")]
    public async Task Import_LabelThatIsNone_IsInvalid(string query)
    {
        using var response = await Upload(_name, new ByteArrayContent([]), query);

        await response.AssertProblem(422, "image-invalid");
    }

    [Fact]
    public async Task List_EveryFilterAndOrder_IsPassedOn()
    {
        var (parent, machine) = (ImageId.New(), VirtualMachineId.New());

        using var response = await gateway.Http.Get(
            $"/images?search={_name}&parent={parent}&virtualMachine={machine}&label=env=test&label=team&createdAfter=2026-01-02T00:00:00Z&createdBefore=2026-01-03T01:00:00%2B01:00"
            + "&includeRetired=true&sort=size&descending=true");

        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        var filter = gateway.Datacenter.Filters[_name];
        Assert.Equal(["env=test", "team"], filter.Labels!);
        Assert.Equal(
            new ImageFilter(
                Search: _name, Parent: parent, VirtualMachine: machine, CreatedAfter: new(2026, 1, 2, 0, 0, 0, TimeSpan.Zero), CreatedBefore: new(2026, 1, 3, 0, 0, 0, TimeSpan.Zero),
                IncludeRetired: true, Order: ImageOrder.Size, Descending: true),
            filter with { Labels = null });
    }

    [Theory, InlineData("sort=colour"), InlineData("createdAfter=soon"), InlineData("descending=maybe"), InlineData("virtualMachine=x")]
    public async Task List_FilterThatIsNone_IsMalformed(string query)
    {
        using var response = await gateway.Http.Get($"/images?{query}");

        await response.AssertProblem(400, "request-malformed");
    }

    [Theory]
    [InlineData("{}", "debian", "A shop.", "env=test team=a")]
    [InlineData("""{"name":"fedora"}""", "fedora", "A shop.", "env=test team=a")]
    [InlineData("""{"details":{"description":"Other."}}""", "debian", "Other.", "env=test team=a")]
    [InlineData("""{"Details":{"Description":null}}""", "debian", null, "env=test team=a")]
    [InlineData("""{"details":{"labels":{"env":"live","team":null,"new":"1"}}}""", "debian", "A shop.", "env=live new=1")]
    [InlineData("""{"details":{"labels":null}}""", "debian", "A shop.", "")]
    [InlineData("""{"details":null}""", "debian", null, "")]
    public async Task Change_MergePatch_ChangesWhatItNamesAtEveryDepth(string patch, string name, string? description, string labels)
    {
        var id = AddImage();

        using var response = await Patch(id, patch);

        var image = await response.Read<ImageView>();
        Assert.Equal((name, description), (image.Name, image.Details.Description));
        Assert.Equal(labels, string.Join(' ', (image.Details.Labels ?? new Dictionary<string, string>()).OrderBy(label => label.Key, StringComparer.Ordinal).Select(label => $"{label.Key}={label.Value}")));
        Assert.Equal($"\"{image.Version}\"", response.Headers.ETag!.ToString());
    }

    [Theory]
    [InlineData("""{"details":{"colour":"red"}}""")]
    [InlineData("""{"details":[]}""")]
    [InlineData("""{"details":{"labels":{"a":1}}}""")]
    [InlineData("""{"status":"ready"}""")]
    [InlineData("""{"name":null}""")]
    public async Task Change_PatchThatIsNone_IsMalformed(string patch)
    {
        using var response = await Patch(AddImage(), patch);

        await response.AssertProblem(400, "request-malformed");
    }

    [Fact]
    public async Task Change_WithIfMatch_IsCarriedOutForThatVersionOnly()
    {
        var id = AddImage();
        using var read = await gateway.Http.Get($"/images/{id}");
        var tag = read.Headers.ETag!.ToString();

        using var first = await Patch(id, """{"pinned":true}""", $"\"999\", {tag}");
        using var stale = await Patch(id, """{"pinned":false}""", tag);
        using var weak = await Patch(id, """{"pinned":false}""", $"W/{first.Headers.ETag}");
        using var any = await Patch(id, """{"retention":{"keepLast":3}}""", "*");
        using var broken = await Patch(id, """{"pinned":false}""", "no-quotes");

        Assert.True((await first.Read<ImageView>()).Pinned);
        await stale.AssertProblem(412, "image-changed");
        await weak.AssertProblem(412, "image-changed");
        var view = await any.Read<ImageView>();
        Assert.Equal((true, new RetentionRule(3)), (view.Pinned, view.Retention));
        await broken.AssertProblem(400, "request-malformed");
    }

    [Fact]
    public async Task Delete_WithCascadeOrDryRun_AnswersWhatGoes()
    {
        var id = AddImage();

        using var dry = await gateway.Http.DeleteAsync($"{Local}/images/{id}?cascade=true&dryRun=true", Cancelled);
        using var there = await gateway.Http.Get($"/images/{id}");
        using var real = await gateway.Http.DeleteAsync($"{Local}/images/{id}?cascade=true", Cancelled);
        using var gone = await gateway.Http.Get($"/images/{id}");

        var deletion = await dry.Read<ImageDeletion>();
        Assert.Equal((true, id), (deletion.DryRun, deletion.Images.Single().Id));
        Assert.Equal(HttpStatusCode.OK, there.StatusCode);
        Assert.False((await real.Read<ImageDeletion>()).DryRun);
        await gone.AssertProblem(404, "image-not-found");
    }

    [Fact]
    public async Task Restore_Image_AnswersIt()
    {
        var id = AddImage();

        using var restored = await gateway.Http.Post($"/images/{id}/restore");
        using var unknown = await gateway.Http.Post($"/images/{ImageId.New()}/restore");

        var view = await restored.Read<ImageView>();
        Assert.Equal((id, Views.At), (view.Id, view.RestoredAt!.Value));
        await unknown.AssertProblem(404, "image-not-found");
    }

    [Fact]
    public async Task Lineage_AndUsers_ArePassedOnPageByPage()
    {
        var id = AddImage();
        var appliance = Instances.Appliances.ApplianceId.New();
        gateway.Datacenter.Machines[VirtualMachineId.New()] = (appliance, new("web", id));

        using var lineage = await gateway.Http.Get($"/images/{id}/lineage?limit=7");
        using var users = await gateway.Http.Get($"/images/{id}/virtual-machines");

        var read = await lineage.Read<ImageLineage>();
        Assert.Equal((id, 2, "limit 7 cursor "), (read.Image.Id, read.Image.Users, read.Descendants.NextCursor));
        Assert.Equal(id, read.Descendants.Items.Single().Parent);
        Assert.Equal(appliance, (await users.Read<Page<VirtualMachineView>>()).Items.Single().Appliance);
    }

    [Theory]
    [InlineData("/images?statos=ready", "There is no query parameter 'statos' here. Allowed are:")]
    [InlineData("/images?status=bogus", "status cannot be 'bogus': it has to be one of importing, ready, retired, failed, corrupt.")]
    [InlineData("/images?createdAfter=2026-11-30T00:49:28+02:00", "%2B")]
    [InlineData("/hosts?limit=1", "None is allowed.")]
    [InlineData("/operations?status=ended", "it has to be one of running,")]
    [InlineData("/operations?limit=x", "limit cannot be 'x': it has to be a whole number.")]
    [InlineData("/images?master=x", "a UUID with hyphens")]
    public async Task Query_ThatIsNotKnown_IsRefusedWithWhatIsAllowed(string path, string sentence)
    {
        using var response = await gateway.Http.Get(path);

        var problem = await response.AssertProblem(400, "request-malformed");
        Assert.Contains(sentence, problem.GetProperty("detail").GetString(), StringComparison.Ordinal);
    }

    private ImageId AddImage()
    {
        var id = ImageId.New();
        gateway.Datacenter.Images[id] = (new("debian", new("A shop.", Labels: new Dictionary<string, string> { ["env"] = "test", ["team"] = "a" })), 5);
        return id;
    }

    private async Task<HttpResponseMessage> Patch(ImageId id, string json, string? ifMatch = null)
    {
        using var request = new HttpRequestMessage(HttpMethod.Patch, $"{Local}/images/{id}") { Content = new StringContent(json, System.Text.Encoding.UTF8, "application/merge-patch+json") };
        if (ifMatch is not null) request.Headers.TryAddWithoutValidation("If-Match", ifMatch);
        return await gateway.Http.SendAsync(request, Cancelled);
    }

    private async Task<HttpResponseMessage> Upload(
        string name, HttpContent content, string query = "", string? key = null, CancellationToken? cancellationToken = null)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, $"{Local}/images?name={name}&format=raw{query}") { Content = content };
        if (key is not null) request.Headers.Add("Idempotency-Key", key);
        return await gateway.Http.SendAsync(request, cancellationToken ?? Cancelled);
    }

    private ScriptedOperation OperationOf(string name) =>
        gateway.Datacenter.Operations[gateway.Datacenter.Imports.Values.Single(import => import.Command.Name == name).Operation];

    /// <summary>Zeros. Each piece is sent when half of the previous one has arrived.</summary>
    private async Task<Socket> Open(string name, int bytes, int first)
    {
        var server = gateway.Http.BaseAddress!;
        var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        await socket.ConnectAsync(server.Host, server.Port, Cancelled);
        await socket.SendAsync(Encoding.ASCII.GetBytes($"POST {Local}/images?name={name} HTTP/1.1\r\nHost: {server.Authority}\r\nContent-Length: {bytes}\r\n\r\n"), Cancelled);
        await socket.SendAsync(new byte[first], Cancelled);
        return socket;
    }

    /// <returns>The answer with the beginning of its body.</returns>
    private static async Task<string> ReadAnswer(Socket socket)
    {
        using var bound = CancellationTokenSource.CreateLinkedTokenSource(Cancelled);
        bound.CancelAfter(Gateway.Bound);
        var (buffer, answer) = (new byte[8192], "");
        while (!answer.Contains('{', StringComparison.Ordinal) && await socket.ReceiveAsync(buffer, bound.Token) is > 0 and var read) answer += Encoding.UTF8.GetString(buffer, 0, read);
        return answer;
    }

    private sealed class ZeroContent(int pieces, long pieceBytes) : HttpContent
    {
        private readonly SemaphoreSlim _released = new(1);
        private long _next = pieceBytes / 2;

        public long PeakMemory { get; private set; }

        public void Release(long arrived)
        {
            while (arrived >= Interlocked.Read(ref _next))
            {
                Interlocked.Add(ref _next, pieceBytes);
                _released.Release();
            }
        }

        protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context) => throw new NotSupportedException();

        protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context, CancellationToken cancellationToken)
        {
            var piece = new byte[pieceBytes];
            for (var sent = 0; sent < pieces; sent++)
            {
                Assert.True(await _released.WaitAsync(Gateway.Bound, cancellationToken), $"Piece {sent} did not arrive.");
                await stream.WriteAsync(piece, cancellationToken);
                await stream.FlushAsync(cancellationToken);
                PeakMemory = Math.Max(PeakMemory, GC.GetTotalMemory(forceFullCollection: false));
            }
        }

        protected override bool TryComputeLength(out long length)
        {
            length = 0;
            return false;
        }
    }
}
