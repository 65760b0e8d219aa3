using System.Globalization;
using System.Net;
using System.Net.Sockets;
using System.Security.Cryptography;
using System.Text;
using Instances.Appliances;
using Instances.Faults;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Instances.Requests;

public sealed class IdempotencyTests(Gateway gateway)
{
    private readonly string _key = Guid.NewGuid().ToString();

    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Create_WithTheSameKey_IsTheSameThing()
    {
        using var first = await gateway.Http.Post("/appliances", """{"name":"shop"}""", _key);
        using var repeat = await gateway.Http.Post("/appliances", """{"name":"shop"}""", _key);

        Assert.Equal(HttpStatusCode.Created, repeat.StatusCode);
        Assert.Equal((await first.Read<ApplianceView>()).Id, (await repeat.Read<ApplianceView>()).Id);
        Assert.Equal(first.Headers.Location, repeat.Headers.Location);
    }

    [Fact]
    public async Task Create_WithoutAKey_IsAnotherThingEachTime()
    {
        using var first = await gateway.Http.Post("/appliances", """{"name":"shop"}""");
        using var repeat = await gateway.Http.Post("/appliances", """{"name":"shop"}""");

        Assert.NotEqual((await first.Read<ApplianceView>()).Id, (await repeat.Read<ApplianceView>()).Id);
    }

    [Fact]
    public async Task Create_OfSomethingElseWithTheSameKey_IsRefused()
    {
        using var first = await gateway.Http.Post("/appliances", """{"name":"shop"}""", _key);
        using var other = await gateway.Http.Post("/appliances", """{"name":"other"}""", _key);

        await other.AssertProblem(422, "idempotency-key-reused");
    }

    [Fact]
    public async Task Machine_OfSomethingElseWithTheSameKey_IsRefused()
    {
        var path = $"/appliances/{ApplianceId.New()}/virtual-machines";
        using var first = await gateway.Http.Post(path, $$"""{"name":"web","image":"{{ImageId.New()}}"}""", _key);
        using var other = await gateway.Http.Post(path, $$"""{"name":"db","image":"{{ImageId.New()}}"}""", _key);

        Assert.Equal(HttpStatusCode.Created, first.StatusCode);
        await other.AssertProblem(422, "idempotency-key-reused");
    }

    [Fact]
    public async Task Deploy_WithTheSameKey_IsTheSameOperation()
    {
        var path = $"/appliances/{ApplianceId.New()}/deploy";
        using var first = await gateway.Http.Post(path, key: _key);
        using var repeat = await gateway.Http.Post(path, key: _key);
        using var other = await gateway.Http.Post(path, key: _key + "2");

        var operation = (await first.Read<OperationView>()).Id;
        Assert.Equal(operation, (await repeat.Read<OperationView>()).Id);
        Assert.NotEqual(operation, (await other.Read<OperationView>()).Id);
    }

    [Fact]
    public async Task Undeploy_WithTheKeyOfADeploy_IsAnotherOperation()
    {
        var appliance = ApplianceId.New();
        using var deploy = await gateway.Http.Post($"/appliances/{appliance}/deploy", key: _key);
        using var undeploy = await gateway.Http.Post($"/appliances/{appliance}/undeploy", key: _key);

        Assert.NotEqual((await deploy.Read<OperationView>()).Id, (await undeploy.Read<OperationView>()).Id);
    }

    [Fact]
    public async Task Create_RepeatedAfterTheThingWasDeleted_HasTheFirstAnswerAndMakesNothing()
    {
        using var first = await gateway.Http.Post("/appliances", """{"name":"shop"}""", _key);
        var id = (await first.Read<ApplianceView>()).Id;
        using var delete = await gateway.Http.DeleteAsync($"{HttpExtensions.Local}/appliances/{id}", Cancelled);
        using var repeat = await gateway.Http.Post("/appliances", """{"name":"shop"}""", _key);

        Assert.Equal(await first.Content.ReadAsStringAsync(Cancelled), await repeat.Content.ReadAsStringAsync(Cancelled));
        Assert.Equal((first.StatusCode, first.Headers.Location), (repeat.StatusCode, repeat.Headers.Location));
        Assert.False(gateway.Datacenter.Appliances.ContainsKey(id));
    }

