using System.Globalization;
using System.IO.Pipelines;
using System.Net.Http.Headers;
using System.Net.Sockets;

namespace Instances.Library;

/// <summary>Sends the bytes of an import to the data plane, each request on its own connection. Logs nothing, because its requests contain secrets.</summary>
internal sealed class UploadClient
{
    /// <summary>An answer of the data plane is a short JSON text, or has no body.</summary>
    private const int MaxAnswerBytes = 64 * 1024;

    private static readonly TimeSpan ConnectTimeout = TimeSpan.FromSeconds(5);

    /// <summary>How long the data plane may take to accept the next bytes. It examines the head of an image in between.</summary>
    public TimeSpan SilenceBound { get; init; } = TimeSpan.FromMinutes(1);

    /// <summary>There is no time limit while bytes arrive. If the answer comes before the last byte, the rest is not sent.</summary>
    /// <exception cref="BadHttpRequestException">The client disconnected.</exception>
    /// <exception cref="HttpRequestException">The data plane disconnected, or was not reached. IOException and OperationCanceledException mean the same.</exception>
    public Task<HttpResponseMessage> Send(UploadTicket ticket, PipeReader bytes) => Send(HttpMethod.Put, ticket, bytes, offset: null);

    /// <summary>Sends a part of an upload, in the same way.</summary>
    public Task<HttpResponseMessage> SendPart(UploadTicket ticket, long offset, PipeReader bytes) => Send(HttpMethod.Patch, ticket, bytes, offset);

    private async Task<HttpResponseMessage> Send(HttpMethod method, UploadTicket ticket, PipeReader bytes, long? offset)
    {
        using var answered = new CancellationTokenSource();
        using var http = new HttpMessageInvoker(new SocketsHttpHandler
        {
            AllowAutoRedirect = false,
            UseCookies = false,
            UseProxy = false,
            ConnectTimeout = ConnectTimeout,
            ConnectCallback = async (context, token) => new AnswerWatch(await Connect(context, token), answered.Cancel),
        });
        using var content = new UploadContent(bytes, SilenceBound, answered.Token);
        using var request = new HttpRequestMessage(method, ticket.Address) { Content = content };
        request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", ticket.Secret);
        // Without this, HttpClient reads no answer before it has sent everything.
        request.Headers.ExpectContinue = true;
        if (offset is { } start) request.Headers.Add(Tus.Offset, start.ToString(CultureInfo.InvariantCulture));
        try
        {
            var response = await http.SendAsync(request, CancellationToken.None);
            await response.Content.LoadIntoBufferAsync(MaxAnswerBytes, CancellationToken.None);
            return response;
        }
        catch (Exception exception) when (exception.InnerException is BadHttpRequestException sender)
        {
            throw sender;
        }
        finally
        {
            await answered.CancelAsync();
            await content.Sending.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    private static async ValueTask<Stream> Connect(SocketsHttpConnectionContext context, CancellationToken cancellationToken)
    {
        var socket = new Socket(SocketType.Stream, ProtocolType.Tcp) { NoDelay = true };
        try
        {
            await socket.ConnectAsync(context.DnsEndPoint, cancellationToken);
            return new NetworkStream(socket, ownsSocket: true);
        }
        catch
        {
            socket.Dispose();
            throw;
        }
    }
}
