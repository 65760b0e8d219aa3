using Orleans;
using Orleans.Runtime;

namespace Instances.Faults;

/// <summary>Says that a call got lost where Orleans says that it was cancelled, though nobody has cancelled it: the silo of a grain was not found in time, since one has just died.</summary>
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
