using Instances.Faults;

namespace Instances.Library;

/// <summary>Leads a part of an upload to the data plane, without keeping any of it. What has come there counts, however this request ends.</summary>
internal sealed class UploadPart(UploadClient client)
{
    /// <returns>204 with the offset that was reached, or the refusal of the data plane as it stands.</returns>
    /// <exception cref="FaultException">data-plane-unavailable.</exception>
    /// <exception cref="BadHttpRequestException">The sender broke off.</exception>
    public async Task<IResult> Send(UploadTicket ticket, long offset, HttpContext context)
    {
        try
        {
            using var response = await client.SendPart(ticket, offset, context.Request.BodyReader);
            if (!response.IsSuccessStatusCode) return await ImageUpload.Refusal(response, context.Response, CancellationToken.None);
            context.Response.Headers[Tus.Offset] = response.Headers.GetValues(Tus.Offset).Single();
            if (response.Headers.TryGetValues(Tus.Expires, out var expires)) context.Response.Headers[Tus.Expires] = expires.Single();
            return TypedResults.NoContent();
        }
        catch (Exception exception) when (exception is HttpRequestException or IOException and not BadHttpRequestException or OperationCanceledException)
        {
            throw FaultException.Unavailable(
                "data-plane-unavailable", "The library's data plane did not take the part whole. What has come counts: ask how far the upload is, and go on there.", exception);
        }
    }
}
