using System.Globalization;
using Instances.Faults;
using Instances.Library;
using Instances.Library.Import;
using Instances.Problems;
using Microsoft.AspNetCore.Http.Features;

namespace Instances.DataPlane;

/// <summary>Where the parts of an upload come in. The gateway that leads them here speaks with the sender; this side answers 204 and the offset that was reached.</summary>
internal static class UploadPartEndpoint
{
    public const string OffsetHeader = "Upload-Offset";

    public static void MapUploadParts(this IEndpointRouteBuilder endpoints) =>
        // The secret is the permission, as for whole uploads.
        endpoints.MapPatch($"{DataPlaneEndpoints.Path}/{{imageId}}", PatchImage).AllowAnonymous().ExcludeFromDescription();

    private static async Task PatchImage(ImageId imageId, HttpContext context)
    {
        context.Features.GetRequiredFeature<IHttpMaxRequestBodySizeFeature>().MaxRequestBodySize = null;
        try
        {
            var offset = await Take(imageId, context);
            context.Response.StatusCode = StatusCodes.Status204NoContent;
            context.Response.Headers[OffsetHeader] = offset.ToString(CultureInfo.InvariantCulture);
        }
        catch (FaultException exception)
        {
            await Problem.For(context, exception.Fault).Write(context);
        }
        catch (ImportCancelledException)
        {
            await Problem.For(context, new Fault(FaultKind.Conflict, "operation-cancelled", "The import was cancelled.")).Write(context);
        }
    }

    private static async Task<long> Take(ImageId image, HttpContext context)
    {
        var (services, request) = (context.RequestServices, context.Request);
        var queue = services.GetService<ImportQueue>() ?? throw FaultException.Unavailable("imports-unavailable", "This host has no library to import into.");
        if (!long.TryParse(request.Headers[OffsetHeader], CultureInfo.InvariantCulture, out var offset))
            throw FaultException.Invalid("upload-offset-missing", $"The header {OffsetHeader} says where the part begins.");
        var place = queue.TakePlace();
        try
        {
            var grain = services.GetRequiredService<IGrainFactory>().Image(image);
            var plan = await grain.AcceptPart(DataPlaneEndpoints.SecretOf(request));
            place = queue.TryClaim(plan.Layer, place) ?? throw ImportFaults.UploadBusy();
            var end = await Append(image, plan, offset, queue, context);
            if (end < plan.Command.Bytes) return end;
            await grain.CompleteUpload(plan.Operation);
            services.GetRequiredService<ImportIntake>().Finish(image, plan, place);
            place = null;
            return end;
        }
        finally
        {
            place?.Dispose();
        }
    }

    private static async Task<long> Append(ImageId image, UploadPlan plan, long offset, ImportQueue queue, HttpContext context)
    {
        try
        {
            return await context.RequestServices.GetRequiredService<UploadParts>().Append(
                plan, offset, context.Request.ContentLength, context.Request.Body, queue.ReportTo(image, plan), queue.AdmitTo(image, plan), context.RequestAborted);
        }
        catch (FaultException exception) when (exception.Fault.Code is "quota-virtual-bytes")
        {
            // No part of it is worth sending.
            await queue.Fail(image, plan, exception.Fault);
            throw;
        }
    }
}
