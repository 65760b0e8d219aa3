using System.Net.Http.Headers;
using Instances.Faults;
using Instances.Library;
using Instances.Library.Import;
using Instances.Problems;
using Instances.Requests;

namespace Instances.DataPlane;

/// <summary>Receives uploads; <see cref="LayerEndpoints"/> and <see cref="ExportEndpoint"/> send bytes. Every request contains a secret that its image's grain issued for this transfer.</summary>
internal static class DataPlaneEndpoints
{
    public const string Path = "/data-plane/images";

    public static IEndpointRouteBuilder MapDataPlane(this IEndpointRouteBuilder endpoints)
    {
        // The secret is the permission: the caller may have no account here.
        endpoints.MapPut($"{Path}/{{imageId}}", PutImage).AllowAnonymous().ExcludeFromDescription();
        endpoints.MapUploadParts();
        ExportEndpoint.Map(endpoints);
        endpoints.MapLayers();
        return endpoints;
    }

    /// <summary>Answers 202 once the bytes are durable and their head was accepted. The rest runs in the background, and the result is reported to the image.</summary>
    private static async Task PutImage(ImageId imageId, HttpContext context)
    {
        UploadRequest.LiftBounds(context);
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

        var place = services.GetRequiredService<ImportPlaces>().Take(image);
        try
        {
            var plan = await services.GetRequiredService<IGrainFactory>().Image(image).AcceptUpload(secret);
            if (!await place.Claim(context.RequestAborted)) throw ImportFaults.UploadBusy();
            var upload = await Receive(image, plan, place, queue, context);
            await queue.MarkWhole(image, plan);
            queue.Add(image, plan, upload, place);
        }
        catch
        {
            place.Dispose();
            throw;
        }
    }

    private static async Task<ReceivedUpload> Receive(ImageId image, UploadPlan plan, ImportPlace place, ImportQueue queue, HttpContext context)
    {
        try
        {
            await using var body = queue.BodyOf(context.Request.BodyReader, place, plan, offset: 0, isPart: false);
            var (receiver, report) = (context.RequestServices.GetRequiredService<ImageReceiver>(), queue.ReportTo(image, plan));
            var upload = await receiver.Receive(plan, body, context.Request.ContentLength, report, queue.AdmitTo(image, plan), context.RequestAborted);
            place.MarkReceived();
            await receiver.Sync(upload, report);
            return upload;
        }
        catch (ImportCancelledException)
        {
            throw FaultException.Conflict("operation-cancelled", "The import was cancelled.");
        }
        catch (FaultException) when (place.Superseded.IsCancellationRequested)
        {
            // The newer request continues the import.
            throw;
        }
        catch (FaultException exception)
        {
            await queue.Fail(image, plan, exception.Fault);
            throw;
        }
        catch (Exception)
        {
            // A defect or a failing disk. The server logs it when the exception continues.
            await queue.Fail(image, plan, new(FaultKind.Internal, "import-failed", "The import failed because of a defect of the server. The server's log has the details."));
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
