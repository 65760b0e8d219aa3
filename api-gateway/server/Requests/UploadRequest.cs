using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core.Features;

namespace Instances.Requests;

/// <summary>A request whose body is an image, or a part of one.</summary>
internal static class UploadRequest
{
    /// <summary>Takes away the web server's bounds, which are for documents. The library's silo counts the bytes, and ends a sender that is silent for <c>Library:UploadIdleBound</c>.</summary>
    /// <remarks>A sender that has gone is seen in the body. One that has only closed its half of the connection, after the last byte, waits for the answer: to the web server that is an abort.</remarks>
    public static void LiftBounds(HttpContext context)
    {
        if (context.Features.Get<IHttpMaxRequestBodySizeFeature>() is { IsReadOnly: false } size) size.MaxRequestBodySize = null;
        if (context.Features.Get<IHttpMinRequestBodyDataRateFeature>() is { } rate) rate.MinDataRate = null;
        context.Features.Get<HalfClosable>()?.Keep();
        context.RequestAborted = CancellationToken.None;
    }
}
