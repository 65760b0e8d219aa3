using Microsoft.Extensions.Logging;

namespace Instances.Appliances;

internal sealed partial class ApplianceGrain
{
    [LoggerMessage(Level = LogLevel.Warning, Message = "Appliance {Appliance}: the run of operation {Operation} was interrupted and will be resumed: {Reason}")]
    private partial void LogRunInterrupted(Guid appliance, Guid operation, string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "Appliance {Appliance}: the run of operation {Operation} failed unexpectedly and will be resumed.")]
    private partial void LogRunBroken(Exception cause, Guid appliance, Guid operation);

    [LoggerMessage(Level = LogLevel.Error, Message = "Appliance {Appliance}: operation {Operation} is stuck in {Step} and will be retried: {Reason}")]
    private partial void LogStuck(Guid appliance, Guid operation, string step, string reason);
}
