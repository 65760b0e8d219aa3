using Instances.Faults;
using Instances.Problems;
using Microsoft.Net.Http.Headers;

namespace Instances.Library;

/// <summary>Forwards an export from the data plane to the client, piece by piece. An incomplete export aborts the connection, so that it never looks complete.</summary>
internal sealed partial class ImageDownload(ExportClient client, ILogger<ImageDownload> logger)
{
    private static readonly string[] Described = [HeaderNames.ContentDisposition, HeaderNames.ContentType, DigestedBody.LengthHeader];

    /// <returns>The unchanged refusal of the data plane, or an empty result after the export.</returns>
    /// <exception cref="FaultException">data-plane-unavailable.</exception>
    public async Task<IResult> Send(ExportTicket ticket, ExportFormat format, ExportCompression? compression, HttpContext context)
    {
        if (DigestedBody.Obstacle(context) is { } obstacle) return new ProblemResult(obstacle);
        var response = context.Response;
        using var silence = CancellationTokenSource.CreateLinkedTokenSource(context.RequestAborted);
        silence.CancelAfter(client.SilenceBound);
        try
        {
            using var export = await client.Get(new(context.Request.Method), ticket, format, compression, silence.Token);
            if (!export.IsSuccessStatusCode)
            {
                if (!HttpMethods.IsHead(context.Request.Method)) return await ImageUpload.Refusal(export, response, silence.Token);
                ImageUpload.CopyRetryAfter(export, response);
                return TypedResults.StatusCode((int)export.StatusCode);
            }

            Describe(export, response);
            if (HttpMethods.IsHead(context.Request.Method)) return TypedResults.Empty;
            await using var body = new DigestedBody(response);
            await BoundedCopy.Copy(await export.Content.ReadAsStreamAsync(silence.Token), body, silence, client.SilenceBound, context.RequestAborted);
            var digest = export.TrailingHeaders.TryGetValues(DigestedBody.Trailer, out var values) ? values.Single() : throw new HttpRequestException("The export has no digest.");
            await body.Complete(digest, context.RequestAborted);
            return TypedResults.Empty;
        }
        catch (Exception exception) when (exception is HttpRequestException or IOException or OperationCanceledException)
        {
            context.RequestAborted.ThrowIfCancellationRequested();
            if (!response.HasStarted)
            {
                response.Clear();
                throw FaultException.Unavailable("data-plane-unavailable", "The library's data plane does not give the image at the moment. Repeat the export later.", exception);
            }

            LogBroken(logger, exception.Message);
            context.Abort();
            return TypedResults.Empty;
        }
    }

    private static void Describe(HttpResponseMessage export, HttpResponse response)
    {
        foreach (var header in Described)
        {
            if (export.Headers.TryGetValues(header, out var values) || export.Content.Headers.TryGetValues(header, out values)) response.Headers[header] = values.ToArray();
        }

        response.Headers.CacheControl = "no-store";
    }

    [LoggerMessage(LogLevel.Warning, "An export broke off, and the connection to its receiver was ended: {Reason}")]
    private static partial void LogBroken(ILogger logger, string reason);
}
