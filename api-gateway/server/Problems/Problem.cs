using System.Diagnostics;
using System.Net.Mime;
using Instances.Faults;
using Microsoft.AspNetCore.WebUtilities;
using Microsoft.Net.Http.Headers;

namespace Instances.Problems;

/// <summary>Why a request was not carried out (RFC 9457).</summary>
/// <param name="Type">A relative URL that contains the code: see <see cref="ProblemPages"/>.</param>
/// <param name="Title">The meaning of the status.</param>
/// <param name="Status">The HTTP status.</param>
/// <param name="Detail">What was found, and what to do.</param>
/// <param name="Code">A stable word in kebab case, for programs.</param>
/// <param name="TraceId">The gateway's log has it with the cause, if there is one to log.</param>
internal sealed record Problem(string Type, string Title, int Status, string Detail, string Code, string TraceId)
{
    /// <summary>Seconds after which to repeat a request that failed because a part was unreachable.</summary>
    public const int RetryAfterSeconds = 2;

    public const string ContentType = MediaTypeNames.Application.ProblemJson;

    public static Problem For(HttpContext context, int status, string code, string detail) => new(
        $"{ProblemPages.Path}/{code}",
        ReasonPhrases.GetReasonPhrase(status),
        status,
        detail,
        code,
        Activity.Current?.Id ?? context.TraceIdentifier);

    public static Problem For(HttpContext context, Fault fault) => For(
        context,
        StatusOf(fault),
        fault.Code,
        fault.Kind is FaultKind.Internal ? "The server failed because of a defect. Its log has the details under this trace id." : fault.Message);

    /// <summary>For an answer that the framework created without a body.</summary>
    public static Problem ForStatus(HttpContext context)
    {
        var status = context.Response.StatusCode;
        var (code, detail) = status switch
        {
            StatusCodes.Status404NotFound => ("path-not-found", $"There is nothing at {context.Request.Path}. /docs shows all paths."),
            StatusCodes.Status405MethodNotAllowed => ("method-not-allowed", $"{context.Request.Method} is not possible here; the header Allow lists the possible methods."),
            StatusCodes.Status413PayloadTooLarge => ("body-too-large", $"A JSON body has at most {ApiGateway.ApiGateway.MaxJsonBytes:N0} bytes."),
            StatusCodes.Status415UnsupportedMediaType => ("media-type-unsupported", "The body has to be JSON: send the header Content-Type: application/json."),
            _ => ("request-refused", $"The request was refused: {ReasonPhrases.GetReasonPhrase(status)}."),
        };
        return For(context, status, code, detail);
    }

    public Task Write(HttpContext context)
    {
        var response = context.Response;
        response.StatusCode = Status;
        response.Headers.CacheControl = "no-store";
        // The exception handler clears headers that were set before.
        response.Headers.XContentTypeOptions = "nosniff";
        if (Code is "upload-busy" || Status is StatusCodes.Status503ServiceUnavailable or StatusCodes.Status504GatewayTimeout) response.Headers[HeaderNames.RetryAfter] = $"{RetryAfterSeconds}";
        return response.WriteAsJsonAsync(this, options: null, ContentType, context.RequestAborted);
    }

    /// <summary>The status of the kind, except for codes that have their own HTTP status.</summary>
    private static int StatusOf(Fault fault) => fault switch
    {
        { Code: "image-too-large" } => StatusCodes.Status413PayloadTooLarge,
        { Code: "upload-timed-out" } => StatusCodes.Status408RequestTimeout,
        _ => StatusOf(fault.Kind),
    };

    private static int StatusOf(FaultKind kind) => kind switch
    {
        FaultKind.NotFound => StatusCodes.Status404NotFound,
        FaultKind.Conflict => StatusCodes.Status409Conflict,
        FaultKind.Invalid => StatusCodes.Status422UnprocessableEntity,
        FaultKind.Forbidden => StatusCodes.Status403Forbidden,
        FaultKind.Capacity => StatusCodes.Status507InsufficientStorage,
        FaultKind.Unavailable => StatusCodes.Status503ServiceUnavailable,
        FaultKind.Internal => StatusCodes.Status500InternalServerError,
        FaultKind.Changed => StatusCodes.Status412PreconditionFailed,
    };
}
