using Orleans;
using Orleans.Runtime;

namespace Instances.Faults;

/// <summary>Reports a lost call if Orleans reports a cancelled one that no caller has cancelled: the grain's silo was not found in time, because a silo has just died.</summary>
/// <remarks>For clients and silos. Calls that the runtime makes to itself are left as they are.</remarks>
public sealed class LostCallFilter : IOutgoingGrainCallFilter
{
    /// <exception cref="TimeoutException">The call may or may not have been carried out.</exception>
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
    }
}
