using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;

namespace Instances.Qemu;

/// <summary>The capture that holds a machine.</summary>
/// <param name="Previous">The chains before the capture. Their tops will be sealed.</param>
/// <param name="Next">The next layer of each disk.</param>
/// <param name="WasRunning">Whether the machine was running at the last check before its pause. It is written before the pause, so that nothing is written
/// while the guest is paused. If a machine is found paused and was running before, this capture has paused it.</param>
/// <param name="Freeze">The known state of the guest's file systems.</param>
/// <param name="ShutDown">The guest was told to shut down.</param>
/// <param name="Sealed">The machine uses its next layers. The file says so only once a guest may have written to them. While QEMU runs, it is asked.</param>
/// <param name="NextBytes">Space of the empty next layers.</param>
internal sealed record HoldRecord(
    OperationId Operation,
    DateTimeOffset Since,
    IReadOnlyList<DiskChain> Previous,
    IReadOnlyList<LayerId> Next,
    bool WasRunning,
    FreezeState Freeze,
    bool ShutDown,
    bool Sealed,
    long NextBytes)
{
    /// <summary>The chains with the next layers as their tops.</summary>
    public IReadOnlyList<DiskChain> Following() => [.. Previous.Zip(Next, (chain, next) => chain with { Layers = [.. chain.Layers, next] })];
}

internal enum FreezeState
{
    Thawed,
    Frozen,

    /// <summary>The agent was told to freeze, and the outcome is not known.</summary>
    Uncertain,
}
