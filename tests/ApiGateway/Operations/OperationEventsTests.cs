using System.Net;
using System.Net.ServerSentEvents;
using System.Text;
using System.Text.Json;
using Instances.Appliances;
using Instances.Fakes;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Time.Testing;
using Xunit;
using static Instances.HttpExtensions;

namespace Instances.Operations;

public sealed class OperationEventsTests(Gateway gateway)
{
    private readonly OperationId _id = OperationId.New();

    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Watch_Operation_TellsVersionsInOrderAndEnds()
    {
        var operation = Begin();
        await using var events = await Watch();

        Assert.Equal((1, OperationEvents.Progress), await events.Next());
        operation.Publish(2);
        Assert.Equal((2, OperationEvents.Progress), await events.Next());
        operation.Publish(5, OperationStatus.Unwinding);
        Assert.Equal((5, OperationEvents.Progress), await events.Next());
        operation.Publish(6, OperationStatus.Failed);
        Assert.Equal((6, OperationEvents.End), await events.Next());
        Assert.Null(await events.Next());
    }

    [Fact]
    public async Task Watch_FinishedOperation_TellsItsEndAtOnce()
    {
        Begin().Publish(3, OperationStatus.Succeeded);

        await using var events = await Watch();

        Assert.Equal((3, OperationEvents.End), await events.Next());
        Assert.Null(await events.Next());
    }

    [Theory, InlineData(true), InlineData(false)]
    public async Task Watch_FromTheLastEvent_TellsOnlyWhatCameAfter(bool asHeader)
    {
        var operation = Begin();
        operation.Publish(4);

        await using var events = await Watch(lastEventId: 4, asHeader);
        operation.Publish(5, OperationStatus.Succeeded);

        Assert.Equal((5, OperationEvents.End), await events.Next());
    }

    [Fact]
    public async Task Watch_AgainAfterTheEnd_AnswersNothingMore()
    {
        Begin().Publish(3, OperationStatus.Succeeded);
        using var request = new HttpRequestMessage(HttpMethod.Get, $"{Local}/operations/{_id}/events");
        request.Headers.Add("Last-Event-ID", "3");

        using var response = await gateway.Http.SendAsync(request, Cancelled);

        Assert.Equal(HttpStatusCode.NoContent, response.StatusCode);
    }

    [Fact]
    public async Task Watch_UnknownOperation_IsNotFound()
    {
        using var response = await gateway.Http.Get($"/operations/{_id}/events");

        await response.AssertProblem(404, "operation-not-found");
    }

    [Fact]
    public async Task Watch_GrainThatIsDeactivated_GoesOnWithoutLossOrRepeat()
    {
        var operation = Begin();
        await using var events = await Watch();
        Assert.Equal((1, OperationEvents.Progress), await events.Next());

        await gateway.Cluster.DeactivateAsync(gateway.Cluster.Client.GetGrain<IOperationGrain>(_id.Value));
        operation.Publish(2);
        Assert.Equal((2, OperationEvents.Progress), await events.Next());

        operation.Publish(9, OperationStatus.Succeeded);
        Assert.Equal((9, OperationEvents.End), await events.Next());
    }

    [Fact]
    public async Task Watch_QuietOperation_SendsHeartbeats()
    {
        var clock = new FakeTimeProvider();
        await using var app = await gateway.Start(services => services.AddSingleton<TimeProvider>(clock));
        using var http = Gateway.ClientOf(app);
        Begin();
        using var response = await http.GetAsync($"{Local}/operations/{_id}/events", HttpCompletionOption.ResponseHeadersRead, Cancelled);
        using var reader = new StreamReader(await response.Content.ReadAsStreamAsync(Cancelled), Encoding.UTF8);

        string? line;
        do
        {
            var next = reader.ReadLineAsync(Cancelled).AsTask();
            // The fake clock can fire the timer only after the server has created it.
            while (!next.IsCompleted)
            {
                clock.Advance(OperationEvents.HeartbeatInterval);
                await Task.Yield();
            }

            line = await next;
        }
        while (line is not ": heartbeat");

        Assert.Equal(": heartbeat", line);
    }

