using System.Net.Http.Headers;

namespace Instances.Library;

/// <summary>Requests exports from the data plane. It has its own HTTP client, which logs nothing, because its requests contain secrets.</summary>
internal sealed class ExportClient : IDisposable
{
    private static readonly TimeSpan ConnectTimeout = TimeSpan.FromSeconds(5);

    private readonly HttpMessageInvoker _http = new(new SocketsHttpHandler
    {
        AllowAutoRedirect = false,
        UseCookies = false,
        UseProxy = false,
        ConnectTimeout = ConnectTimeout,
    });

    /// <summary>How long the data plane may take to send its next byte. Before the first byte it reads the tables of all layers.</summary>
    public TimeSpan SilenceBound { get; init; } = TimeSpan.FromMinutes(1);

    /// <returns>The answer's headers; its body is streamed.</returns>
    public Task<HttpResponseMessage> Get(HttpMethod method, ExportTicket ticket, ExportFormat format, ExportCompression? compression, CancellationToken cancellationToken)
    {
        var query = $"?format={format}{(compression is null ? "" : $"&compression={compression}")}";
        var request = new HttpRequestMessage(method, new Uri($"{ticket.Address}{query}"));
        request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", ticket.Secret);
        return _http.SendAsync(request, cancellationToken);
    }

    public void Dispose() => _http.Dispose();
}