    [Fact]
    public async Task Refusal_Repeated_IsTheSameThoughTheReasonHasGone()
    {
        var (appliance, machine) = (ApplianceId.New(), VirtualMachineId.New());
        using var first = await gateway.Http.Post($"/virtual-machines/{machine}/power", """{"action":"reset"}""", _key);
        gateway.Datacenter.Machines[machine] = (appliance, new("web", ImageId.New()));
        using var repeat = await gateway.Http.Post($"/virtual-machines/{machine}/power", """{"action":"reset"}""", _key);

        await first.AssertProblem(404, "virtual-machine-not-found");
        Assert.Equal(await first.Content.ReadAsStringAsync(Cancelled), await repeat.Content.ReadAsStringAsync(Cancelled));
        Assert.Equal((first.StatusCode, "application/problem+json"), (repeat.StatusCode, repeat.Content.Headers.ContentType?.MediaType));
    }

    /// <summary>Answers that tell the client to try again are not kept.</summary>
    [Fact]
    public async Task Request_ThatFoundSomethingUnreachable_SucceedsWhenItIsRepeated()
    {
        var machine = VirtualMachineId.New();
        gateway.Datacenter.Machines[machine] = (ApplianceId.New(), new("web", ImageId.New()));
        gateway.Datacenter.Failures[machine.Value] = FaultException.Unavailable("host-unavailable", "The host is unreachable.");
        using var first = await gateway.Http.Post($"/virtual-machines/{machine}/power", """{"action":"reset"}""", _key);
        gateway.Datacenter.Failures.TryRemove(machine.Value, out _);
        using var repeat = await gateway.Http.Post($"/virtual-machines/{machine}/power", """{"action":"reset"}""", _key);

        await first.AssertProblem(503, "host-unavailable");
        Assert.Equal(HttpStatusCode.OK, repeat.StatusCode);
    }

    [Fact]
    public async Task Power_Repeated_ActsOnce()
    {
        var machine = VirtualMachineId.New();
        gateway.Datacenter.Machines[machine] = (ApplianceId.New(), new("web", ImageId.New()));
        using var first = await gateway.Http.Post($"/virtual-machines/{machine}/power", """{"action":"reset"}""", _key);
        using var repeat = await gateway.Http.Post($"/virtual-machines/{machine}/power", """{"action":"reset"}""", _key);
        using var other = await gateway.Http.Post($"/virtual-machines/{machine}/power", """{"action":"off"}""", _key);

        Assert.Equal(VirtualMachineStatus.Running, (await repeat.Read<VirtualMachineView>()).Status);
        Assert.Equal(1, gateway.Datacenter.PowerActions[machine]);
        await other.AssertProblem(422, "idempotency-key-reused");
    }

