namespace Instances.Datacenters;

internal sealed partial class RemoteDatacenter
{
    [LoggerMessage(LogLevel.Information, "The datacenter {Datacenter} is connected")]
    private static partial void LogReached(ILogger logger, string datacenter);

    [LoggerMessage(LogLevel.Warning, "The datacenter {Datacenter} cannot be reached and will be retried: {Cause}")]
    private static partial void LogNotReached(ILogger logger, string datacenter, string cause);

    [LoggerMessage(LogLevel.Warning, "The datacenter {Datacenter} offers nothing that this client knows of: connecting to it with a new client")]
    private static partial void LogConnectsAgain(ILogger logger, string datacenter);
}
