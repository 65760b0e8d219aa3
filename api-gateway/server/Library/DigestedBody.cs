using System.Buffers;
using System.Globalization;
using System.Text;
using Instances.Problems;
using Microsoft.AspNetCore.Server.Kestrel.Core.Features;
using Microsoft.Net.Http.Headers;

namespace Instances.Library;

/// <summary>The body of an answer whose digest follows it as a trailer (RFC 9530): it is known when the last byte is sent.</summary>
/// <remarks>
/// The server knows trailers in HTTP/2 and later only. In HTTP/1.1 the chunks are made here, with the trailer behind the last. They do not go together with Content-Length: the length, where it is known,
/// stands in a header of our own. A body that was not completed lacks its last chunk, so that it never looks whole; whoever leaves it so has to abort the connection.
/// </remarks>
internal sealed class DigestedBody : WriteOnlyStream
{
    public const string LengthHeader = "Export-Length";
    public const string Trailer = "Repr-Digest";

    /// <summary>A receiver that takes less is cut off: it must not hold one of few places for days.</summary>
    public const int MinBytesPerSecond = 16 << 10;

    private static readonly TimeSpan SlowBound = TimeSpan.FromSeconds(30);

    private readonly HttpResponse _response;
    private readonly bool _isChunkedHere;

    /// <summary>Changes the head of an answer that has not begun, to a request for which there is no <see cref="Obstacle"/>.</summary>
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
        context, StatusCodes.Status505HttpVersionNotsupported, "http-version-unsupported", "An export needs HTTP/1.1 or later: before, its end cannot be told from a break. Proxies on the way have to use it, too.");

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
