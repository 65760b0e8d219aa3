using System.Net;
using Microsoft.Extensions.Time.Testing;
using Xunit;

namespace Instances.Client;

public sealed class GatewayPoolTests
{
    private static readonly Uri[] Gateways = [new("http://one:1"), new("http://two:2")];

    private readonly FakeTimeProvider _time = new();
    private readonly Recorder _recorder = new();
    private readonly HttpClient _http;

    public GatewayPoolTests() => _http = new(new GatewayPool(Gateways, _recorder, _time)) { BaseAddress = Gateways[0] };

    [Fact]
    public async Task Requests_AreSpreadOverTheGateways()
    {
        for (var number = 0; number < 4; number++) await Get();

        Assert.Equal(["one", "two", "one", "two"], _recorder.Hosts);
    }

    [Fact]
    public async Task Gateway_ThatCannotBeReached_IsLeftOutForAWhile()
    {
        _recorder.Away = "one";
        await Assert.ThrowsAsync<HttpRequestException>(Get);
        _recorder.Hosts.Clear();

        for (var number = 0; number < 3; number++) await Get();
        Assert.Equal(["two", "two", "two"], _recorder.Hosts);

        _recorder.Away = "";
        _time.Advance(GatewayPool.RestAfterFailure);
        for (var number = 0; number < 2; number++) await Get();
        Assert.Contains("one", _recorder.Hosts);
    }

    [Fact]
    public async Task Gateways_ThatAreAllAway_AreTriedAllTheSame()
    {
        _recorder.Away = "both";

        for (var number = 0; number < 3; number++) await Assert.ThrowsAsync<HttpRequestException>(Get);

        Assert.Equal(3, _recorder.Hosts.Count);
    }

    [Fact]
    public async Task Gateway_ThatTakesARequestAndDoesNotAnswer_IsLeftOutForLonger()
    {
        _recorder.Frozen = "one";
        using var patience = new CancellationTokenSource();
        var request = _http.GetAsync("/api", patience.Token);
        _time.Advance(GatewayPool.SilenceBound);
        await patience.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => request);
        _recorder.Hosts.Clear();

        _time.Advance(GatewayPool.RestAfterFailure);
        for (var number = 0; number < 3; number++) await Get();
        Assert.Equal(["two", "two", "two"], _recorder.Hosts);

        _recorder.Frozen = "";
        _time.Advance(GatewayPool.RestAfterSilence);
        for (var number = 0; number < 2; number++) await Get();
        Assert.Contains("one", _recorder.Hosts);
    }

    private async Task Get()
    {
        using var response = await _http.GetAsync("/api", TestContext.Current.CancellationToken);
        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
    }

    private sealed class Recorder : HttpMessageHandler
    {
        public List<string> Hosts { get; } = [];

        /// <summary>A gateway, or <c>both</c>.</summary>
        public string Away { get; set; } = "";

        /// <summary>A gateway that takes requests and does not answer.</summary>
        public string Frozen { get; set; } = "";

        protected override async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
        {
            Hosts.Add(request.RequestUri!.Host);
            if (Frozen == request.RequestUri.Host) await Task.Delay(Timeout.InfiniteTimeSpan, cancellationToken);
            return Away == "both" || Away == request.RequestUri.Host ? throw new HttpRequestException("away") : new HttpResponseMessage(HttpStatusCode.OK);
        }
    }
}
