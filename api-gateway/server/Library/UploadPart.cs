using Instances.Faults;

namespace Instances.Library;

/// <summary>Forwards a part of an upload to the data plane, without storing it. The data plane keeps the received bytes, however this request ends.</summary>
internal sealed class UploadPart(UploadClient client)
{
    /// <returns>204 with the new offset, or the unchanged refusal of the data plane.</returns>
    /// <exception cref="FaultException">data-plane-unavailable.</exception>
    /// <exception cref="BadHttpRequestException">The client disconnected.</exception>
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
                "data-plane-unavailable", "The library's data plane did not receive the whole part. The received bytes are kept: ask for the upload's offset, and continue there.", exception);
        }
    }
}
