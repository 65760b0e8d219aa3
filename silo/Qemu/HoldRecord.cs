using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;

namespace Instances.Qemu;

/// <summary>The capture that holds a machine.</summary>
/// <param name="Previous">The chains as they were: their tops are what is to be sealed.</param>
/// <param name="Next">The next layer of each disk.</param>
/// <param name="WasRunning">Whether the machine ran when it was last looked at before its pause. It is written well before, so that nothing is written
/// while the guest is paused: a machine that is found paused, and ran before, was paused by this capture.</param>
/// <param name="Freeze">What is known of the guest's file systems.</param>
/// <param name="ShutDown">The guest was told to shut down.</param>
/// <param name="Sealed">The machine is on its next layers. True in the file only when a guest may have written to them: while QEMU runs it is asked.</param>
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

    /// <summary>The agent was told to freeze and nobody saw what became of it.</summary>
    Uncertain,
}
