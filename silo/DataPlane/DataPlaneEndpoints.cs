using System.Net.Http.Headers;
using Instances.Faults;
using Instances.Library;
using Instances.Library.Import;
using Instances.Problems;
using Microsoft.AspNetCore.Http.Features;

namespace Instances.DataPlane;

/// <summary>Where bytes come in; where they go out stands in <see cref="LayerEndpoints"/> and <see cref="ExportEndpoint"/>. Every request carries a secret that its image's grain gave out for this one transfer.</summary>
internal static class DataPlaneEndpoints
{
    public const string Path = "/data-plane/images";

    public static IEndpointRouteBuilder MapDataPlane(this IEndpointRouteBuilder endpoints)
    {
        // The secret is the permission: whoever uploads may have no account here.
        endpoints.MapPut($"{Path}/{{imageId}}", PutImage).AllowAnonymous().ExcludeFromDescription();
        endpoints.MapUploadParts();
        ExportEndpoint.Map(endpoints);
        endpoints.MapLayers();
        return endpoints;
    }

    /// <summary>Answers 202 once the bytes have come and their head is in order; the rest happens in the background and is told to the image.</summary>
    private static async Task PutImage(ImageId imageId, HttpContext context)
    {
        // The server's own bound is for documents. Ours is counted while the bytes come; the server goes on demanding a minimum rate.
        context.Features.GetRequiredFeature<IHttpMaxRequestBodySizeFeature>().MaxRequestBodySize = null;
        try
        {
            await Take(imageId, context);
            context.Response.StatusCode = StatusCodes.Status202Accepted;
        }
        catch (FaultException exception)
        {
            await Problem.For(context, exception.Fault).Write(context);
        }
    }

    private static async Task Take(ImageId image, HttpContext context)
    {
        var services = context.RequestServices;
        var queue = services.GetService<ImportQueue>()
            ?? throw FaultException.Unavailable("imports-unavailable", "This host has no library to import into.");
        var secret = SecretOf(context.Request);

        var place = queue.TakePlace();
        try
        {
            var plan = await services.GetRequiredService<IGrainFactory>().Image(image).AcceptUpload(secret);
            var upload = await Receive(image, plan, queue, context);
            queue.Add(image, plan, upload, place);
        }
        catch
        {
            place.Dispose();
            throw;
        }
    }

    private static async Task<ReceivedUpload> Receive(ImageId image, UploadPlan plan, ImportQueue queue, HttpContext context)
    {
        try
        {
            return await context.RequestServices.GetRequiredService<ImageReceiver>().Receive(
                plan, context.Request.Body, context.Request.ContentLength, queue.ReportTo(image, plan), queue.AdmitTo(image, plan), context.RequestAborted);
        }
        catch (ImportCancelledException)
        {
            throw FaultException.Conflict("operation-cancelled", "The import was cancelled.");
        }
        catch (FaultException exception)
        {
            await queue.Fail(image, plan, exception.Fault);
            throw;
        }
        catch (Exception)
        {
            // A defect, or a disk that fails: logged by the server when it goes on from here.
            await queue.Fail(image, plan, new(FaultKind.Internal, "import-failed", "The import met a defect of the server. Its log tells more."));
            throw;
        }
    }

    public static string SecretOf(HttpRequest request) =>
        AuthenticationHeaderValue.TryParse(request.Headers.Authorization, out var header)
        && header.Scheme.Equals("Bearer", StringComparison.OrdinalIgnoreCase)
        && header.Parameter is { Length: > 0 } secret
            ? secret
            : throw new FaultException(new(FaultKind.Forbidden, "ticket-invalid", "The request needs the secret of its ticket: send the header Authorization: Bearer <secret>."));
}
