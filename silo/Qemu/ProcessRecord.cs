using Instances.Hosts;
using Instances.VirtualMachines;

namespace Instances.Qemu;

/// <summary>The current or last QEMU process of a machine.</summary>
/// <param name="StartTime">Clock ticks since the host's start, which, with the pid and the host's start, identifies a process uniquely.</param>
/// <param name="PortForwards">With the host ports that were chosen.</param>
/// <param name="ShutDownByGuest">Whether it ended because its guest shut down; false while it runs, or if its end was not observed. For files
/// without a <paramref name="StopReason"/>.</param>
/// <param name="StopReason">Why it ended; null while it runs, or if its end was not observed.</param>
internal sealed record ProcessRecord(
    int Pid,
    ulong StartTime,
    Guid BootId,
    IReadOnlyList<PortForward> PortForwards,
    bool ShutDownByGuest = false,
    StopReason? StopReason = null)
{
    /// <summary>The reason for a process that is gone: if its end was not observed, it has died.</summary>
    public StopReason EndedBy => StopReason ?? (ShutDownByGuest ? Hosts.StopReason.Guest : Hosts.StopReason.Died);
}
