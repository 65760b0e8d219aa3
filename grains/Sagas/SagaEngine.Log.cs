using Microsoft.Extensions.Logging;

namespace Instances.Sagas;

internal sealed partial class SagaEngine
{
    [LoggerMessage(Level = LogLevel.Information, Message = "{Saga} of {Owner}: {Step} begins.")]
    private partial void LogStepBegins(string saga, Guid owner, string step);

    [LoggerMessage(Level = LogLevel.Information, Message = "{Saga} of {Owner}: {Step} is done.")]
    private partial void LogStepEnds(string saga, Guid owner, string step);

    [LoggerMessage(Level = LogLevel.Information, Message = "{Saga} of {Owner}: {Step} is undone.")]
    private partial void LogStepUndone(string saga, Guid owner, string step);

    [LoggerMessage(Level = LogLevel.Warning, Message = "{Saga} of {Owner}: {Step} failed with {Code}: {Reason}")]
    private partial void LogStepFailed(string saga, Guid owner, string step, string code, string reason);

    [LoggerMessage(Level = LogLevel.Warning, Message = "{Saga} of {Owner}: {Step} waits for an unreachable part of the datacenter: {Reason}")]
    private partial void LogStepWaits(string saga, Guid owner, string step, string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "An unexpected error stopped an operation.")]
    private partial void LogUnexpected(Exception exception);
}
