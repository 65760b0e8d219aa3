using System.Data.Common;
using Orleans;
using Orleans.Runtime;
using Orleans.Serialization;

namespace Instances.Faults;

/// <summary>Says plainly why a call did not come to its grain. What a grain itself answers passes as it is.</summary>
/// <remarks>
/// For clients and silos. Orleans says that a call was cancelled, though nobody has cancelled it, where it did not find the silo of a grain in time, since one has
/// just died; and it passes on what the storage threw where a grain could not read its state. Calls that the runtime makes to itself are left as they are.
/// </remarks>
public sealed class LostCallFilter : IOutgoingGrainCallFilter
{
    /// <exception cref="TimeoutException">The call may or may not have been carried out.</exception>
    /// <exception cref="FaultException">state-unavailable: the grain could not read its state.</exception>
    public async Task Invoke(IOutgoingGrainCallContext context)
    {
        try
        {
            await context.Invoke();
        }
        catch (OperationCanceledException exception) when (!context.TargetId.IsSystemTarget() && !context.Request.GetCancellationToken().IsCancellationRequested)
        {
            throw new TimeoutException($"{context.InterfaceName}.{context.MethodName} did not get through in time.", exception);
        }
        catch (Exception exception) when (!context.TargetId.IsSystemTarget() && IsOfTheDatabase(exception))
        {
            throw FaultException.Unavailable("state-unavailable", "The database cannot be read at the moment: try again.", exception);
        }
    }

    /// <summary>A client may lack the driver of the silos' database: it has the name of the exception alone.</summary>
    private static bool IsOfTheDatabase(Exception exception) =>
        exception is DbException || (exception is UnavailableExceptionFallbackException { ExceptionType: { } type } && type.StartsWith("Npgsql.", StringComparison.Ordinal));
}
