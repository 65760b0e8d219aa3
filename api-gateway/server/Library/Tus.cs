using Instances.Problems;

namespace Instances.Library;

/// <summary>The headers of tus 1.0.0 (https://tus.io/protocols/resumable-upload).</summary>
internal static class Tus
{
    public const string Version = "1.0.0";
    public const string Resumable = "Tus-Resumable";
    public const string Offset = "Upload-Offset";
    public const string Length = "Upload-Length";
    public const string Expires = "Upload-Expires";
    public const string MaxSize = "Tus-Max-Size";
    public const string Metadata = "Upload-Metadata";
    public const string PartType = "application/offset+octet-stream";

    public static IResult WrongType(HttpContext context) => new ProblemResult(Problem.For(
        context, StatusCodes.Status415UnsupportedMediaType, "media-type-unsupported", $"A part is sent as Content-Type: {PartType}."));

    public static IResult WrongVersion(HttpContext context) => new ProblemResult(Problem.For(
        context, StatusCodes.Status412PreconditionFailed, "tus-version-unsupported", $"Uploads follow tus {Version}: send the header {Resumable}: {Version}."));
}

/// <summary>Adds the version to every answer, also to refusals, and refuses requests with other versions.</summary>
internal sealed class TusFilter : IEndpointFilter
{
    public ValueTask<object?> InvokeAsync(EndpointFilterInvocationContext context, EndpointFilterDelegate next)
    {
        var http = context.HttpContext;
        // Set now, for answers that are recorded for repeats.
        http.Response.Headers[Tus.Resumable] = Tus.Version;

        // And set again last, because the exception handler clears the headers.
        http.Response.OnStarting(() =>
        {
            http.Response.Headers[Tus.Resumable] = Tus.Version;
            if (http.Response.StatusCode is StatusCodes.Status412PreconditionFailed) http.Response.Headers["Tus-Version"] = Tus.Version;
            return Task.CompletedTask;
        });
        return IsFree(http.Request) || http.Request.Headers[Tus.Resumable] == Tus.Version ? next(context) : ValueTask.FromResult<object?>(Tus.WrongVersion(http));
    }

    /// <summary>OPTIONS needs no version; nor does the JSON view, which is not part of the protocol.</summary>
    private static bool IsFree(HttpRequest request) => HttpMethods.IsOptions(request.Method) || HttpMethods.IsGet(request.Method);
}
