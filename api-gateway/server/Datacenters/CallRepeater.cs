using Instances.Faults;
using Instances.Problems;
using Instances.VirtualMachines;

namespace Instances.Datacenters;

/// <summary>Repeats a call whose way to the grain broke: the silo that had it died, or its gateway did. What a grain answers, a refusal too, is never repeated here.</summary>
/// <remarks>The calls of the contracts are idempotent. Those that are not, and enumerations, which are taken up elsewhere, are let through once.</remarks>
internal sealed partial class CallRepeater(TimeProvider clock, ILogger<CallRepeater> logger) : IOutgoingGrainCallFilter
{
    public const int MaxAttempts = 4;

    /// <summary>No attempt begins later. A caller waits for at most this and one response timeout.</summary>
    public static readonly TimeSpan Bound = TimeSpan.FromSeconds(15);

    private static readonly TimeSpan FirstPause = TimeSpan.FromMilliseconds(200);

    public async Task Invoke(IOutgoingGrainCallContext context)
    {
        var started = clock.GetTimestamp();
        for (var attempt = 1; ; attempt++)
        {
            try
            {
                await context.Invoke();
                return;
            }
            catch (Exception exception) when (
                exception is not FaultException && Interruptions.IsInterruption(exception) && MayRepeat(context)
                && attempt < MaxAttempts && clock.GetElapsedTime(started) < Bound)
            {
                LogRepeated(context.InterfaceName, context.MethodName, attempt, exception.Message);
            }

            await Task.Delay(FirstPause * (1 << (attempt - 1)), clock);
        }
    }

    /// <summary>A reset whose answer was lost would happen twice, unless its request has an id.</summary>
    private static bool MayRepeat(IOutgoingGrainCallContext context) =>
        context.InterfaceMethod.DeclaringType?.Assembly == typeof(IVirtualMachineGrain).Assembly
        && (context.InterfaceMethod.Name != nameof(IVirtualMachineGrain.Power) || context.Request.GetArgument(1) is not null);

    [LoggerMessage(LogLevel.Warning, "{Grain}.{Method} did not get through (attempt {Attempt}) and is repeated: {Reason}")]
    private partial void LogRepeated(string grain, string method, int attempt, string reason);
}