    [Fact]
    public async Task Uploads_EqualAndAtOnce_HaveOneImportAndEqualAnswers()
    {
        var bytes = RandomNumberGenerator.GetBytes(1 << 20);
        var answers = await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => Upload(new ByteArrayContent(bytes))));

        Assert.All(answers, answer => Assert.Equal(HttpStatusCode.Accepted, answer.StatusCode));
        Assert.Single((await Task.WhenAll(answers.Select(answer => answer.Read<OperationView>()))).Select(operation => operation.Id).Distinct());
        Assert.Single(gateway.Datacenter.Imports.Values, import => import.Command.Name == _key);
    }

    [Fact]
    public async Task Upload_WhoseFirstAttemptHangs_IsTakenOverAndTheFirstHasTheSameAnswer()
    {
        var arrived = new TaskCompletionSource();
        gateway.DataPlane.Arrived += (name, _) =>
        {
            if (name == _key) arrived.TrySetResult();
        };
        var rest = new TaskCompletionSource();
        var hanging = Upload(new HangingContent(rest.Task));
        await arrived.Task.WaitAsync(Gateway.Bound, Cancelled);
        gateway.Datacenter.EndedLeases[RequestKey.From("local", "POST", $"{HttpExtensions.Local}/images", _key).NewId<RequestId>().Value] = true;

        using var second = await Upload(new ByteArrayContent(new byte[HangingContent.Length]));
        rest.SetResult();
        using var first = await hanging;

        var operation = (await second.Read<OperationView>()).Id;
        Assert.Equal(operation, (await first.Read<OperationView>()).Id);
        var imports = Imports();
        Assert.Equal(2, imports.Count);
        Assert.Equal(OperationStatus.Cancelled, imports.Single(import => import.Id != operation).Status);
        Assert.Equal(OperationStatus.Running, imports.Single(import => import.Id == operation).Status);
    }

    [Fact]
    public async Task Upload_OfOtherBytesOrAnotherName_IsRefused()
    {
        using var first = await Upload(new ByteArrayContent([1, 2, 3]));
        using var repeat = await Upload(new ByteArrayContent([1, 2, 3]));
        using var otherBytes = await Upload(new ByteArrayContent([1, 2, 4]));
        using var otherLength = await Upload(new ByteArrayContent([1, 2]));
        using var otherQuery = await Upload(new ByteArrayContent([1, 2, 3]), "&description=x");

        Assert.Equal((await first.Read<OperationView>()).Id, (await repeat.Read<OperationView>()).Id);
        await otherBytes.AssertProblem(422, "idempotency-key-reused");
        await otherLength.AssertProblem(422, "idempotency-key-reused");
        await otherQuery.AssertProblem(422, "idempotency-key-reused");
    }

    [Fact]
    public async Task Upload_ThatBrokeOff_SucceedsWhenItIsRepeated()
    {
        using var leaving = CancellationTokenSource.CreateLinkedTokenSource(Cancelled);
        gateway.DataPlane.Arrived += (name, _) =>
        {
            if (name == _key) leaving.Cancel();
        };
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => Upload(new HangingContent(new TaskCompletionSource().Task), cancellationToken: leaving.Token));

        using var repeat = await Upload(new ByteArrayContent(new byte[HangingContent.Length]));

        var operation = (await repeat.Read<OperationView>()).Id;
        var imports = Imports();
        Assert.Equal(OperationStatus.Running, imports.Single(import => import.Id == operation).Status);
        Assert.All(imports.Where(import => import.Id != operation), import => Assert.True(import.Status is OperationStatus.Cancelled or OperationStatus.Failed, $"{import.Status}"));
        Assert.Equal(2, imports.Count);
    }

    /// <summary>The first attempt hangs. The gateway cannot see whether the client of the repeat has left.</summary>
    [Fact]
    public async Task Upload_ThatWaitsForAnotherAttempt_IsAnsweredWithinABound()
    {
        var arrived = new TaskCompletionSource();
        gateway.DataPlane.Arrived += (name, _) =>
        {
            if (name == _key) arrived.TrySetResult();
        };
        var rest = new TaskCompletionSource();
        var hanging = Upload(new HangingContent(rest.Task));
        await arrived.Task.WaitAsync(Gateway.Bound, Cancelled);
        var clock = new FakeTimeProvider();
        await using var second = await gateway.Start(services => services.AddSingleton<TimeProvider>(clock));
        using var http = Gateway.ClientOf(second);

        var waiting = Upload(new ByteArrayContent(new byte[HangingContent.Length]), http: http);
        using var repeat = await Ended(waiting, clock);
        rest.SetResult();
        using var first = await hanging;

        await repeat.AssertProblem(503, "request-running");
        Assert.Equal(HttpStatusCode.Accepted, first.StatusCode);
        Assert.Single(Imports());
    }

    [Fact]
    public async Task Upload_RepeatedByAClientThatFallsSilent_EndsWithinABound()
    {
        using var first = await Upload(new ByteArrayContent(new byte[HangingContent.Length]));
        var clock = new FakeTimeProvider();
        await using var second = await gateway.Start(services => services.AddSingleton<TimeProvider>(clock));

        Assert.Equal(HttpStatusCode.RequestTimeout, await Ended(UnfinishedUpload(new(second.Urls.First()), $"Content-Length: {HangingContent.Length}", new byte[100]), clock));
    }

    /// <summary>Without a length, the body shows only in the end how long it is.</summary>
    [Fact]
    public async Task Upload_RepeatedWithMoreBytesThanItHad_IsRefusedBeforeItsEnd()
    {
        using var first = await Upload(new HangingContent(Task.CompletedTask, isChunked: true));
        Assert.Equal(HttpStatusCode.Accepted, first.StatusCode);

        byte[] more = [.. Encoding.ASCII.GetBytes($"{HangingContent.Length + 1:x}\r\n"), .. new byte[HangingContent.Length + 1]];
        Assert.Equal(HttpStatusCode.UnprocessableEntity, await UnfinishedUpload(gateway.Http.BaseAddress!, "Transfer-Encoding: chunked", more));
    }

    /// <summary>The record of the key was pruned, but the operation of the failed import is kept.</summary>
    [Theory]
    [InlineData(OperationStatus.Failed, true)]
    [InlineData(OperationStatus.Succeeded, false)]
    public async Task Upload_WithAKeyWhoseRecordWasPruned_TakesIdsThatWereNotUsed(OperationStatus earlier, bool isImported)
    {
        var key = RequestKey.From("local", "POST", $"{HttpExtensions.Local}/images", _key);
        var used = new[] { key.NewId<OperationId>(), key.OfAttempt(2).NewId<OperationId>() };
        foreach (var operation in used) gateway.Datacenter.Begin(operation, OperationKind.Import);
        gateway.Datacenter.Operations[used[0]].Publish(2, OperationStatus.Failed);
        gateway.Datacenter.Operations[used[1]].Publish(2, earlier);

        using var upload = await Upload(new ByteArrayContent([1, 2, 3]));

        var answer = await upload.Read<OperationView>();
        Assert.Equal(isImported, !used.Contains(answer.Id));
        Assert.Equal(isImported ? OperationStatus.Running : OperationStatus.Succeeded, answer.Status);
        Assert.Equal(isImported ? 1 : 0, Imports().Count);
    }

    [Theory, InlineData("has space"), InlineData("ümlaut"), InlineData("")]
    public async Task Key_ThatIsNotVisibleAscii_IsMalformed(string key)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, $"{HttpExtensions.Local}/appliances/{ApplianceId.New()}/deploy");
        request.Headers.TryAddWithoutValidation("Idempotency-Key", key);
        using var http = new HttpClient(new SocketsHttpHandler { RequestHeaderEncodingSelector = (_, _) => System.Text.Encoding.Latin1 }) { BaseAddress = gateway.Http.BaseAddress };

        using var response = await http.SendAsync(request, TestContext.Current.CancellationToken);

        await response.AssertProblem(400, "request-malformed");
    }

    [Theory, InlineData(255, 202), InlineData(256, 400)]
    public async Task Key_OfThatLength_IsBounded(int length, int status)
    {
        using var response = await gateway.Http.Post($"/appliances/{ApplianceId.New()}/deploy", key: new string('k', length));

        Assert.Equal(status, (int)response.StatusCode);
    }

    /// <summary>The operations of all imports of this test.</summary>
    private List<OperationView> Imports() =>
        [.. gateway.Datacenter.Imports.Values.Where(import => import.Command.Name == _key).Select(import => gateway.Datacenter.Operations[import.Operation].Newest)];

    /// <summary>Sends a body without its end, and reads the status. HttpClient reads no answer before it has sent the body.</summary>
    private async Task<HttpStatusCode> UnfinishedUpload(Uri address, string header, byte[] body)
    {
        using var client = new TcpClient();
        await client.ConnectAsync(address.Host, address.Port, Cancelled);
        await using var stream = client.GetStream();
        var head = $"POST {HttpExtensions.Local}/images?name={_key}&format=raw HTTP/1.1\r\nHost: {address.Authority}\r\n{RequestKey.Header}: {_key}\r\n{header}\r\n\r\n";
        await stream.WriteAsync(Encoding.ASCII.GetBytes(head), Cancelled);
        await stream.WriteAsync(body, Cancelled);
        using var reader = new StreamReader(stream);
        var line = await reader.ReadLineAsync(Cancelled) ?? throw new InvalidOperationException("The server has closed the connection without an answer.");
        return (HttpStatusCode)int.Parse(line.Split(' ')[1], CultureInfo.InvariantCulture);
    }

    /// <summary>The answer of a gateway whose clock runs until it answers.</summary>
    private static async Task<T> Ended<T>(Task<T> request, FakeTimeProvider clock)
    {
        using var bound = new CancellationTokenSource(Gateway.Bound);
        while (!request.IsCompleted && !bound.IsCancellationRequested)
        {
            clock.Advance(TimeSpan.FromSeconds(10));
            await Task.WhenAny(request, Task.Delay(TimeSpan.FromMilliseconds(20), Cancelled));
        }

        Assert.True(request.IsCompleted, "The request is not answered.");
        return await request;
    }

    private async Task<HttpResponseMessage> Upload(HttpContent content, string query = "", CancellationToken? cancellationToken = null, HttpClient? http = null)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, $"{HttpExtensions.Local}/images?name={_key}&format=raw{query}") { Content = content, Headers = { { RequestKey.Header, _key } } };
        return await (http ?? gateway.Http).SendAsync(request, cancellationToken ?? Cancelled);
    }

    /// <summary>Sends the first half, and the rest when the test allows it.</summary>
    private sealed class HangingContent(Task rest, bool isChunked = false) : HttpContent
    {
        public const int Length = 2 << 20;

        protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context) => throw new NotSupportedException();

        protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context, CancellationToken cancellationToken)
        {
            await stream.WriteAsync(new byte[Length / 2], cancellationToken);
            await stream.FlushAsync(cancellationToken);
            await rest.WaitAsync(cancellationToken);
            await stream.WriteAsync(new byte[Length / 2], cancellationToken);
        }

        protected override bool TryComputeLength(out long length)
        {
            length = Length;
            return !isChunked;
        }
    }
}
