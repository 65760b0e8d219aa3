namespace Instances.Problems;

internal sealed partial class ProblemHandler
{
    [LoggerMessage(LogLevel.Error, "{Method} {Path} failed with {Status} {Code}, trace {TraceId}")]
    private static partial void LogFailed(ILogger logger, Exception cause, string method, PathString path, int status, string code, string traceId);
}
