using System.Net;
using System.Text;
using System.Text.Json;
using Instances.Operations;
using Xunit;

namespace Instances.Client;

public sealed class WatchTests
{
    private static readonly OperationView Running = new(
        OperationId.New(), OperationKind.Deploy, OperationStatus.Running, Appliance: null, Image: null, Step: null, [], [], TimeProvider.System.GetUtcNow(), FinishedAt: null, Version: 7,
        Cancellable: true, Fault: null, Result: null);

    /// <summary>A frozen process keeps its connections open: only its silence shows it.</summary>
    [Fact]
    public async Task Gateway_ThatStandsStill_IsLeftAndTheNextIsAskedForWhatIsDue()
    {
        using var gateways = new Script(Event(Running), Event(Running with { Version = 8, Status = OperationStatus.Succeeded }));
        using var http = new HttpClient(gateways) { BaseAddress = new("http://127.0.0.1/") };
        var versions = new List<long>();

        await foreach (var view in new InstancesClient(http) { SilenceBound = TimeSpan.FromMilliseconds(200) }.Watch(Running.Id, TestContext.Current.CancellationToken)) versions.Add(view.Version);

        Assert.Equal([7, 8], versions);
        Assert.Equal([null, "7"], gateways.Asked);
    }

    private static byte[] Event(OperationView view) => Encoding.UTF8.GetBytes($"id: {view.Version}\ndata: {JsonSerializer.Serialize(view, InstancesJson.Options)}\n\n");

    /// <summary>Gateways that send one event each and are then silent.</summary>
    private sealed class Script(params byte[][] said) : HttpMessageHandler
    {
        public List<string?> Asked { get; } = [];

        protected override Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
        {
            Asked.Add(request.Headers.TryGetValues("Last-Event-ID", out var ids) ? ids.Single() : null);
            return Task.FromResult(new HttpResponseMessage(HttpStatusCode.OK) { Content = new StreamContent(new StandingStill(said[Asked.Count - 1])) });
        }
    }

    private sealed class StandingStill(byte[] said) : MemoryStream(said)
    {
        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            if (Position == Length) await Task.Delay(Timeout.InfiniteTimeSpan, cancellationToken);
            return await base.ReadAsync(buffer, cancellationToken);
        }
    }
}
