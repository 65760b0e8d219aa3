using System.Data.Common;
using Instances.Storage;
using Microsoft.Extensions.Logging;
using Orleans.Runtime;
using Orleans.Storage;

namespace Instances.Faults;

/// <summary>Only faults and cancellations leave a grain. The caller may not know other exception types, and would lose their cause.</summary>
internal sealed partial class FaultFilter(ILogger<FaultFilter> logger) : IIncomingGrainCallFilter
{
    public async Task Invoke(IIncomingGrainCallContext context)
    {
        try
        {
            await context.Invoke();
        }
        catch (FaultException exception) when (exception.InnerException is { } cause && IsOurs(context))
        {
            // Drop the cause: another process may not know its type, and would get a deserialization error instead of the fault.
            LogFault(cause, context.InterfaceName, context.MethodName, exception.Fault.Code);
            throw new FaultException(exception.Fault);
        }
        catch (Exception exception) when (exception is not (FaultException or OperationCanceledException) && IsOurs(context))
        {
            throw Convert(exception, context.InterfaceName, context.MethodName);
        }
    }

    private static bool IsOurs(IIncomingGrainCallContext context) => context.Grain is Grain && context.Grain.GetType().Assembly == typeof(FaultFilter).Assembly;

    private FaultException Convert(Exception exception, string grain, string method)
    {
        if (exception is StateWriteException or InconsistentStateException or DbException)
        {
            LogStateUnavailable(exception, grain, method);
            if (DatabaseFaults.Find(exception) is { } refusal && DatabaseFaults.ToFault(refusal) is { Fault.Kind: not FaultKind.Unavailable } fault) return fault;
            return FaultException.Unavailable("state-unavailable", "The database did not accept the change, or its answer was lost: check the current status, and try again.");
        }

        if (exception is TimeoutException or OrleansException)
        {
            LogGrainUnavailable(grain, method, exception.Message);
            return FaultException.Unavailable("grain-unavailable", "A part of the datacenter did not answer: try again.");
        }

        LogUnexpected(exception, grain, method);
        return new(new(FaultKind.Internal, "internal-error", "An unexpected error occurred; the server's log has the details."));
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "{Grain}.{Method} failed with {Code}.")]
    private partial void LogFault(Exception cause, string grain, string method, string code);

    [LoggerMessage(Level = LogLevel.Warning, Message = "{Grain}.{Method}: the state could not be written.")]
    private partial void LogStateUnavailable(Exception exception, string grain, string method);

    [LoggerMessage(Level = LogLevel.Warning, Message = "{Grain}.{Method}: another grain did not answer: {Reason}")]
    private partial void LogGrainUnavailable(string grain, string method, string reason);

    [LoggerMessage(Level = LogLevel.Error, Message = "{Grain}.{Method} failed unexpectedly.")]
    private partial void LogUnexpected(Exception exception, string grain, string method);
}
