using System.Globalization;
using System.Net.Http.Headers;

namespace Instances.Library;

/// <summary>Sends the bytes of an import to the data plane. Has an HTTP client of its own, which logs nothing: its requests carry secrets.</summary>
internal sealed class UploadClient : IDisposable
{
    private static readonly TimeSpan ConnectTimeout = TimeSpan.FromSeconds(5);

    private readonly HttpMessageInvoker _http = new(new SocketsHttpHandler
    {
        AllowAutoRedirect = false,
        UseCookies = false,
        UseProxy = false,
        ConnectTimeout = ConnectTimeout,
    });

    /// <summary>As long as the bytes come, there is no bound on the time. A refusal can come before the first byte was sent.</summary>
    public Task<HttpResponseMessage> Send(UploadTicket ticket, Stream bytes, long? length, CancellationToken cancellationToken) =>
        _http.SendAsync(Request(HttpMethod.Put, ticket, bytes, length), cancellationToken);

    /// <summary>Sends a part of an upload, in the same way.</summary>
    public Task<HttpResponseMessage> SendPart(UploadTicket ticket, long offset, Stream bytes, long? length, CancellationToken cancellationToken)
    {
        var request = Request(HttpMethod.Patch, ticket, bytes, length);
        request.Headers.Add(Tus.Offset, offset.ToString(CultureInfo.InvariantCulture));
        return _http.SendAsync(request, cancellationToken);
    }

    public void Dispose() => _http.Dispose();

    private static HttpRequestMessage Request(HttpMethod method, UploadTicket ticket, Stream bytes, long? length)
    {
        var content = new StreamContent(bytes);
        content.Headers.ContentType = new("application/octet-stream");
        content.Headers.ContentLength = length;
        var request = new HttpRequestMessage(method, ticket.Address) { Content = content };
        request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", ticket.Secret);
        request.Headers.ExpectContinue = true;
        return request;
    }
}
