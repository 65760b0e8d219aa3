using System.Globalization;
using System.Net.Mime;
using Instances.Faults;
using Instances.Library;
using Instances.Library.Export;
using Instances.Problems;
using Instances.Requests;
using Microsoft.Net.Http.Headers;

namespace Instances.DataPlane;

/// <summary>Where images go out, each made while it is sent.</summary>
/// <remarks>
/// Its digest is known when the last byte is sent, and goes behind it as a trailer (RFC 9530). Trailers and Content-Length do not go together in HTTP/1.1: the length, where it is known, stands in
/// a header of our own. An answer that breaks off has no end of its last chunk, and never looks whole.
/// </remarks>
internal sealed partial class ExportEndpoint
{
    public const string LengthHeader = "Export-Length";
    public const string DigestTrailer = "Repr-Digest";

    public static void Map(IEndpointRouteBuilder endpoints) =>
        // The secret is the permission, as for uploads.
        endpoints.MapMethods($"{DataPlaneEndpoints.Path}/{{imageId}}/export", [HttpMethods.Get, HttpMethods.Head], Get).AllowAnonymous().ExcludeFromDescription();

    private static async Task Get(ImageId imageId, Choice<ExportFormat> format, Choice<ExportCompression>? compression, HttpContext context)
    {
        try
        {
            var services = context.RequestServices;
            if (!services.GetRequiredService<ExportTickets>().Accepts(imageId, DataPlaneEndpoints.SecretOf(context.Request)))
                throw new FaultException(new(FaultKind.Forbidden, "ticket-invalid", "The ticket is not valid for this image, or no longer: begin the export again."));
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
        if (export.Bytes is { } bytes) response.Headers[LengthHeader] = bytes.ToString(CultureInfo.InvariantCulture);
    }

    private static async Task Send(ImageId image, ImageExport export, HttpContext context)
    {
        var logger = context.RequestServices.GetRequiredService<ILogger<ExportEndpoint>>();
        var time = context.RequestServices.GetRequiredService<TimeProvider>();
        var begun = time.GetTimestamp();
        await using var body = new DigestStream(context.Response.Body);
        context.Response.DeclareTrailer(DigestTrailer);
        try
        {
            await export.Write(body, context.RequestAborted);
            context.Response.AppendTrailer(DigestTrailer, $"sha-256=:{Convert.ToBase64String(body.Digest())}:");
            await context.Response.CompleteAsync();
            LogExported(logger, image, export.FileName, body.Bytes, time.GetElapsedTime(begun).TotalSeconds);
        }
        catch (Exception) when (context.RequestAborted.IsCancellationRequested)
        {
            LogLeft(logger, image, body.Bytes);
        }
        catch (Exception exception) when (context.Response.HasStarted)
        {
            LogBroken(logger, exception, image, body.Bytes);
            context.Abort();
        }
    }
}
