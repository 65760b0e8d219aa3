using System.Globalization;
using System.Net.Mime;
using Instances.Faults;
using Instances.Library;
using Instances.Library.Export;
using Instances.Problems;
using Instances.Requests;
using Microsoft.Net.Http.Headers;

namespace Instances.DataPlane;

/// <summary>Sends exports. Each is created while it is sent.</summary>
internal sealed partial class ExportEndpoint
{
    public static void Map(IEndpointRouteBuilder endpoints) =>
        // The secret is the permission, as for uploads.
        endpoints.MapMethods($"{DataPlaneEndpoints.Path}/{{imageId}}/export", [HttpMethods.Get, HttpMethods.Head], Get).AllowAnonymous().ExcludeFromDescription();

    private static async Task Get(ImageId imageId, Choice<ExportFormat> format, Choice<ExportCompression>? compression, HttpContext context)
    {
        if (DigestedBody.Obstacle(context) is { } obstacle)
        {
            await obstacle.Write(context);
            return;
        }

        try
        {
            var services = context.RequestServices;
            if (!services.GetRequiredService<ExportTickets>().Accepts(imageId, DataPlaneEndpoints.SecretOf(context.Request)))
                throw new FaultException(new(FaultKind.Forbidden, "ticket-invalid", "The ticket is not valid for this image, or has expired: begin the export again."));
            var exporter = services.GetService<ImageExporter>() ?? throw FaultException.Unavailable("exports-unavailable", "This host has no library to export from.");
            using var place = exporter.TakePlace();
            using var export = await exporter.Open(imageId, format.Value, compression?.Value, context.RequestAborted);
            Describe(export, context.Response);
            if (!HttpMethods.IsHead(context.Request.Method)) await Send(imageId, export, context);
        }
        catch (FaultException exception) when (!context.Response.HasStarted)
        {
            context.Response.Clear();
            await Problem.For(context, exception.Fault).Write(context);
        }
    }

    private static void Describe(ImageExport export, HttpResponse response)
    {
        var disposition = new ContentDispositionHeaderValue(DispositionTypeNames.Attachment);
        disposition.SetHttpFileName(export.FileName);
        response.Headers.ContentDisposition = disposition.ToString();
        response.Headers.CacheControl = "no-store";
        response.ContentType = export.ContentType;
        if (export.Bytes is { } bytes) response.Headers[DigestedBody.LengthHeader] = bytes.ToString(CultureInfo.InvariantCulture);
    }

    private static async Task Send(ImageId image, ImageExport export, HttpContext context)
    {
        var logger = context.RequestServices.GetRequiredService<ILogger<ExportEndpoint>>();
        var time = context.RequestServices.GetRequiredService<TimeProvider>();
        var begun = time.GetTimestamp();
        await using var body = new DigestedBody(context.Response);
        await using var stream = new DigestStream(body);
        try
        {
            await export.Write(stream, context.RequestAborted);
            await body.Complete(DigestedBody.Format(stream.Digest()), context.RequestAborted);
            LogExported(logger, image, export.FileName, stream.Bytes, time.GetElapsedTime(begun).TotalSeconds);
        }
        catch (Exception) when (context.RequestAborted.IsCancellationRequested)
        {
            LogLeft(logger, image, stream.Bytes);
        }
        catch (Exception exception) when (context.Response.HasStarted)
        {
            LogBroken(logger, exception, image, stream.Bytes);
            context.Abort();
        }
    }
}
