using System.Text.Json;
using System.Text.RegularExpressions;
using Instances.Datacenters;
using Instances.Faults;
using Microsoft.AspNetCore.Diagnostics;
using Orleans.Runtime;

namespace Instances.Problems;

/// <summary>Turns the exception of a failed request into a problem, and logs it once if the server caused it.</summary>
internal sealed partial class ProblemHandler(ILogger<ProblemHandler> logger) : IExceptionHandler
{
    public async ValueTask<bool> TryHandleAsync(HttpContext context, Exception exception, CancellationToken cancellationToken)
    {
        var problem = ProblemOf(context, exception);
        if (problem.Status == StatusCodes.Status500InternalServerError)
            LogDefect(logger, exception, context.Request.Method, context.Request.Path, problem.Code, problem.TraceId);
        else if (problem.Status > StatusCodes.Status500InternalServerError)
            LogFailed(logger, context.Request.Method, context.Request.Path, problem.Status, problem.Code, Cause(exception), problem.TraceId);
        await problem.Write(context);
        return true;
    }

    private static Problem ProblemOf(HttpContext context, Exception exception) => exception switch
    {
        FaultException fault => Problem.For(context, fault.Fault),
        BadHttpRequestException { StatusCode: StatusCodes.Status400BadRequest } bad =>
            Problem.For(context, bad.StatusCode, "request-malformed", WhatIsWrong(bad)),
        BadHttpRequestException { StatusCode: StatusCodes.Status408RequestTimeout } slow => Problem.For(context, slow.StatusCode, "upload-timed-out",
            "The body stopped, or came too slowly. For an upload in parts, the received bytes are kept: ask for its offset, and continue there. Send any other request again."),
        BadHttpRequestException bad => ForStatus(context, bad.StatusCode),
        TimeoutException => Problem.For(context, StatusCodes.Status504GatewayTimeout, "datacenter-timeout",
            "The datacenter did not answer in time; the request may have been carried out all the same. Check the current status, or repeat it with the same Idempotency-Key."),
        _ when Interruptions.IsInterruption(exception) =>
            Problem.For(context, RemoteDatacenter.Unreachable(DatacenterOf(context)).Fault),
        // Grains throw faults. This exception is the runtime's own: a grain could not be activated because the database is unreachable.
        OrleansException => Problem.For(context, new Fault(FaultKind.Unavailable, "grain-unavailable", "A part of the datacenter does not answer at the moment: try again.")),
        _ => Problem.For(context, new Fault(FaultKind.Internal, "internal", "")),
    };

    /// <summary>The request's own route values are cleared before an exception is handled.</summary>
    private static string DatacenterOf(HttpContext context) => context.Features.Get<IExceptionHandlerFeature>()?.RouteValues?["datacenter"] as string ?? "";

    private static Problem ForStatus(HttpContext context, int status)
    {
        context.Response.StatusCode = status;
        return Problem.ForStatus(context);
    }

    private static string WhatIsWrong(BadHttpRequestException bad) => bad.InnerException switch
    {
        JsonException { InnerException: InvalidOperationException inner } when inner.Message.Contains("UTF-", StringComparison.Ordinal) =>
            "The body is not UTF-8, or a \\u escape in it is half of a surrogate pair: send JSON in UTF-8.",
        JsonException { Path: { } path } json => $"The JSON body is not as expected at {path}, line {json.LineNumber + 1}: {Reason(json)}",
        JsonException => "The body is not JSON.",
        FormatException format => format.Message,
        // The framework's text for a missing body is for programmers.
        _ when bad.Message.StartsWith("Implicit body", StringComparison.Ordinal) => "The request needs a JSON body.",
        _ => ParameterPattern().Replace(bad.Message, "'$1'"),
    };

    private static string Cause(Exception exception) => exception.InnerException is { } inner ? $"{exception.Message} ({inner.Message})" : exception.Message;

    /// <summary>The serializer's sentences name types of this program. This rewrites them without those.</summary>
    private static string Reason(JsonException json)
    {
        var sentence = json.Message.Split(" Path: ", 2)[0];
        if (MissingPattern().Match(sentence) is { Success: true } missing) return $"it lacks {missing.Groups[1].Value}.";
        if (UnknownPattern().Match(sentence) is { Success: true } unknown) return $"there is no property {unknown.Groups[1].Value}.";
        if (json.InnerException is FormatException number && number.Message.Contains("Int", StringComparison.Ordinal)) return "the value has to be an integer without a fraction or an exponent, in the range that is allowed.";
        return TypeNamePattern().IsMatch(sentence) ? "the value has the wrong type, or is not one of the allowed values." : sentence;
    }

    /// <summary>A handler's parameter as the framework names it, with its type.</summary>
    [GeneratedRegex(@"""[^"" ]+ (\w+)""")]
    private static partial Regex ParameterPattern();

    [GeneratedRegex(@"missing required properties including: (.+?)\.?\z")]
    private static partial Regex MissingPattern();

    [GeneratedRegex(@"The JSON property ('.*?') could not be mapped")]
    private static partial Regex UnknownPattern();

    [GeneratedRegex(@"\b(Instances|System)\.")]
    private static partial Regex TypeNamePattern();
}