    [Fact]
    public async Task Watch_MoreThanTheGatewayServes_IsRefusedUntilOneEnds()
    {
        await using var app = await gateway.Start(services => services.Configure<WatchOptions>(options => options.MaxWatches = 1));
        using var http = Gateway.ClientOf(app);
        var operation = Begin();
        var path = $"{Local}/operations/{_id}/events";
        using var first = await http.GetAsync(path, HttpCompletionOption.ResponseHeadersRead, Cancelled);

        using var refused = await http.GetAsync(path, Cancelled);

        await refused.AssertProblem(503, "too-many-watches");
        Assert.NotNull(refused.Headers.RetryAfter);
        operation.Publish(2, OperationStatus.Succeeded);
        await first.Content.ReadAsStringAsync(Cancelled);
        HttpStatusCode status;
        do
        {
            // The place is released after the last byte was sent.
            using var again = await http.GetAsync(path, HttpCompletionOption.ResponseHeadersRead, Cancelled);
            status = again.StatusCode;
        }
        while (status is HttpStatusCode.ServiceUnavailable);
        Assert.Equal(HttpStatusCode.OK, status);
    }

    [Fact]
    public async Task Watch_GatewayThatStops_LetsGo()
    {
        Begin();
        var app = await gateway.Start();
        using var http = Gateway.ClientOf(app);
        using var response = await http.GetAsync($"{Local}/operations/{_id}/events", HttpCompletionOption.ResponseHeadersRead, Cancelled);
        await using var events = new EventReader(response, await response.Content.ReadAsStreamAsync(Cancelled));
        Assert.Equal((1, OperationEvents.Progress), await events.Next());

        await app.StopAsync(Cancelled).WaitAsync(Gateway.Bound, Cancelled);

        Assert.Null(await events.Next());
        await app.DisposeAsync();
    }

    [Fact]
    public async Task Cancel_RunningOperation_IsAccepted()
    {
        Begin();

        using var response = await gateway.Http.Post($"/operations/{_id}/cancel");

        Assert.Equal(HttpStatusCode.Accepted, response.StatusCode);
        Assert.Equal(OperationStatus.Unwinding, (await response.Read<OperationView>()).Status);
        Assert.Equal($"{Local}/operations/{_id}", response.Headers.Location?.OriginalString);
    }

    [Fact]
    public async Task List_OfAnAppliance_ShowsItsOperations()
    {
        var appliance = ApplianceId.New();
        using var accepted = await gateway.Http.Post($"/appliances/{appliance}/deploy");
        Begin();

        using var response = await gateway.Http.Get($"/operations?appliance={appliance}");

        var page = await response.Read<Catalogue.Page<OperationView>>();
        Assert.Equal([(await accepted.Read<OperationView>()).Id], page.Items.Select(operation => operation.Id));
    }

    private ScriptedOperation Begin()
    {
        gateway.Datacenter.Begin(_id, OperationKind.Deploy);
        return gateway.Datacenter.Operations[_id];
    }

    private async Task<EventReader> Watch(long? lastEventId = null, bool asHeader = true)
    {
        var query = lastEventId is null || asHeader ? "" : $"?lastEventId={lastEventId}";
        using var request = new HttpRequestMessage(HttpMethod.Get, $"{Local}/operations/{_id}/events{query}");
        if (lastEventId is not null && asHeader) request.Headers.Add("Last-Event-ID", $"{lastEventId}");
        var response = await gateway.Http.SendAsync(request, HttpCompletionOption.ResponseHeadersRead, Cancelled);
        Assert.Equal("text/event-stream", response.Content.Headers.ContentType?.MediaType);
        return new(response, await response.Content.ReadAsStreamAsync(Cancelled));
    }

    private sealed class EventReader(HttpResponseMessage response, Stream stream) : IAsyncDisposable
    {
        private readonly IAsyncEnumerator<SseItem<string>> _items = SseParser.Create(stream).EnumerateAsync(Cancelled).GetAsyncEnumerator();

        /// <summary>The id and the name of the next event, or null at the end.</summary>
        public async Task<(long Version, string Name)?> Next()
        {
            if (!await _items.MoveNextAsync().AsTask().WaitAsync(Gateway.Bound, Cancelled)) return null;
            var operation = JsonSerializer.Deserialize<OperationView>(_items.Current.Data, InstancesJson.Options)!;
            Assert.Equal($"{operation.Version}", _items.Current.EventId);
            return (operation.Version, _items.Current.EventType);
        }

        public async ValueTask DisposeAsync()
        {
            await _items.DisposeAsync();
            response.Dispose();
        }
    }
}
