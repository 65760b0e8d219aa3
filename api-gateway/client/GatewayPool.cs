namespace Instances.Client;

/// <summary>Spreads requests over the gateways of a datacenter, any of which serves any request. One that cannot be reached is left out for a while.</summary>
/// <remarks>A request that fails is not sent again here: <see cref="InstancesClient"/> repeats what may be repeated, and meets the next gateway by that.</remarks>
/// <param name="gateways">At least one; only their scheme, host and port count.</param>
public sealed class GatewayPool(IReadOnlyList<Uri> gateways, HttpMessageHandler inner, TimeProvider? time = null) : DelegatingHandler(inner)
{
    /// <summary>How long a gateway that could not be reached is left out, as long as there is another.</summary>
    public static readonly TimeSpan RestAfterFailure = TimeSpan.FromSeconds(5);

    private readonly TimeProvider _time = time ?? TimeProvider.System;
    private readonly long[] _failedAt = new long[gateways.Count];
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
        try
        {
            return await base.SendAsync(request, cancellationToken);
        }
        catch (HttpRequestException)
        {
            Volatile.Write(ref _failedAt[index], _time.GetTimestamp());
            throw;
        }
    }

    private int Next()
    {
        var turn = (int)((uint)Interlocked.Increment(ref _turn) % gateways.Count);
        for (var step = 0; step < gateways.Count; step++)
        {
            var index = (turn + step) % gateways.Count;
            var failedAt = Volatile.Read(ref _failedAt[index]);
            if (failedAt == 0 || _time.GetElapsedTime(failedAt) >= RestAfterFailure) return index;
        }

        return turn;
    }
}
