using System.Net;
using System.Net.Http.Headers;
using Instances.Faults;
using Instances.Problems;
using Microsoft.Net.Http.Headers;

namespace Instances.Library;

/// <summary>Forwards the data plane's answers about a layer unchanged to the client. It has its own HTTP client, which logs nothing, because its requests contain tickets.</summary>
internal sealed partial class LayerRelay(ILogger<LayerRelay> logger) : IDisposable
{
    private static readonly TimeSpan ConnectTimeout = TimeSpan.FromSeconds(5);
    private static readonly string[] Described = [HeaderNames.ContentType, HeaderNames.ContentLength, HeaderNames.ContentRange];

    private readonly HttpMessageInvoker _http = new(new SocketsHttpHandler
    {
        AllowAutoRedirect = false,
        UseCookies = false,
        UseProxy = false,
        ConnectTimeout = ConnectTimeout,
    });

    /// <summary>How long the data plane may take to send its next byte.</summary>
    public TimeSpan SilenceBound { get; init; } = TimeSpan.FromMinutes(1);

    /// <param name="what">The suffix of the layer's address.</param>
    /// <returns>The refusal of the data plane, or an empty result after the answer.</returns>
    /// <exception cref="FaultException">data-plane-unavailable.</exception>
    public async Task<IResult> Send(LayerOffer offer, string what, HttpContext context)
    {
        var response = context.Response;
        using var silence = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted);
        silence.CancelAfter(SilenceBound);
        try
        {
            using var request = new HttpRequestMessage(HttpMethod.Get, $"{offer.Address}{what}");
            request.Headers.Authorization = new AuthenticationHeaderValue("Bearer", offer.Ticket);
            if (context.Request.Headers.Range is { Count: > 0 } range) request.Headers.TryAddWithoutValidation(HeaderNames.Range, range.AsEnumerable());
            using var answer = await _http.SendAsync(request, silence.Token);
            if (answer.StatusCode is HttpStatusCode.RequestedRangeNotSatisfiable)
            {
                response.Headers.ContentRange = answer.Content.Headers.ContentRange?.ToString();
                return new ProblemResult(Problem.For(
                    context, StatusCodes.Status416RangeNotSatisfiable, "range-not-satisfiable",
                    "Name bytes of the layer in the header Range: at most 256 ranges in ascending order, each with its first and last byte, 16 MiB in all, such as bytes=0-65535."));
            }

            if (!answer.IsSuccessStatusCode) return await ImageUpload.Refusal(answer, response, silence.Token);
            response.StatusCode = (int)answer.StatusCode;
            Describe(answer, response);
            await BoundedCopy.Copy(await answer.Content.ReadAsStreamAsync(silence.Token), response.Body, silence, SilenceBound, context.RequestAborted);
            return TypedResults.Empty;
        }
        catch (Exception exception) when (exception is HttpRequestException or IOException or OperationCanceledException)
        {
            context.RequestAborted.ThrowIfCancellationRequested();
            if (!response.HasStarted)
            {
                response.Clear();
                throw FaultException.Unavailable("data-plane-unavailable", "The library's data plane does not give the layer at the moment. Repeat the request later.", exception);
            }

            LogBroken(logger, offer.Id, exception.Message);
            context.Abort();
            return TypedResults.Empty;
        }
    }

    public void Dispose() => _http.Dispose();

    private static void Describe(HttpResponseMessage answer, HttpResponse response)
    {
        foreach (var header in Described)
        {
            if (answer.Content.Headers.TryGetValues(header, out var values)) response.Headers[header] = values.ToArray();
        }

        response.Headers.CacheControl = "no-store";
    }

    [LoggerMessage(LogLevel.Warning, "The layer {Layer} broke off, and the connection to its receiver was ended: {Reason}")]
    private static partial void LogBroken(ILogger logger, LayerId layer, string reason);
}
