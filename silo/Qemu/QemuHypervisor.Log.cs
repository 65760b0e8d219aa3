using Instances.VirtualMachines;

namespace Instances.Qemu;

internal sealed partial class QemuHypervisor
{
    [LoggerMessage(LogLevel.Warning, "QEMU runs as root: {Reason}.")]
    private partial void LogRunsAsRoot(string reason);

    [LoggerMessage(LogLevel.Error, "The machine of the run folder {Folder} cannot be adopted.")]
    private partial void LogNotAdopted(string folder, Exception cause);

    [LoggerMessage(LogLevel.Warning, "The console's log of the virtual machine {Machine} cannot be kept within its bound: {Reason}")]
    private partial void LogNotTrimmed(VirtualMachineId machine, string reason);

    [LoggerMessage(LogLevel.Warning, "Nobody reads the changes of machines: the oldest, of the virtual machine {Machine}, is dropped.")]
    private partial void LogChangeDropped(VirtualMachineId machine);
}
