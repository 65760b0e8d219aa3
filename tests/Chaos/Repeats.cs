using System.Net;
using System.Net.Http;
using System.Text.Json;
using Instances.Client;

namespace Instances.Chaos;

/// <summary>Repeats some requests that have begun an operation, like a client that has lost the answer. With the same Idempotency-Key it is the same operation.</summary>
internal sealed class Repeats(Random random, ChaosReport report, HttpMessageHandler inner) : DelegatingHandler(inner)
{
    private const int OneOf = 4;

    public static HttpClient CreateClient(IReadOnlyList<Uri> gateways, Random random, ChaosReport report)
    {
        var pool = new GatewayPool(gateways, new SocketsHttpHandler { ConnectTimeout = TimeSpan.FromSeconds(2), UseProxy = false });
        return new(new Repeats(random, report, pool)) { BaseAddress = gateways[0], Timeout = Timeout.InfiniteTimeSpan };
    }

    protected override async Task<HttpResponseMessage> SendAsync(HttpRequestMessage request, CancellationToken cancellationToken)
    {
        var again = request.Headers.Contains("Idempotency-Key") && !IsCancel(request) && IsChosen() ? await Copy(request, cancellationToken) : null;
        var response = await base.SendAsync(request, cancellationToken);
        if (again is not null && response.StatusCode is HttpStatusCode.Accepted) await Repeat(again, await IdIn(response), cancellationToken);
        return response;
    }

    /// <summary>It begins nothing, and is refused if the operation has ended meanwhile.</summary>
    private static bool IsCancel(HttpRequestMessage request) => request.RequestUri!.OriginalString.EndsWith("/cancel", StringComparison.Ordinal);

    private bool IsChosen()
    {
        lock (random) return random.Next(OneOf) == 0;
    }

    private async Task Repeat(HttpRequestMessage again, string first, CancellationToken cancellationToken)
    {
        try
        {
            using var response = await base.SendAsync(again, cancellationToken);
            if (response.StatusCode is HttpStatusCode.ServiceUnavailable or HttpStatusCode.GatewayTimeout) return;
            if (!response.IsSuccessStatusCode)
                report.Violation($"repeated: {again.RequestUri!.AbsolutePath} was accepted as operation {first}, and is refused with {(int)response.StatusCode}: {await response.Content.ReadAsStringAsync(cancellationToken)}");
            else if (await IdIn(response) is var second && second != first)
                report.Violation($"repeated: {again.RequestUri!.AbsolutePath} was accepted as operation {first}, and once more as {second}");
            else report.Count("request repeated: the same operation");
        }
        catch (Exception exception) when (exception is HttpRequestException or IOException)
        {
            // The gateway is gone.
        }
    }

    private static async Task<HttpRequestMessage> Copy(HttpRequestMessage request, CancellationToken cancellationToken)
    {
        var copy = new HttpRequestMessage(request.Method, request.RequestUri);
        foreach (var header in request.Headers) copy.Headers.Add(header.Key, header.Value);
        if (request.Content is not { } content) return copy;
        copy.Content = new ByteArrayContent(await content.ReadAsByteArrayAsync(cancellationToken));
        copy.Content.Headers.ContentType = content.Headers.ContentType;
        return copy;
    }

    private static async Task<string> IdIn(HttpResponseMessage response)
    {
        await response.Content.LoadIntoBufferAsync();
        using var json = JsonDocument.Parse(await response.Content.ReadAsStringAsync());
        return json.RootElement.GetProperty("id").GetString()!;
    }
}
