using System.ComponentModel;
using System.Net.Mime;
using Instances.Datacenters;
using Instances.Requests;

namespace Instances.Library;

internal static class ExportEndpoints
{
    private const string Path = "/images/{id}/export";

    public static void MapExports(this IEndpointRouteBuilder routes)
    {
        routes.MapGet(Path, Export)
            .WithTags("Images")
            .Produces(StatusCodes.Status200OK, contentType: MediaTypeNames.Application.Octet)
            .WithSummary("Export an image")
            .WithDescription(
                "One file that needs no other. It is created while it is sent, and not stored. An image with several disks is a tar with one file for each disk, in their order (not as vmdk). Allowed when Ready; "
                + "the export continues if the image is deleted meanwhile. The trailer Repr-Digest (RFC 9530) is the SHA-256 of the bytes. The header Export-Length is their number, if it is known "
                + "beforehand: not for vmdk, and not with compression. An export that fails in the middle breaks off the connection.");
        routes.MapMethods(Path, [HttpMethods.Head], Export).ExcludeFromDescription();
    }

    private static async Task<IResult> Export(
        Datacenter datacenter,
        ImageId id,
        [Description("The format of the file. Default: qcow2.")] Choice<ExportFormat>? format,
        [Description("The compression of the file. Default: none.")] Choice<ExportCompression>? compression,
        ImageDownload download,
        HttpContext context) =>
        await download.Send(await datacenter.Image(id).Export(), format?.Value ?? ExportFormat.Qcow2, compression?.Value, context);
}
