using Microsoft.Extensions.Logging;

namespace Instances.Hosts;

internal sealed partial class HostGrain
{
    [LoggerMessage(Level = LogLevel.Information, Message = "Host {Host}: {Layers} layers of the virtual machine {Machine} were merged into one of {Bytes} bytes")]
    private partial void LogShortened(string host, Guid machine, int layers, long bytes);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Host {Host}: layers of the virtual machine {Machine} could not be merged and the host will retry: {Reason}")]
    private partial void LogNotShortened(string host, Guid machine, string reason);

    [LoggerMessage(LogLevel.Error, "The host {Host} has a corrupt copy of the layer {Layer}: its SHA-256 is {Found}")]
    private partial void LogCorruptCopy(string host, Guid layer, string? found);

    [LoggerMessage(LogLevel.Warning, "The host {Host} replaced its corrupt copy of the layer {Layer} by the library's")]
    private partial void LogCopyReplaced(string host, Guid layer);

    [LoggerMessage(LogLevel.Warning, "The host {Host} could not read or replace its copy of the layer {Layer}: {Reason}")]
    private partial void LogCopyNotReplaced(string host, Guid layer, string reason);

    [LoggerMessage(LogLevel.Warning, "The host {Host} could not check its copies of layers and will retry: {Reason}")]
    private partial void LogNotScrubbed(string host, string reason);

    [LoggerMessage(Level = LogLevel.Information, Message = "Host {Host}: {Count} virtual machines found.")]
    private partial void LogAdopted(string host, int count);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Host {Host}: the virtual machine {Machine} has no record here and is removed.")]
    private partial void LogOrphan(string host, Guid machine);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Host {Host}: the status of the virtual machine {Machine} could not be passed on: {Reason}")]
    private partial void LogReconcileFailed(string host, Guid machine, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Host {Host}: {Count} virtual machines should be here and are not.")]
    private partial void LogLost(string host, int count);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Host {Host}: the list of virtual machines that should be here could not be read and will be retried: {Reason}")]
    private partial void LogLostUntold(string host, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Host {Host}: the virtual machine {Machine} ended without a request and is restarted.")]
    private partial void LogStartedAgain(string host, Guid machine);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Host {Host}: the virtual machine {Machine} is paused and is to run: it is resumed")]
    private partial void LogResumed(string host, Guid machine);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Host {Host}: the virtual machine {Machine} could not be restarted: {Reason}")]
    private partial void LogNotStartedAgain(string host, Guid machine, string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "Host {Host}: the virtual machine {Machine} was restarted {Count} times, ended each time, and is given up.")]
    private partial void LogGivenUp(string host, Guid machine, int count);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Host {Host}: {Count} machines were held for operation {Operation} for too long and were released.")]
    private partial void LogHoldExpired(string host, Guid operation, int count);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Host {Host}: whether operation {Operation} has committed is not known; the host will ask again: {Reason}")]
    private partial void LogHoldCheckFailed(string host, Guid operation, string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "Host {Host}: a machine could not be started, paused, sealed and removed as a test; deployments and captures will likely fail: {Reason}")]
    private partial void LogRehearsalFailed(string host, string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "Host {Host}: {Problem}")]
    private partial void LogStranger(string host, string problem);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Host {Host}: the number of its binding could not be raised; the next deployment retries it: {Reason}")]
    private partial void LogNotRaised(string host, string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "Host {Host}: nothing was removed: {Problem}")]
    private partial void LogHeld(string host, string problem);

    [LoggerMessage(Level = LogLevel.Error, Message = "Host {Host}: no layer is removed, because the run folder of a virtual machine cannot be read: {Reason}")]
    private partial void LogUseUnknown(string host, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Host {Host}: {Kind} of {Count} virtual machines ended (dry run: {DryRun}; left out: {LeftOut})")]
    private partial void LogRecovered(string host, RecoveryKind kind, int count, bool dryRun, int leftOut);

    [LoggerMessage(Level = LogLevel.Error, Message = "Host {Host}: {Kind} failed: {Reason}")]
    private partial void LogNotRecovered(string host, RecoveryKind kind, string reason);

    [LoggerMessage(Level = LogLevel.Information, Message = "Host {Host}: {Layers} unneeded layers of {Bytes} bytes were removed.")]
    private partial void LogSwept(string host, int layers, long bytes);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Host {Host}: the layers could not be swept and will be retried: {Reason}")]
    private partial void LogSweepFailed(string host, string reason);

    [LoggerMessage(Level = LogLevel.Information, Message = "Host {Host}: resuming the virtual machine {Machine}, which an error of the host's disk had paused")]
    private partial void LogDiskRetried(string host, Guid machine);
}
