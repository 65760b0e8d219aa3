using System.ComponentModel;
using System.Globalization;
using Instances.Datacenters;
using Instances.Faults;
using Instances.Operations;
using Instances.Requests;
using Microsoft.AspNetCore.Http.HttpResults;
using Microsoft.AspNetCore.Mvc;

namespace Instances.Library;

/// <summary>Uploads in parts, by tus 1.0.0 (core, creation, expiration, termination): any client of that protocol can send an image.</summary>
internal static class UploadEndpoints
{
    private const string About =
        "Uploads follow tus 1.0.0 (core, creation, expiration, termination): every request has the header Tus-Resumable: 1.0.0. The received bytes of a part are kept, "
        + "even if the connection, the gateway or the library's server fails in the middle; any gateway can continue any upload. A newer part takes over from an older one that is still sending. ";

    public static void MapUploads(this IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("/images/uploads").WithTags("Images").AddEndpointFilter<TusFilter>();
        group.MapMethods("/", [HttpMethods.Options], Capabilities).ExcludeFromDescription();
        group.MapPost("/", Create)
            .Produces<OperationView>(StatusCodes.Status201Created)
            .WithSummary("Begin an upload in parts")
            .WithDescription(
                About + "Answers 201, the upload's URL in Location, and the operation of the import: it shows how many bytes have arrived, and the progress of checking and converting. "
                + "This request has no body.");
        group.MapGet("/{id}", Get)
            .WithSummary("See how far an upload is")
            .WithDescription("In JSON, the values that HEAD returns in the headers Upload-Offset, Upload-Length and Upload-Expires. 404 once the upload has failed or was cancelled.");
        group.MapMethods("/{id}", [HttpMethods.Head], Get).ExcludeFromDescription();
        group.MapPatch("/{id}", Send)
            .WithMetadata(new DisableRequestSizeLimitAttribute(), new UploadRequest())
            .Produces(StatusCodes.Status204NoContent)
            .WithSummary("Send a part of an upload")
            .WithDescription(
                About + "The body, of the type application/offset+octet-stream, is a part of any length that begins at the upload's offset. 204 with the new offset in Upload-Offset; "
                + "409 upload-mismatch if the part does not fit, 409 upload-busy if a newer request has taken the upload over. If the library cannot import the image, it refuses as soon as it has read the head of the image, and the import fails. After the last byte the import continues automatically.");
        group.MapDelete("/{id}", Cancel).WithSummary("Cancel an upload").WithDescription("Its import ends as cancelled, and nothing of it is kept.");
        // For clients behind a proxy that allows only GET and POST, as tus requires.
        group.MapPost("/{id}", Override).WithoutRecord().WithMetadata(new DisableRequestSizeLimitAttribute(), new UploadRequest()).ExcludeFromDescription();
    }

    private static async Task<NoContent> Capabilities(Datacenter datacenter, HttpResponse response)
    {
        if ((await datacenter.Library.Get()).MaxUploadBytes is { } max) response.Headers[Tus.MaxSize] = max.ToString(CultureInfo.InvariantCulture);
        response.Headers["Tus-Version"] = Tus.Version;
        response.Headers["Tus-Extension"] = "creation,expiration,termination";
        return TypedResults.NoContent();
    }

    private static async Task<IResult> Create(
        Datacenter datacenter,
        RequestKey key,
        HttpContext context,
        [FromHeader(Name = Tus.Length), Description("The bytes of the whole image.")] long? length,
        [FromHeader(Name = Tus.Metadata), Description(
            "Pairs of a key and a base64 value, separated by commas: name (1 to 128 characters; or filename instead), format (optional: without it, it is detected from the content; a raw disk must be declared), acceptSignature (optional: true accepts bytes that are declared as raw even if they look like another format or an archive), sha256 (of the whole image, in hex; optional), enterprise (its id; default: the default enterprise).")]
        string? metadata)
    {
        var (image, operation) = (key.NewId<ImageId>(), key.NewId<OperationId>());
        await key.Guard(Begin(datacenter.Image(image), operation, UploadMetadata.Parse(metadata).ToCommand(length)), "image-exists");
        context.Response.Headers[Tus.Offset] = "0";
        if (await FindExpiry(datacenter.Image(image)) is { } expires) context.Response.Headers[Tus.Expires] = Format(expires);
        return TypedResults.Created(datacenter.Url($"images/uploads/{image}"), await datacenter.GetOperation(operation));
    }

    private static async Task<bool> Begin(IImageGrain image, OperationId operation, ImportCommand command)
    {
        await image.BeginUpload(operation, command);
        return true;
    }

    private static async Task<Ok<UploadView>> Get(Datacenter datacenter, HttpResponse response, ImageId id)
    {
        var upload = await datacenter.Image(id).GetUpload();
        response.Headers.CacheControl = "no-store";
        response.Headers[Tus.Offset] = upload.Offset.ToString(CultureInfo.InvariantCulture);
        response.Headers[Tus.Length] = upload.Length.ToString(CultureInfo.InvariantCulture);
        if (upload.ExpiresAt is { } expires) response.Headers[Tus.Expires] = Format(expires);
        return TypedResults.Ok(upload);
    }

    /// <returns>Null if the request is a repeat and its upload is complete or has ended.</returns>
    private static async Task<DateTimeOffset?> FindExpiry(IImageGrain image)
    {
        try
        {
            return (await image.GetUpload()).ExpiresAt;
        }
        catch (FaultException exception) when (exception.Fault.Code is "upload-not-found")
        {
            return null;
        }
    }

    private static string Format(DateTimeOffset time) => time.ToString("R", CultureInfo.InvariantCulture);

    private static async Task<IResult> Send(
        Datacenter datacenter,
        HttpContext context,
        UploadClient client,
        ImageId id,
        [FromHeader(Name = Tus.Offset), Description("Where the part begins: the number of bytes that have arrived.")] long offset)
    {
        if (context.Request.ContentType != Tus.PartType) return Tus.WrongType(context);
        return await new UploadPart(client).Send(await datacenter.Image(id).ContinueUpload(), offset, context);
    }

    private static async Task<NoContent> Cancel(Datacenter datacenter, ImageId id)
    {
        await datacenter.Image(id).CancelUpload();
        return TypedResults.NoContent();
    }

    private static async Task<IResult> Override(
        Datacenter datacenter,
        HttpContext context,
        UploadClient client,
        ImageId id,
        [FromHeader(Name = "X-HTTP-Method-Override")] string? method,
        [FromHeader(Name = Tus.Offset)] long? offset) => method switch
        {
            "PATCH" => await Send(datacenter, context, client, id, offset ?? throw new BadHttpRequestException($"{Tus.Offset} is missing: it says where the part begins.")),
            "DELETE" => await Cancel(datacenter, id),
            _ => throw FaultException.Invalid("method-override-invalid", "A POST to an upload must name the real method, PATCH or DELETE, in X-HTTP-Method-Override."),
        };
}
