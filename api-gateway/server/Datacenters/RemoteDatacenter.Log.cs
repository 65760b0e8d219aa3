namespace Instances.Datacenters;

internal sealed partial class RemoteDatacenter
{
    [LoggerMessage(LogLevel.Information, "The datacenter {Datacenter} is connected")]
    private static partial void LogReached(ILogger logger, string datacenter);

    [LoggerMessage(LogLevel.Warning, "The datacenter {Datacenter} cannot be reached and will be retried: {Cause}")]
    private static partial void LogNotReached(ILogger logger, string datacenter, string cause);
}
