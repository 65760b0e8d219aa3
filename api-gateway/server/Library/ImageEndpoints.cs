using System.ComponentModel;
using System.Text.RegularExpressions;
using Instances.Catalogue;
using Instances.Datacenters;
using Instances.Enterprises;
using Instances.Faults;
using Instances.Operations;
using Instances.Requests;
using Instances.VirtualMachines;
using Microsoft.AspNetCore.Http.HttpResults;
using Microsoft.AspNetCore.Mvc;
using Microsoft.Extensions.Options;
using JsonOptions = Microsoft.AspNetCore.Http.Json.JsonOptions;

namespace Instances.Library;

internal static partial class ImageEndpoints
{
    public static void MapImages(this IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("/images").WithTags("Images");
        group.MapPost("/", Import)
            .WithMetadata(new DisableRequestSizeLimitAttribute(), new UploadRequest())
            .Produces<OperationView>(StatusCodes.Status202Accepted)
            .WithSummary("Import a master image")
            .WithDescription(
                "The body is the disk image itself, of any length that the library takes: qcow2, VMDK (in one file), VDI, VHD, VHDX or raw, also compressed with gzip, xz or zstd. Answers 202 when the bytes have arrived. A refusal is answered as soon as it is known: before the last byte, if the beginning of the image shows it. The operation shows "
                + "the progress of checking and converting. With sha256 the bytes are checked against it.");
        group.MapPost("/from-path", ImportFromPath)
            .WithSummary("Import a file of the library's machine")
            .WithDescription(
                "The file is copied, or cloned if the file system can, and then treated as an upload. Only regular files with one name, in folders that Import:AllowedFolders of the library's "
                + "silo names, by absolute paths without links: 403 path-not-allowed for all others. 409 file-in-use for a file that a QEMU program may write to. A file that changes while it is read ends the import with upload-mismatch.");
        group.MapGet("/", List)
            .WithSummary("List images")
            .WithDescription(
                "By creation time, unless sort is given. Retired and failed images are listed only if the status names them, or with includeRetired. "
                + "A cursor is valid only with the same sort and filter.");
        group.MapGet("/{id}", Get).WithSummary("Get an image").WithDescription("The header ETag names the version of what PATCH changes.");
        group.MapPatch("/{id}", Change)
            .WithSummary("Rename, describe, pin or share an image, or give a master a retention rule")
            .WithDescription(
                "A JSON merge patch: members that are left out stay, also within details and labels; null resets a member to its default. Allowed when Ready. Slaves inherit the details of the "
                + "image that their machine used when they are captured. With sharing allEnterprises the virtual machines of all enterprises can use it. It can become private again only "
                + "while no machine of another enterprise uses it (409 image-in-use). With If-Match the change is refused (412) if the image's version has changed.");
        group.MapDelete("/{id}", Delete)
            .Produces(StatusCodes.Status204NoContent)
            .Produces<ImageDeletion>()
            .WithSummary("Delete an image")
            .WithDescription(
                "Retires it; it can be restored until the grace period has passed, and is deleted then. Refused while a virtual machine uses it, while it is pinned, and for a master that has "
                + "slaves. With cascade a master's slaves are deleted with it, all or none. With dryRun nothing is changed. Either answers 200 with the images that are (or would be) deleted.");
        group.MapPost("/{id}/restore", Restore)
            .WithSummary("Restore a retired image")
            .WithDescription("Makes it Ready again, within the grace period. Retention rules do not retire it from then on. A slave's master must be Ready.");
        group.MapPost("/{id}/promote", Promote)
            .WithSummary("Make a master of a slave")
            .WithDescription("A separate copy with one layer for each disk and the slave's details. The slave stays, and may be deleted while the operation runs. The operation's image is the new master.");
        group.MapGet("/{id}/lineage", GetLineage)
            .WithSummary("Get the ancestors and the descendants of an image")
            .WithDescription("Its master, its parent, and page by page its descendants: for a master the whole tree of its slaves. Each says how many virtual machines use it.");
        group.MapGet("/{id}/virtual-machines", ListUsers)
            .WithSummary("List the virtual machines that use an image")
            .WithDescription("Each names its appliance. In the order in which they were added.");
    }

