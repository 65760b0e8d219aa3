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
                "One file that needs no other, made while it is sent: nothing is kept of it. Of an image with several disks a tar of one file for each, in their order (not as vmdk). Allowed when Ready; "
                + "goes on when the image is deleted meanwhile. The SHA-256 of the bytes follows them as the trailer Repr-Digest (RFC 9530); their number stands in the header Export-Length, where it is known "
                + "beforehand: not for vmdk, and not with compression. An export that fails in the middle breaks the connection off.");
        routes.MapMethods(Path, [HttpMethods.Head], Export).ExcludeFromDescription();
    }

    private static async Task<IResult> Export(
        Datacenter datacenter,
        ImageId id,
        [Description("What the file is to be: qcow2 where nothing is said.")] Choice<ExportFormat>? format,
        [Description("What is put around it: nothing where nothing is said.")] Choice<ExportCompression>? compression,
        ImageDownload download,
        HttpContext context) =>
        await download.Send(await datacenter.Image(id).Export(), format?.Value ?? ExportFormat.Qcow2, compression?.Value, context);
}
