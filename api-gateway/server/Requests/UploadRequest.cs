using Microsoft.AspNetCore.Http.Features;
using Microsoft.AspNetCore.Server.Kestrel.Core.Features;

namespace Instances.Requests;

/// <summary>A request whose body is an image, or a part of one. Its endpoint has this as metadata.</summary>
internal sealed class UploadRequest
{
    public static void Use(IApplicationBuilder app) => app.Use(async (context, next) =>
    {
        var isUpload = context.GetEndpoint()?.Metadata.GetMetadata<UploadRequest>() is not null;
        if (isUpload) LiftBounds(context);
        var connection = context.Features.Get<HalfClosable>();
        connection?.Begin(isUpload);
        try
        {
            await next(context);
        }
        finally
        {
            connection?.End();
        }
    });

    /// <summary>Removes the web server's bounds, which are for documents. The library's silo counts the bytes, and ends uploads that are silent for <c>Library:UploadIdleBound</c>.</summary>
    /// <remarks>Reading the body shows whether the client has disconnected.</remarks>
    public static void LiftBounds(HttpContext context)
    {
        if (context.Features.Get<IHttpMaxRequestBodySizeFeature>() is { IsReadOnly: false } size) size.MaxRequestBodySize = null;
        if (context.Features.Get<IHttpMinRequestBodyDataRateFeature>() is { } rate) rate.MinDataRate = null;
        context.RequestAborted = CancellationToken.None;
    }
}
