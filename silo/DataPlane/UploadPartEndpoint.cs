using System.Globalization;
using Instances.Faults;
using Instances.Library;
using Instances.Library.Import;
using Instances.Problems;
using Instances.Requests;
using Microsoft.Extensions.Options;

namespace Instances.DataPlane;

/// <summary>Receives the parts of an upload from the gateway, which handles the client's protocol. Answers 204 with the new offset.</summary>
internal static class UploadPartEndpoint
{
    public const string OffsetHeader = "Upload-Offset";
    public const string ExpiresHeader = "Upload-Expires";

    public static void MapUploadParts(this IEndpointRouteBuilder endpoints) =>
        // The secret is the permission, as for whole uploads.
        endpoints.MapPatch($"{DataPlaneEndpoints.Path}/{{imageId}}", PatchImage).AllowAnonymous().ExcludeFromDescription();

    private static async Task PatchImage(ImageId imageId, HttpContext context)
    {
        UploadRequest.LiftBounds(context);
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
        var (services, request, isHandedOn) = (context.RequestServices, context.Request, false);
        var time = services.GetRequiredService<TimeProvider>();
        var queue = services.GetService<ImportQueue>() ?? throw FaultException.Unavailable("imports-unavailable", "This host has no library to import into.");
        if (!long.TryParse(request.Headers[OffsetHeader], CultureInfo.InvariantCulture, out var offset))
            throw FaultException.Invalid("upload-offset-missing", $"The header {OffsetHeader} is missing: it says where the part begins.");
        var place = services.GetRequiredService<ImportPlaces>().Take(image);
        try
        {
            var grain = services.GetRequiredService<IGrainFactory>().Image(image);
            var plan = await grain.AcceptPart(DataPlaneEndpoints.SecretOf(request));
            if (!await place.Claim(context.RequestAborted)) throw ImportFaults.UploadBusy();
            var end = await Append(image, plan, offset, place, queue, context);
            if (end < plan.Command.Bytes)
            {
                context.Response.Headers[ExpiresHeader] = (time.GetUtcNow() + services.GetRequiredService<IOptions<LibraryOptions>>().Value.UploadResumeBound).ToString("R", CultureInfo.InvariantCulture);
                return end;
            }

            place.MarkReceived();
            await grain.CompleteUpload(plan.Operation);
            services.GetRequiredService<ImportIntake>().Finish(image, plan, place);
            isHandedOn = true;
            return end;
        }
        finally
        {
            if (!isHandedOn) place.Dispose();
        }
    }

    private static async Task<long> Append(ImageId image, UploadPlan plan, long offset, ImportPlace place, ImportQueue queue, HttpContext context)
    {
        try
        {
            await using var body = queue.BodyOf(context.Request.BodyReader, place, plan, offset, isPart: true);
            return await context.RequestServices.GetRequiredService<UploadParts>().Append(
                plan, offset, context.Request.ContentLength, body, queue.ReportTo(image, plan), queue.AdmitTo(image, plan), context.RequestAborted);
        }
        catch (FaultException exception) when (UploadParts.EndsImport(exception.Fault))
        {
            await queue.Fail(image, plan, exception.Fault);
            throw;
        }
    }
}
