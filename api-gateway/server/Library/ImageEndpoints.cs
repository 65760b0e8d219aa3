using System.ComponentModel;
using System.Text.RegularExpressions;
using Instances.Catalogue;
using Instances.Datacenters;
using Instances.Faults;
using Instances.Operations;
using Instances.Requests;
using Microsoft.AspNetCore.Http.HttpResults;
using Microsoft.AspNetCore.Mvc;

namespace Instances.Library;

internal static partial class ImageEndpoints
{
    public static void MapImages(this IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("/images").WithTags("Images");
        group.MapPost("/", Import)
            .WithMetadata(new DisableRequestSizeLimitAttribute())
            .Produces<OperationView>(StatusCodes.Status202Accepted)
            .WithSummary("Import a master image")
            .WithDescription(
                "The body is the disk image itself, of any length that the library takes. Answers 202 when the bytes have arrived; the operation tells "
                + "how checking and converting go on. With sha256 the bytes are checked against it.");
        group.MapGet("/", List)
            .WithSummary("List images")
            .WithDescription("In the order in which they were created. Retired and failed images are listed only where the status asks for them.");
        group.MapGet("/{id}", Get).WithSummary("Get an image");
        group.MapDelete("/{id}", Delete)
            .WithSummary("Delete an image")
            .WithDescription("Retires it; it is deleted when the grace period has passed. Refused while a virtual machine uses it, and for a master that has slaves.");
    }

    private static async Task<IResult> Import(
        Datacenter datacenter,
        RequestKey key,
        [Description("1 to 128 characters.")] string name,
        [Description("What the bytes are; it is never guessed.")] Choice<ImageFormat> format,
        [Description("The SHA-256 of the bytes in hex.")] string? sha256,
        HttpRequest request,
        UploadClient client)
    {
        var (image, operation) = (key.NewId<ImageId>(), key.NewId<OperationId>());
        var command = new ImportCommand(name, format.Value, request.ContentLength, Checked(sha256));
        var upload = new ImageUpload(datacenter, client);
        var ticket = await upload.Begin(key, image, operation, command);
        var refusal = ticket is null ? null : await upload.Send(ticket, operation, request);
        return refusal ?? datacenter.Accepted(await datacenter.GetOperation(operation));
    }

    private static async Task<Ok<Page<ImageView>>> List(
        Datacenter datacenter,
        [Description("Only masters, or only slaves.")] Choice<ImageKind>? kind,
        [Description("Only images in this status.")] Choice<ImageStatus>? status,
        [Description("Only the slaves of this master.")] ImageId? master,
        [Description("Only images of exactly this name.")] string? name,
        [AsParameters] PageQuery page) =>
        TypedResults.Ok(await datacenter.Catalogue.Images(new(kind?.Value, status?.Value, master, name), page.ToRequest()));

    private static async Task<Ok<ImageView>> Get(Datacenter datacenter, ImageId id) => TypedResults.Ok(await datacenter.Image(id).Get());

    private static async Task<NoContent> Delete(Datacenter datacenter, ImageId id)
    {
        await datacenter.Image(id).Delete();
        return TypedResults.NoContent();
    }

    private static string? Checked(string? sha256) => sha256 is null || Sha256Pattern().IsMatch(sha256)
        ? sha256?.ToLowerInvariant()
        : throw FaultException.Invalid("sha256-invalid", "sha256 has to be 64 hexadecimal digits.");

    [GeneratedRegex(@"\A[0-9A-Fa-f]{64}\z")]
    private static partial Regex Sha256Pattern();
}
