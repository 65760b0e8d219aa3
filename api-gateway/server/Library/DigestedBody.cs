using System.Buffers;
using System.Globalization;
using System.Text;
using Instances.Problems;
using Microsoft.AspNetCore.Server.Kestrel.Core.Features;
using Microsoft.Net.Http.Headers;

namespace Instances.Library;

/// <summary>An answer's body with its digest as a trailer (RFC 9530), because the digest is known only after the last byte.</summary>
/// <remarks>
/// The web server supports trailers only in HTTP/2 and later. For HTTP/1.1 this class writes the chunks, with the trailer after the last one. Chunks exclude Content-Length: the length, if it is known,
/// is in the header Export-Length. An incomplete body lacks its last chunk, so that it never looks complete. The caller must then abort the connection.
/// </remarks>
internal sealed class DigestedBody : WriteOnlyStream
{
    public const string LengthHeader = "Export-Length";
    public const string Trailer = "Repr-Digest";

    /// <summary>A slower receiver is disconnected: it must not hold one of few places for days.</summary>
    public const int MinBytesPerSecond = 16 << 10;

    private static readonly TimeSpan SlowBound = TimeSpan.FromSeconds(30);

    private readonly HttpResponse _response;
    private readonly bool _isChunkedHere;

    /// <summary>Prepares the headers of an answer that has not begun. Requires that the request has no <see cref="Obstacle"/>.</summary>
    public DigestedBody(HttpResponse response)
    {
        _response = response;
        _isChunkedHere = !response.SupportsTrailers();
        response.Headers[HeaderNames.Trailer] = Trailer;
        if (response.HttpContext.Features.Get<IHttpMinResponseDataRateFeature>() is { } rate) rate.MinDataRate = new(MinBytesPerSecond, SlowBound);
        if (_isChunkedHere) response.Headers.TransferEncoding = "chunked";
    }

    /// <summary>Why the answer to a request can have no trailer; null if it can.</summary>
    public static Problem? Obstacle(HttpContext context) => !HttpProtocol.IsHttp10(context.Request.Protocol) ? null : Problem.For(
        context, StatusCodes.Status505HttpVersionNotsupported, "http-version-unsupported", "An export needs HTTP/1.1 or later: with HTTP/1.0 its end cannot be distinguished from an interruption. Proxies on the way must use it too.");

    public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
    {
        if (buffer.Length == 0) return;
        var writer = _response.BodyWriter;
        if (_isChunkedHere) Write(string.Create(CultureInfo.InvariantCulture, $"{buffer.Length:x}\r\n"));
        writer.Write(buffer.Span);
        if (_isChunkedHere) Write("\r\n");
        await writer.FlushAsync(cancellationToken);
        cancellationToken.ThrowIfCancellationRequested();
    }

    /// <param name="digest">In the form of the trailer.</param>
    public async Task Complete(string digest, CancellationToken cancellationToken)
    {
        if (_isChunkedHere) Write($"0\r\n{Trailer}: {digest}\r\n\r\n");
        else _response.AppendTrailer(Trailer, digest);
        await _response.BodyWriter.FlushAsync(cancellationToken);
        await _response.CompleteAsync();
    }

    public static string Format(ReadOnlySpan<byte> sha256) => $"sha-256=:{Convert.ToBase64String(sha256)}:";

    private void Write(string text) => Encoding.ASCII.GetBytes(text, _response.BodyWriter);
}
