using Instances.VirtualMachines;

namespace Instances.Qemu;

internal sealed partial class QemuMachine
{
    private void LogStarted(VirtualMachineId machine, int pid) => LogStarted(_host.Logger, machine, pid);

    private void LogUnreachable(VirtualMachineId machine, string reason) => LogUnreachable(_host.Logger, machine, reason);

    private void LogUnknownTops(VirtualMachineId machine, string tops) => LogUnknownTops(_host.Logger, machine, tops);

    private void LogWatchFailed(VirtualMachineId machine, string reason) => LogWatchFailed(_host.Logger, machine, reason);

    private void LogNodesStay(VirtualMachineId machine, string reason) => LogNodesStay(_host.Logger, machine, reason);

    private void LogNotNamed(VirtualMachineId machine, string reason) => LogNotNamed(_host.Logger, machine, reason);

    private void LogNotWritten(VirtualMachineId machine, string reason) => LogNotWritten(_host.Logger, machine, reason);

    private void LogDiskError(VirtualMachineId machine, string what) => LogDiskError(_host.Logger, machine, what);

    private void LogThawFailed(VirtualMachineId machine, string reason) => LogThawFailed(_host.Logger, machine, reason);

    private void LogClockNotSet(VirtualMachineId machine, string reason) => LogClockNotSet(_host.Logger, machine, reason);

    private void LogStaysFrozen(VirtualMachineId machine) => LogStaysFrozen(_host.Logger, machine);

    [LoggerMessage(LogLevel.Information, "QEMU runs the virtual machine {Machine} as process {Pid}.")]
    private static partial void LogStarted(ILogger logger, VirtualMachineId machine, int pid);

    [LoggerMessage(LogLevel.Error, "QEMU of the virtual machine {Machine} does not answer: {Reason}")]
    private static partial void LogUnreachable(ILogger logger, VirtualMachineId machine, string reason);

    [LoggerMessage(LogLevel.Error, "The virtual machine {Machine} writes to layers that are not in its records: {Tops}")]
    private static partial void LogUnknownTops(ILogger logger, VirtualMachineId machine, string tops);

    [LoggerMessage(LogLevel.Error, "A change of the virtual machine {Machine} could not be handled: {Reason}")]
    private static partial void LogWatchFailed(ILogger logger, VirtualMachineId machine, string reason);

    [LoggerMessage(LogLevel.Warning, "QEMU keeps layers of the virtual machine {Machine} open that it no longer uses: {Reason}")]
    private static partial void LogNodesStay(ILogger logger, VirtualMachineId machine, string reason);

    [LoggerMessage(LogLevel.Warning, "The headers of the disks of the virtual machine {Machine} could not be checked: {Reason}")]
    private static partial void LogNotNamed(ILogger logger, VirtualMachineId machine, string reason);

    [LoggerMessage(LogLevel.Error, "A record of the virtual machine {Machine} could not be written: {Reason}")]
    private static partial void LogNotWritten(ILogger logger, VirtualMachineId machine, string reason);

    [LoggerMessage(LogLevel.Error, "A disk of the virtual machine {Machine} failed: {What}")]
    private static partial void LogDiskError(ILogger logger, VirtualMachineId machine, string what);

    [LoggerMessage(LogLevel.Information, "The clock of the guest of {Machine} was not set after its pause: {Reason}")]
    private static partial void LogClockNotSet(ILogger logger, VirtualMachineId machine, string reason);

    [LoggerMessage(LogLevel.Warning, "The guest of the virtual machine {Machine} was not thawed: {Reason}")]
    private static partial void LogThawFailed(ILogger logger, VirtualMachineId machine, string reason);

    [LoggerMessage(LogLevel.Warning, "The guest of the virtual machine {Machine} did not thaw its file systems; the host retries it for a while. Reset the machine if it stays frozen")]
    private static partial void LogStaysFrozen(ILogger logger, VirtualMachineId machine);
}
