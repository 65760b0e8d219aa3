using System.Net.Http.Headers;

namespace Instances.Library;

/// <summary>Has images exported by the data plane. Has an HTTP client of its own, which logs nothing: its requests carry secrets.</summary>
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

    /// <summary>How long the data plane may take to send its next byte. It looks through the tables of all layers before the first.</summary>
    public TimeSpan SilenceBound { get; init; } = TimeSpan.FromMinutes(1);

    /// <returns>The answer's head; its body comes while it is read.</returns>
    public Task<HttpResponseMessage> Get(HttpMethod method, ExportTicket ticket, ExportFormat format, ExportCompression? compression, CancellationToken cancellationToken)
    {
        var query = $"?format={format}{(compression is null ? "" : $"&compression={compression}")}";
        var request = new HttpRequestMessage(method, new Uri($"{ticket.Address}{query}"));
        request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", ticket.Secret);
        return _http.SendAsync(request, cancellationToken);
    }

    public void Dispose() => _http.Dispose();
}
