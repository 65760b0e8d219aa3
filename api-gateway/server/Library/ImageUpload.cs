using Instances.Datacenters;
using Instances.Faults;
using Instances.Operations;
using Instances.Problems;
using Instances.Requests;

namespace Instances.Library;

/// <summary>Forwards the bytes of a request to the data plane, and ends the import if the bytes did not arrive.</summary>
internal sealed class ImageUpload(Datacenter datacenter, UploadClient client)
{
    /// <summary>A refusal of the data plane is a short JSON text.</summary>
    private const int MaxRefusalBytes = 64 * 1024;

    public (ImageId Image, OperationId Operation) IdsOf(RequestKey key, int attempt) => (key.OfAttempt(attempt).NewId<ImageId>(), key.OfAttempt(attempt).NewId<OperationId>());

    /// <summary>Ends the imports that earlier attempts with the same key began, so that there is never more than one.</summary>
    /// <param name="attempt">The number of the current attempt. A key can be used again after its record was pruned: then imports of its earlier use may have this number and higher ones.</param>
    /// <returns>The operation of an earlier import that stands because all its bytes have arrived, or null; and the number whose ids a new import takes.</returns>
    public async Task<(OperationId? Earlier, int Number)> FindEarlier(RequestKey key, int attempt)
    {
        for (var number = 1; ; number++)
        {
            var (image, operation) = IdsOf(key, number);
            if (await datacenter.Image(image).Supersede(operation)) return (operation, number);
            if (number >= attempt && await datacenter.Operation(operation).Find() is null) return (null, number);
        }
    }

    /// <returns>The unchanged refusal of the data plane, or null if it accepted the bytes.</returns>
    /// <exception cref="FaultException">data-plane-unavailable; why the import ended, if the connection broke over it.</exception>
    /// <exception cref="BadHttpRequestException">The client disconnected. The data plane notices that too, and ends the import.</exception>
    public async Task<IResult?> Send(UploadTicket ticket, OperationId operation, HttpRequest request, RequestAttempt? attempt)
    {
        try
        {
            if (attempt is not null) await attempt.RequireTurn();
            using var response = await client.Send(ticket, request.BodyReader);
            if (response.IsSuccessStatusCode) return null;
            return await Refusal(response, request.HttpContext.Response, CancellationToken.None);
        }
        catch (Exception exception) when (exception is HttpRequestException or IOException and not BadHttpRequestException or OperationCanceledException)
        {
            // The import may have ended with a reason: read that before the import is cancelled.
            var end = await FindEnd(operation);
            await Abandon(operation);
            if (end is not null) throw new FaultException(end, exception);
            throw FaultException.Unavailable(
                "data-plane-unavailable",
                "The library's data plane did not take the bytes; the import was cancelled. Repeat the upload later.",
                exception);
        }
    }

    /// <summary>The unchanged problem of the data plane, and its Retry-After.</summary>
    public static async Task<IResult> Refusal(HttpResponseMessage response, HttpResponse answer, CancellationToken cancellationToken)
    {
        if (response.Content.Headers.ContentType?.MediaType is not Problem.ContentType)
            throw new HttpRequestException($"The data plane answered {(int)response.StatusCode} without a problem.");
        await response.Content.LoadIntoBufferAsync(MaxRefusalBytes, cancellationToken);
        CopyRetryAfter(response, answer);
        var body = await response.Content.ReadAsByteArrayAsync(cancellationToken);
        return TypedResults.Text(body, Problem.ContentType, (int)response.StatusCode);
    }

    public static void CopyRetryAfter(HttpResponseMessage response, HttpResponse answer)
    {
        if (response.Headers.RetryAfter is { } retry) answer.Headers.RetryAfter = retry.ToString();
    }

    /// <summary>Why the import failed or was cancelled; null while it runs, or if only the connection was interrupted.</summary>
    private async Task<Fault?> FindEnd(OperationId operation)
    {
        try
        {
            return await datacenter.GetOperation(operation) is { Status: OperationStatus.Failed or OperationStatus.Cancelled, Fault: { Kind: not FaultKind.Unavailable } fault } ? fault : null;
        }
        catch (Exception exception) when (exception is FaultException || Interruptions.IsInterruption(exception))
        {
            return null;
        }
    }

    /// <summary>The data plane ends an import whose bytes stop. If no byte has reached the data plane, the gateway must end the import.</summary>
    private async Task Abandon(OperationId operation)
    {
        try
        {
            await datacenter.Operation(operation).Cancel();
        }
        catch (Exception exception) when (exception is FaultException || Interruptions.IsInterruption(exception))
        {
            // The import has ended, or it cannot be reached to end it. Its image can be deleted in both cases.
        }
    }
}
