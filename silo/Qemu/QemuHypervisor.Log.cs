using Instances.VirtualMachines;

namespace Instances.Qemu;

internal sealed partial class QemuHypervisor
{
    [LoggerMessage(LogLevel.Warning, "QEMU runs as root, because Qemu:RunAs says so: a guest that breaks out of QEMU controls this host")]
    private partial void LogRunsAsRoot();

    [LoggerMessage(LogLevel.Warning, "All machines run as the user {User}, because Qemu:RunAs says so: a guest that breaks out of QEMU reaches the disks and the memory of the others. "
        + "Remove Qemu:RunAs to give each machine its own user")]
    private partial void LogRunsAsOne(string user);

    [LoggerMessage(LogLevel.Warning, "The silo is not root, so all machines run as its own user: a guest that breaks out of QEMU reaches the other machines, all layers, the database and its password. "
        + "Run the silo as root to give each machine its own user")]
    private partial void LogRunsAsSilo();

    [LoggerMessage(LogLevel.Information, "Machines have no control groups with all limits on memory, processors and disks: {Reason}")]
    private partial void LogNoGroups(string reason);

    [LoggerMessage(LogLevel.Error, "The machine of the run folder {Folder} cannot be adopted.")]
    private partial void LogNotAdopted(string folder, Exception cause);

    [LoggerMessage(LogLevel.Warning, "The logs of the virtual machine {Machine} could not be read or cut: {Reason}")]
    private partial void LogNotLookedAfter(VirtualMachineId machine, string reason);

    [LoggerMessage(LogLevel.Warning, "The queue of machine changes is full: the oldest change, of the virtual machine {Machine}, was dropped.")]
    private partial void LogChangeDropped(VirtualMachineId machine);
}
