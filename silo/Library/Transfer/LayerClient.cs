using System.Globalization;
using System.Net;
using System.Net.Http.Headers;
using System.Text.Json;
using Instances.Faults;
using Microsoft.Extensions.Options;

namespace Instances.Library.Transfer;

/// <summary>Reads layers from other silos' data planes, and from other datacenters' gateways. It trusts neither: every answer is bounded. It has its own HTTP client, which logs nothing, because its requests contain tickets.</summary>
/// <remarks>
/// Throws <see cref="TransferBrokenException"/> for errors that a retry may solve, <see cref="TicketRefusedException"/>, and a
/// <see cref="FaultException"/> with <c>layer-missing</c>.
/// </remarks>
internal sealed class LayerClient(IOptions<LayerStoreOptions> options, TimeProvider time) : IDisposable
{
    private static readonly TimeSpan ConnectTimeout = TimeSpan.FromSeconds(5);

    /// <summary>The longest list of extents is shorter than half of it.</summary>
    private const int MaxJsonBytes = 1 << 20;

    private readonly HttpMessageInvoker _http = new(new SocketsHttpHandler
    {
        AllowAutoRedirect = false,
        UseCookies = false,
        UseProxy = false,
        ConnectTimeout = ConnectTimeout,
    });

    /// <summary>The extents at and after an offset.</summary>
    public async Task<LayerExtents> Extents(LayerOffer offer, long from, CancellationToken cancellationToken)
    {
        using var quiet = new Silence(this, cancellationToken);
        using var response = await Get(offer, $"/extents?from={from.ToString(CultureInfo.InvariantCulture)}", range: null, quiet);
        return await ReadJson<LayerExtents>(response, quiet) is { Data.Count: var count } extents && count % 2 == 0
            ? extents
            : throw new TransferBrokenException("the other side's list of extents cannot be read.");
    }

    /// <returns>The digest, or null while the other side computes it.</returns>
    public async Task<string?> Digest(LayerOffer offer, CancellationToken cancellationToken)
    {
        using var quiet = new Silence(this, cancellationToken);
        using var response = await Get(offer, "/digest", range: null, quiet);
        if (response.StatusCode is HttpStatusCode.Accepted) return null;
        return (await ReadJson<LayerDigest>(response, quiet))?.Sha256;
    }

    /// <summary>Reads ranges, which are in ascending order and within the bounds of one request.</summary>
    /// <param name="take">Called with the bytes in order. Its exceptions are passed on.</param>
    public async Task Read(LayerOffer offer, IReadOnlyList<ByteRange> ranges, Func<long, ReadOnlyMemory<byte>, ValueTask> take, CancellationToken cancellationToken)
    {
        using var quiet = new Silence(this, cancellationToken);
        var range = $"bytes={string.Join(',', ranges.Select(range => string.Create(CultureInfo.InvariantCulture, $"{range.Offset}-{range.End - 1}")))}";
        using var response = await Get(offer, "", range, quiet);
        if (response.StatusCode is not HttpStatusCode.PartialContent) throw Unexpected(response);

        var body = new RangesBody(await quiet.Hear(() => response.Content.ReadAsStreamAsync(quiet.Token)), quiet);
        if (ranges is [var only])
        {
            if (response.Content.Headers.ContentRange is not { From: { } from, To: { } to } || from != only.Offset || to != only.End - 1) throw Unexpected(response);
            await body.Take(only, take);
            return;
        }

        var boundary = response.Content.Headers.ContentType?.Parameters.FirstOrDefault(parameter => parameter.Name == "boundary")?.Value?.Trim('"');
        foreach (var part in ranges)
        {
            await body.ReadHead(boundary, part);
            await body.Take(part, take);
        }
    }

    public void Dispose() => _http.Dispose();

    private async Task<HttpResponseMessage> Get(LayerOffer offer, string what, string? range, Silence quiet)
    {
        using var request = new HttpRequestMessage(HttpMethod.Get, $"{offer.Address}{what}");
        if (offer.Ticket.Length > 0) request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", offer.Ticket);
        if (range is not null) request.Headers.TryAddWithoutValidation("Range", range);
        var response = await quiet.Hear(() => _http.SendAsync(request, quiet.Token));
        if (response.IsSuccessStatusCode) return response;
        using (response)
        {
            throw response.StatusCode switch
            {
                HttpStatusCode.Forbidden => new TicketRefusedException(),
                HttpStatusCode.NotFound => FileFaults.LayerMissing(offer.Id),
                _ => Unexpected(response),
            };
        }
    }

    private static Task<T?> ReadJson<T>(HttpResponseMessage response, Silence quiet) => quiet.Hear(async () =>
    {
        await response.Content.LoadIntoBufferAsync(MaxJsonBytes, quiet.Token);
        return JsonSerializer.Deserialize<T>(await response.Content.ReadAsByteArrayAsync(quiet.Token), InstancesJson.Options);
    });

    private static TransferBrokenException Unexpected(HttpResponseMessage response) => new($"the other side answered {(int)response.StatusCode}.");

    /// <summary>Ends a request if the other side is silent for too long, and distinguishes failures of the other side from those of this side.</summary>
    internal sealed class Silence(LayerClient client, CancellationToken cancellationToken) : IDisposable
    {
        private readonly CancellationTokenSource _timer = new(client.Bound, client.Time);
        private CancellationTokenSource? _either;

        public CancellationToken Token => (_either ??= CancellationTokenSource.CreateLinkedTokenSource(_timer.Token, cancellationToken)).Token;

        public async Task<T> Hear<T>(Func<Task<T>> read)
        {
            try
            {
                var heard = await read();
                _timer.CancelAfter(client.Bound);
                return heard;
            }
            catch (OperationCanceledException exception) when (!cancellationToken.IsCancellationRequested)
            {
                throw new TransferBrokenException($"the other side was silent for {client.Bound.TotalSeconds:0} s.", exception);
            }
            catch (Exception exception) when (exception is HttpRequestException or IOException or JsonException)
            {
                throw new TransferBrokenException($"the connection broke: {exception.Message}", exception);
            }
        }

        public void Dispose()
        {
            _either?.Dispose();
            _timer.Dispose();
        }
    }

    private TimeSpan Bound => options.Value.SilenceBound;

    private TimeProvider Time => time;
}
