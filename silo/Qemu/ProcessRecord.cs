using Instances.VirtualMachines;

namespace Instances.Qemu;

/// <summary>The QEMU process that runs a machine, or ran it last.</summary>
/// <param name="StartTime">Clock ticks since the host's start, which with the pid and the host's start names a process for ever.</param>
/// <param name="PortForwards">With the host ports that were chosen.</param>
/// <param name="ShutDownByGuest">Whether it ended because its guest had shut down in order; false while it runs, and where nobody saw how it ended.</param>
internal sealed record ProcessRecord(
    int Pid,
    ulong StartTime,
    Guid BootId,
    IReadOnlyList<PortForward> PortForwards,
    bool ShutDownByGuest = false);
