using CliWrap.Exceptions;
using Instances.Faults;
using Instances.Hosts;

namespace Instances.Qemu;

/// <summary>Converts failures on the host to faults that say what to do.</summary>
internal static class QemuFaults
{
    private const int NoSpaceErrno = 28;
    private const string NoSpaceText = "No space left on device";
    private const int MaxDetail = 300;

    public static FaultException Failed(string message, Exception? cause = null) => FaultException.Unavailable("hypervisor-failed", message, cause);

    public static FaultException TimedOut(string message, Exception? cause = null) => FaultException.Unavailable(IHypervisor.TimedOut, message, cause);

    public static FaultException NotOnHost(object machine) =>
        FaultException.Conflict("virtual-machine-not-on-host", $"The virtual machine {machine} is not on this host.");

    public static FaultException HoldExpired(string name) => FaultException.Unavailable(
        "hold-expired", $"The capture no longer holds the virtual machine '{name}': start a new one.");

    public static FaultException Busy(string name) => FaultException.Conflict(
        "virtual-machine-busy", $"The virtual machine '{name}' is busy with another request: repeat this one later.");

    public static FaultException From(string name, Exception cause) => cause switch
    {
        IOException { HResult: NoSpaceErrno } => NoSpace(name),

        // Programs that the silo runs report it as text.
        CliWrapException e when e.Message.Contains(NoSpaceText, StringComparison.Ordinal) => NoSpace(name),
        QmpException { InnerException: TimeoutException } => TimedOut($"QEMU of the virtual machine '{name}' did not answer in time: {Bounded(cause.Message)}", cause),
        // QEMU's text for a failed flush.
        QmpException e when e.Message.Contains("IO error", StringComparison.Ordinal) => Failed(
            $"A disk of the host failed when the virtual machine '{name}' was flushed to it, so nothing was captured: check the host's disks and their free space. If they work and the error stays, "
            + "power the machine off and on: it starts as after a power cut.", cause),
        _ => Failed($"The hypervisor failed for the virtual machine '{name}': {Bounded(cause.Message)}", cause),
    };

    public static FaultException NotWritten(string folder, Exception cause) => cause is IOException { HResult: NoSpaceErrno }
        ? FaultException.Capacity("no-space", $"The disk of the run folders ({folder}) is full. Give it more space, or undeploy virtual machines.")
        : Failed($"The run folder {folder} cannot be written: {Bounded(cause.Message)}", cause);

    /// <param name="said">QEMU's output.</param>
    public static FaultException NotStarted(MachineSpec spec, string said, string lastLine)
    {
        var name = spec.Name;
        if (spec.MachineType is { } type && said.Contains("unsupported machine type", StringComparison.Ordinal))
        {
            return Failed(
                $"The QEMU of this host does not have the machine type {type} of the virtual machine '{name}', which another QEMU started: install that QEMU again, "
                + "or create an instance of the machine, undeploy it and deploy the instance.");
        }

        if (lastLine.Contains(NoSpaceText, StringComparison.Ordinal)) return NoSpace(name);
        if (lastLine.Contains("Cannot allocate memory", StringComparison.Ordinal))
        {
            return FaultException.Capacity(
                "no-memory", $"The host does not have enough memory for the virtual machine '{name}': stop other machines, or give it less. QEMU says: {Bounded(lastLine)}");
        }

        return Failed($"QEMU did not start the virtual machine '{name}': {Bounded(lastLine)}");
    }

    /// <param name="reason">The system's reason, or null.</param>
    public static FaultException DiskFailed(string name, string? reason) => FaultException.Conflict(
        "disk-failed",
        $"The virtual machine '{name}' is paused because a disk of its host failed{(reason is null ? "" : $" ({reason})")}, and cannot be captured now: wait until it runs again, "
        + "or power it off and capture it as after a power cut.");

    private static FaultException NoSpace(string name) => FaultException.Capacity(
        "no-space", $"The disk of the host is full, so the virtual machine '{name}' cannot continue: delete images or machines, then repeat.");

    private static string Bounded(string text) => text.Length <= MaxDetail ? text : text[..MaxDetail] + "...";
}
