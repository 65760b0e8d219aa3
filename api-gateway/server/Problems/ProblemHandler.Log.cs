namespace Instances.Problems;

internal sealed partial class ProblemHandler
{
    [LoggerMessage(LogLevel.Error, "{Method} {Path} failed with 500 {Code}, trace {TraceId}")]
    private static partial void LogDefect(ILogger logger, Exception cause, string method, PathString path, string code, string traceId);

    [LoggerMessage(LogLevel.Warning, "{Method} {Path} failed with {Status} {Code}, trace {TraceId}: {Cause}")]
    private static partial void LogFailed(ILogger logger, string method, PathString path, int status, string code, string cause, string traceId);
}
