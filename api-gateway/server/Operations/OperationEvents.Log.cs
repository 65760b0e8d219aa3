namespace Instances.Operations;

internal sealed partial class OperationEvents
{
    [LoggerMessage(LogLevel.Warning, "Watching the operation {Operation} was given up: its datacenter stayed unreachable")]
    private static partial void LogGivenUp(ILogger logger, Exception cause, Guid operation);
}
