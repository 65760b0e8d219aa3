namespace Instances.Client;

/// <summary>Spreads requests over the gateways of a datacenter. Each gateway serves any request. A gateway that is unreachable, or does not answer, is left out for a while.</summary>
/// <remarks>A failed request is not sent again here: <see cref="InstancesClient"/> repeats it if that is safe, and then uses the next gateway.</remarks>
/// <param name="gateways">At least one; only their scheme, host and port count.</param>
public sealed class GatewayPool(IReadOnlyList<Uri> gateways, HttpMessageHandler inner, TimeProvider? time = null) : DelegatingHandler(inner)
{
    /// <summary>How long a gateway that could not be reached is left out, as long as there is another.</summary>
    public static readonly TimeSpan RestAfterFailure = TimeSpan.FromSeconds(5);

    /// <summary>How long a gateway that took a request and did not answer is left out: it may be frozen, and each attempt costs the caller its full timeout.</summary>
    public static readonly TimeSpan RestAfterSilence = TimeSpan.FromMinutes(1);

    /// <summary>If the caller gives up earlier, the gateway is not suspected.</summary>
    public static readonly TimeSpan SilenceBound = TimeSpan.FromSeconds(5);

    private readonly TimeProvider _time = time ?? TimeProvider.System;
    private readonly Rest?[] _rests = new Rest?[gateways.Count];
    private int _turn = -1;

    /// <summary>An HTTP client over several gateways, as <see cref="InstancesClient"/> wants it.</summary>
    public static HttpClient CreateClient(IReadOnlyList<Uri> gateways) => new(new GatewayPool(
        gateways, new SocketsHttpHandler { ConnectTimeout = TimeSpan.FromSeconds(2), AllowAutoRedirect = false, UseProxy = false }))
    {
        BaseAddress = gateways[0],
        Timeout = Timeout.InfiniteTimeSpan,
    };

    protected override async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
    {
        var index = Next();
        request.RequestUri = new UriBuilder(request.RequestUri!) { Scheme = gateways[index].Scheme, Host = gateways[index].Host, Port = gateways[index].Port }.Uri;
        var sent = _time.GetTimestamp();
        try
        {
            var response = await base.SendAsync(request, cancellationToken);
            Volatile.Write(ref _rests[index], null);
            return response;
        }
        catch (HttpRequestException)
        {
            Volatile.Write(ref _rests[index], new(_time.GetTimestamp(), RestAfterFailure));
            throw;
        }
        catch (OperationCanceledException) when (_time.GetElapsedTime(sent) >= SilenceBound)
        {
            Volatile.Write(ref _rests[index], new(_time.GetTimestamp(), RestAfterSilence));
            throw;
        }
    }

    private int Next()
    {
        var turn = (int)((uint)Interlocked.Increment(ref _turn) % gateways.Count);
        for (var step = 0; step < gateways.Count; step++)
        {
            var index = (turn + step) % gateways.Count;
            if (Volatile.Read(ref _rests[index]) is not { } rest || _time.GetElapsedTime(rest.Since) >= rest.For) return index;
        }

        return turn;
    }

    private sealed record Rest(long Since, TimeSpan For);
}
