using Instances.Hosts;
using Instances.VirtualMachines;

namespace Instances.Qemu;

/// <summary>The QEMU process that runs a machine, or ran it last.</summary>
/// <param name="StartTime">Clock ticks since the host's start, which with the pid and the host's start names a process for ever.</param>
/// <param name="PortForwards">With the host ports that were chosen.</param>
/// <param name="ShutDownByGuest">Whether it ended because its guest had shut down in order; false while it runs, and where nobody saw how it ended. Files
/// without a <paramref name="StopReason"/> have it.</param>
/// <param name="StopReason">Why it ended; null while it runs, and where nobody saw it end.</param>
internal sealed record ProcessRecord(
    int Pid,
    ulong StartTime,
    Guid BootId,
    IReadOnlyList<PortForward> PortForwards,
    bool ShutDownByGuest = false,
    StopReason? StopReason = null)
{
    /// <summary>Of a process that is gone: what nobody saw end has died.</summary>
    public StopReason EndedBy => StopReason ?? (ShutDownByGuest ? Hosts.StopReason.Guest : Hosts.StopReason.Died);
}
