using Instances.Hosts;

namespace Instances.VirtualMachines;

/// <summary>What becomes of a machine at rest when its host tells what it sees.</summary>
/// <param name="Wished">A guest that shuts down, and a power action whose answer was lost, change the wish as a person's own action does.</param>
/// <param name="Problem">What stands between the wished status and the observed one.</param>
internal sealed record Reconciliation(VirtualMachineStatus Status, VirtualMachineStatus Wished, string? Problem, ObserveVerdict Verdict)
{
    public const string StartedAgain = "It ended by itself, or its host was restarted: it is being started again.";
    public const string ResumedAgain = "It was paused for longer than was asked for: it is being resumed.";
    public const string DiedPaused = "It ended by itself, or its host was restarted, while it was paused: what was in its memory is lost. Power it on.";

    /// <param name="status">Running, Paused, Stopped or Unknown.</param>
    /// <param name="wished">Running, Paused or Stopped.</param>
    /// <param name="seen">What a capture does to a machine that it holds is not what anybody wishes, and is undone by its host.</param>
    public static Reconciliation Decide(VirtualMachineStatus status, VirtualMachineStatus wished, MachineObservation seen)
    {
        var isHeld = seen.Hold is not null;
        return (seen.Status, seen.StopReason) switch
        {
            // Only a power action starts what was at rest.
            (VirtualMachineStatus.Running, _) => Keep(status is VirtualMachineStatus.Stopped or VirtualMachineStatus.Paused ? VirtualMachineStatus.Running : wished),

            // A capture paused it, and its host did not answer in time, or a power action that was reported as failed did, or the host's disk failed. No guest is left paused that is to run.
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