    private static async Task<IResult> Import(
        Datacenter datacenter,
        RequestKey key,
        [Description("1 to 128 characters.")] string name,
        [Description("The format of the bytes. Without it, it is detected from the content; a raw disk must be declared.")] Choice<ImageFormat>? format,
        [Description("Accepts bytes that are declared as raw even if they look like another format or an archive. Bytes that are compressed with gzip, xz or zstd are expanded all the same.")] bool? acceptSignature,
        [Description("The SHA-256 of the bytes in hex.")] string? sha256,
        [Description("The enterprise that owns the image, permanently. Default: the default enterprise.")] EnterpriseId? enterprise,
        [AsParameters] ImageDetailsQuery details,
        HttpRequest request,
        UploadClient client)
    {
        var command = new ImportCommand(name, format?.Value, request.ContentLength, Checked(sha256), details.ToDetails(), enterprise ?? EnterpriseId.Default, acceptSignature ?? false);
        var attempt = request.HttpContext.Features.Get<RequestAttempt>();
        var upload = new ImageUpload(datacenter, client);
        var (earlier, number) = attempt is null ? (null, 1) : await upload.FindEarlier(key, attempt.Number);
        if (earlier is { } whole) return datacenter.Accepted(await datacenter.GetOperation(whole));
        var (image, operation) = upload.IdsOf(key, number);
        var ticket = await datacenter.Image(image).BeginImport(operation, command);
        var refusal = await upload.Send(ticket, operation, request, attempt);
        return refusal ?? datacenter.Accepted(await datacenter.GetOperation(operation));
    }

    private static async Task<Ok<Page<ImageView>>> List(Datacenter datacenter, [AsParameters] ImageListQuery query, [AsParameters] PageQuery page) =>
        TypedResults.Ok(await datacenter.Catalogue.Images(query.ToFilter(), page.ToRequest()));

    private static async Task<Ok<ImageView>> Get(Datacenter datacenter, ImageId id, HttpResponse response) => Tagged(await datacenter.Image(id).Get(), response);

    private static async Task<Ok<ImageView>> Change(
        Datacenter datacenter, ImageId id, IfMatch match, MergePatch<ImageSpec, ImageView> patch, IOptions<JsonOptions> json, HttpResponse response)
    {
        var grain = datacenter.Image(id);
        return Tagged(await match.Change(grain.Get, image => grain.Change(patch.Apply(image.ToSpec(), json), match.Choose(image.Version))), response);
    }

    private static async Task<IResult> Delete(
        Datacenter datacenter,
        ImageId id,
        [Description("Delete the slaves of a master with it.")] bool? cascade,
        [Description("Only return what would be deleted.")] bool? dryRun)
    {
        if (cascade is true || dryRun is true) return TypedResults.Ok(await datacenter.Image(id).DeleteWith(cascade ?? false, dryRun ?? false));
        await datacenter.Image(id).Delete();
        return TypedResults.NoContent();
    }

    private static async Task<Ok<ImageView>> Restore(Datacenter datacenter, RequestKey key, ImageId id, HttpResponse response) =>
        Tagged(await datacenter.Image(id).Restore(), response);

    private static async Task<Accepted<OperationView>> Promote(Datacenter datacenter, RequestKey key, ImageId id, PromoteRequest request)
    {
        var (image, operation) = (key.NewId<ImageId>(), key.NewId<OperationId>());
        await datacenter.Image(image).BeginPromotion(operation, id, request.Name);
        return datacenter.Accepted(await datacenter.GetOperation(operation));
    }

    private static async Task<Ok<ImageLineage>> GetLineage(Datacenter datacenter, ImageId id, [AsParameters] PageQuery page) =>
        TypedResults.Ok(await datacenter.Catalogue.Lineage(id, page.ToRequest()));

    private static async Task<Ok<Page<VirtualMachineView>>> ListUsers(Datacenter datacenter, ImageId id, [AsParameters] PageQuery page) =>
        TypedResults.Ok(await datacenter.Catalogue.UsersOf(id, page.ToRequest()));

    private static Ok<ImageView> Tagged(ImageView image, HttpResponse response)
    {
        response.Headers.ETag = IfMatch.Tag(image.Version);
        return TypedResults.Ok(image);
    }

    private static async Task<Accepted<OperationView>> ImportFromPath(Datacenter datacenter, RequestKey key, ImportFromPathRequest request)
    {
        var (image, operation) = (key.NewId<ImageId>(), key.NewId<OperationId>());
        await datacenter.Image(image).BeginImportFromPath(operation, new(request.Name, request.Format, Bytes: null, Checked(request.Sha256), Enterprise: request.Enterprise ?? EnterpriseId.Default, AcceptSignature: request.AcceptSignature), request.Path);
        return datacenter.Accepted(await datacenter.GetOperation(operation));
    }

    /// <exception cref="FaultException">sha256-invalid.</exception>
    internal static string? Checked(string? sha256) => sha256 is null || Sha256Pattern().IsMatch(sha256)
        ? sha256?.ToLowerInvariant()
        : throw FaultException.Invalid("sha256-invalid", "sha256 has to be 64 hexadecimal digits.");

    [GeneratedRegex(@"\A[0-9A-Fa-f]{64}\z")]
    private static partial Regex Sha256Pattern();
}
