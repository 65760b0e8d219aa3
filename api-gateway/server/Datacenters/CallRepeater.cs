using Instances.Faults;
using Instances.Problems;
using Instances.VirtualMachines;

namespace Instances.Datacenters;

/// <summary>Repeats a call that was lost because the grain's silo or the Orleans gateway died. A call that the grain has answered, even with a refusal, is not repeated.</summary>
/// <remarks>Most calls of the contracts are idempotent. Other calls are sent once, and so are enumerations, which <c>OperationVersions</c> resumes.</remarks>
internal sealed partial class CallRepeater(TimeProvider clock, ILogger<CallRepeater> logger) : IOutgoingGrainCallFilter
{
    public const int MaxAttempts = 4;

    /// <summary>No attempt begins after this time. A caller waits for at most this and one response timeout.</summary>
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

    /// <summary>Without a request id, a reset whose answer was lost would happen twice.</summary>
    private static bool MayRepeat(IOutgoingGrainCallContext context) =>
        context.InterfaceMethod.DeclaringType?.Assembly == typeof(IVirtualMachineGrain).Assembly
        && (context.InterfaceMethod.Name != nameof(IVirtualMachineGrain.Power) || context.Request.GetArgument(1) is not null);

    [LoggerMessage(LogLevel.Warning, "{Grain}.{Method} was lost (attempt {Attempt}) and is repeated: {Reason}")]
    private partial void LogRepeated(string grain, string method, int attempt, string reason);
}
