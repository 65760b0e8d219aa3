using System.Threading.Channels;
using Instances.Appliances;
using Instances.Faults;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;

namespace Instances.Hosts;

/// <summary>Runs machines on its host. Every call is idempotent and thread-safe. The driver serializes calls on one machine.</summary>
/// <remarks>
/// A machine outlives the process that started it: <see cref="Adopt"/> finds it again. The machine's specification, and the capture that holds it,
/// are written to files of its run folder before the driver acts on them.
/// Failures of QEMU and of the system are thrown as <see cref="FaultException"/> with the code <c>hypervisor-failed</c>, a QEMU that does not answer in time as <see cref="TimedOut"/>, a full disk as <c>no-space</c>,
/// a missing machine as <c>virtual-machine-not-on-host</c>.
/// </remarks>
public interface IHypervisor
{
    /// <summary>The code of the fault if QEMU did not answer in time, as when the host is overloaded or its disks hang.</summary>
    const string TimedOut = "hypervisor-timeout";

    /// <summary>The name and version, such as <c>QEMU 7.2.22</c>.</summary>
    string Name { get; }

    /// <summary><c>kvm</c>, <c>tcg</c> or <c>simulated</c>.</summary>
    string Accelerator { get; }

    /// <summary>Memory that the hypervisor itself takes for each machine, besides the machine's own.</summary>
    long MachineOverheadBytes { get; }

    /// <summary>Status changes without a request: a guest that shut down or restarted, a machine that died. The host's grain reads them.</summary>
    ChannelReader<MachineObservation> Changes { get; }

    /// <summary>Finds the machines in this host's run folders and connects to the running ones. Called once, before any other call.</summary>
    Task<IReadOnlyList<MachineObservation>> Adopt(CancellationToken cancellationToken);

    /// <summary>Starts a blank test machine with its next layers added, passes it to a capture, and removes it completely. A
    /// hypervisor that cannot fail on its own does nothing.</summary>
    Task Rehearse(Func<VirtualMachineId, OperationId, Task> capture, CancellationToken cancellationToken);

    /// <summary>Every machine on this host, in any power state.</summary>
    Task<IReadOnlyList<MachineObservation>> List();

    /// <summary>Run folders and processes of this host whose machine is not in <see cref="List"/>.</summary>
    Task<IReadOnlyList<MachineLeftover>> ListLeftovers();

    /// <summary>Every layer that a machine, or a run folder without a machine, names. None of them may be deleted.</summary>
    /// <exception cref="FaultException">run-folder-damaged: a file cannot be read, so that any layer may be in use.</exception>
    Task<IReadOnlySet<LayerId>> UsedLayers();

    /// <summary>What a machine was started with, or null if it is not on this host.</summary>
    Task<MachineSpec?> FindSpec(VirtualMachineId machine);

    /// <summary>Stores the records that the machine was deployed from. Does nothing if the host has the machine from another deployment.</summary>
    Task Describe(VirtualMachineId machine, OperationId deployment, MachineOrigin origin);

    /// <summary>The database that the machines belong to, or null if that was never written.</summary>
    HostBinding? ReadBinding();

    /// <summary>Writes it durably.</summary>
    /// <exception cref="FaultException">no-space; hypervisor-failed.</exception>
    Task WriteBinding(HostBinding binding);

    /// <summary>Ends the process and deletes the run folder of a machine that is not in <see cref="List"/>. Does nothing for machines in the list.</summary>
    Task RemoveLeftover(VirtualMachineId machine);

    /// <summary>The machine, or null if it is not on this host.</summary>
    Task<MachineObservation?> Find(VirtualMachineId machine);

    /// <summary>Writes the run folder and starts the machine on its layers, all of which exist. Does nothing if the machine runs with the same deployment;
    /// another deployment is a defect of the caller.</summary>
    Task<MachineObservation> Start(MachineSpec spec, CancellationToken cancellationToken);

    /// <summary>Ends the machine and deletes its run folder. Its layers stay. Does nothing if the host has the machine from another deployment: the caller may
    /// have been overtaken.</summary>
    Task Remove(VirtualMachineId machine, OperationId deployment);

    /// <exception cref="FaultException">power-conflict if the action does not fit the power state.</exception>
    Task<MachineObservation> Power(VirtualMachineId machine, PowerAction action);

    /// <summary>The end of the serial console's log, at most <paramref name="maxBytes"/> bytes of it.</summary>
    Task<string> ReadConsole(VirtualMachineId machine, int maxBytes);

    /// <summary>Records the capture in the run folder, and gives a running machine its next layers (which exist) without using them.</summary>
    Task AddNextLayers(VirtualMachineId machine, OperationId operation, IReadOnlyList<LayerId> next);

    /// <summary>Undoes <see cref="AddNextLayers"/>. Does nothing if the layers were sealed, or another operation holds the machine.</summary>
    /// <returns>The layers that the machine no longer uses and never used: the caller deletes them.</returns>
    Task<IReadOnlyList<LayerId>> RemoveNextLayers(VirtualMachineId machine, OperationId operation);

    /// <summary>Before a capture: writes what the host still buffers of the machines' disks, until little is left. The guests keep running.</summary>
    /// <param name="bound">The call ends after this time at the latest, for any number of machines.</param>
    Task SyncTops(IReadOnlyList<VirtualMachineId> machines, TimeSpan bound, CancellationToken cancellationToken);

    /// <summary>Freezes file systems or shuts the guest down. Does nothing for a Paused or Stopped machine.</summary>
    /// <param name="bound">How long it may take. After it the guest is thawed and the consistency is <see cref="ConsistencyLevel.Crash"/>.</param>
    Task<QuiesceOutcome> Quiesce(VirtualMachineId machine, OperationId operation, Quiesce mode, TimeSpan bound, CancellationToken cancellationToken);

    /// <summary>Undoes <see cref="Quiesce"/>: thaws or powers on the machine. If <see cref="Resume"/> has failed for the machine, resumes it first.</summary>
    Task Unquiesce(VirtualMachineId machine, OperationId operation);

    /// <summary>Pauses the machine, and records whether it was running.</summary>
    /// <returns>When it was told to pause.</returns>
    Task<CaptureMoment> Pause(VirtualMachineId machine, OperationId operation);

    /// <summary>Resumes the machine if <see cref="Pause"/> of this operation has paused it.</summary>
    Task Resume(VirtualMachineId machine, OperationId operation);

    /// <summary>Switches all disks to their next layers in one transaction; offline if the machine is stopped.</summary>
    /// <returns>When that was done.</returns>
    Task<CaptureMoment> Seal(VirtualMachineId machine, OperationId operation);

    /// <summary>Bytes that the capture wrote to this machine's disks since <see cref="AddNextLayers"/>: the next layers and their metadata.</summary>
    Task<long> CaptureBytes(VirtualMachineId machine, OperationId operation);

    /// <summary>Rebases the writable top of the disk with the merge's chain onto the merged layer, whether the machine runs or not. The disk's content stays the same.</summary>
    /// <returns>False if a capture holds the machine, or no disk has that chain below its top.</returns>
    Task<bool> ReplaceLayers(VirtualMachineId machine, LayerMerge merge);

    /// <summary>Whether <see cref="ReplaceLayers"/> can succeed before the machine's next start. False if an earlier release started its hypervisor process, which may not read merged layers.</summary>
    Task<bool> CanReplaceLayers(VirtualMachineId machine);

    /// <summary>Ends the capture. A guest that the capture has paused is resumed.</summary>
    Task EndHold(VirtualMachineId machine, OperationId operation);
}
