using Instances.Datacenters;
using Instances.Faults;
using Instances.Operations;
using Instances.Problems;
using Instances.Requests;

namespace Instances.Library;

/// <summary>Leads the bytes of a request to the data plane, and makes sure that an import whose bytes did not arrive ends.</summary>
internal sealed class ImageUpload(Datacenter datacenter, UploadClient client)
{
    /// <summary>A refusal of the data plane is a short JSON text.</summary>
    private const int MaxRefusalBytes = 64 * 1024;

    public (ImageId Image, OperationId Operation) IdsOf(RequestKey key, int attempt) => (key.OfAttempt(attempt).NewId<ImageId>(), key.OfAttempt(attempt).NewId<OperationId>());

    /// <summary>Ends the imports that earlier attempts with the same key began, so that there is never more than one.</summary>
    /// <param name="attempt">The number of the present attempt. It is looked at too: a key may come again after its record was pruned.</param>
    /// <returns>The operation of the earlier import that stands, because all its bytes have come; null if there is none.</returns>
    public async Task<OperationId?> FindEarlier(RequestKey key, int attempt)
    {
        for (var number = 1; number <= attempt; number++)
        {
            var (image, operation) = IdsOf(key, number);
            if (await datacenter.Image(image).Supersede(operation)) return operation;
        }

        return null;
    }

    /// <returns>The refusal of the data plane as it stands, or null when it took the bytes.</returns>
    /// <exception cref="FaultException">data-plane-unavailable; why the import ended, if the connection broke over it.</exception>
    /// <exception cref="BadHttpRequestException">The sender broke off. The data plane sees that, too, and ends the import.</exception>
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
            // The import itself knows best why it has ended: it is asked before it is cancelled.
            var end = await FindEnd(operation);
            await Abandon(operation);
            if (end is not null) throw new FaultException(end, exception);
            throw FaultException.Unavailable(
                "data-plane-unavailable",
                "The library's data plane did not take the bytes; the import was cancelled. Repeat the upload later.",
                exception);
        }
    }

    /// <summary>The data plane's problem, as it stands, and when to repeat the request.</summary>
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

    /// <summary>Why the import has failed or was cancelled; null while it runs, and for what just broke off.</summary>
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

    /// <summary>The data plane ends an import whose bytes stop. One whose bytes never reached it has to be ended from here.</summary>
    private async Task Abandon(OperationId operation)
    {
        try
        {
            await datacenter.Operation(operation).Cancel();
        }
        catch (Exception exception) when (exception is FaultException || Interruptions.IsInterruption(exception))
        {
            // It has ended, or nobody can be reached who could end it. Its image can be deleted either way.
        }
    }
}
