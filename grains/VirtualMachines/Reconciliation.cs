using Instances.Hosts;

namespace Instances.VirtualMachines;

/// <summary>Decides the new status of a machine from its host's observation, while no operation holds the machine.</summary>
/// <param name="Wished">The wished status. It also changes when the guest shuts down, or when a power action whose answer was lost took effect.</param>
/// <param name="Problem">Why the observed status is not the wished one.</param>
internal sealed record Reconciliation(VirtualMachineStatus Status, VirtualMachineStatus Wished, string? Problem, ObserveVerdict Verdict)
{
    public const string StartedAgain = "It ended without a request, or its host was restarted: it is being restarted.";
    public const string ResumedAgain = "It was paused for longer than requested: it is being resumed.";
    public const string DiedPaused = "It ended without a request, or its host was restarted, while it was paused: the content of its memory is lost. Power it on.";

    /// <param name="status">Running, Paused, Stopped or Unknown.</param>
    /// <param name="wished">Running, Paused or Stopped.</param>
    /// <param name="seen">The observation. A pause by a capture does not change the wish, because the host undoes it.</param>
    public static Reconciliation Decide(VirtualMachineStatus status, VirtualMachineStatus wished, MachineObservation seen)
    {
        var isHeld = seen.Hold is not null;
        return (seen.Status, seen.StopReason) switch
        {
            // Only a power action starts a stopped machine.
            (VirtualMachineStatus.Running, _) => Keep(status is VirtualMachineStatus.Stopped or VirtualMachineStatus.Paused ? VirtualMachineStatus.Running : wished),

            // It was paused by a capture whose host did not answer in time, by a power action that was reported as failed, or because the host's disk failed. A guest that should run must not stay paused.
            (VirtualMachineStatus.Paused, _) when wished is VirtualMachineStatus.Running && (seen.Trouble is null || seen.AwaitsDisk) && !isHeld =>
                new(seen.Status, wished, seen.Trouble ?? ResumedAgain, ObserveVerdict.Resume),
            (VirtualMachineStatus.Paused, _) => Keep(wished),

            (_, StopReason.Guest or StopReason.Power) => Keep(isHeld ? wished : VirtualMachineStatus.Stopped),
            (_, StopReason.Died) when wished is VirtualMachineStatus.Running && seen.Trouble is null && !isHeld =>
                new(seen.Status, wished, StartedAgain, ObserveVerdict.PowerOn),
            (_, StopReason.Died) when wished is VirtualMachineStatus.Paused => new(seen.Status, wished, seen.Trouble ?? DiedPaused, ObserveVerdict.Keep),
            (_, StopReason.Died) when wished is VirtualMachineStatus.Stopped => new(seen.Status, wished, null, ObserveVerdict.Keep),
            (_, StopReason.Died or null) => Keep(wished),
            _ => throw new System.Diagnostics.UnreachableException(),
        };

        Reconciliation Keep(VirtualMachineStatus wish) => new(seen.Status, wish, seen.Trouble, ObserveVerdict.Keep);
    }
}
