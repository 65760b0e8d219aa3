using Microsoft.Extensions.Logging;

namespace Instances.Datacenters;

internal sealed partial class DatacenterGrain
{
    [LoggerMessage(Level = LogLevel.Warning, Message = "The host {Host} did not answer within {Bound} and is left out for a while.")]
    private partial void LogHostSilent(string host, TimeSpan bound);

    [LoggerMessage(Level = LogLevel.Debug, Message = "The host {Host} is unreachable: {Reason}")]
    private partial void LogHostAway(string host, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The status of operation {Operation} could not be read; its reservations stay: {Reason}")]
    private partial void LogOperationNotAsked(Guid operation, string reason);
}
