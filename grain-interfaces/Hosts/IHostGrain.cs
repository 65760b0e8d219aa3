using Instances.Appliances;
using Instances.Faults;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;
using Orleans.Concurrency;

namespace Instances.Hosts;

/// <summary>What runs on one host. Keyed by the host's name; lives in that host's silo. Every call is idempotent.</summary>
/// <remarks>The calls of a capture take all of its machines on this host at once: one message between a barrier and the next.</remarks>
[Alias("instances.IHostGrain")]
public interface IHostGrain : IGrainWithStringKey
{
    /// <summary>Called when the silo starts: adopts the running machines, reports the status of each to its record, removes machines without an owner, and notifies the records
    /// whose machines are missing.</summary>
    [Alias("Start"), ResponseTimeout("00:05:00")]
    Task<HostView> Start();

    [Alias("Get")]
    Task<HostView> Get();

    /// <summary>The free capacity of the host, and the machines that it takes into account.</summary>
    /// <param name="layers">The layers to check: the answer names those that are not on the host.</param>
    [Alias("Capacity")]
    Task<HostCapacity> Capacity(IReadOnlyList<LayerId> layers);

    /// <summary>Fetches missing layers from the library: starts or joins their transfers, and waits for about a second. The caller repeats the call
    /// until it is done. A host that lacks none answers at once. The host keeps the requested layers for at least an hour.</summary>
    /// <param name="layers">With their known digests, which are checked.</param>
    /// <exception cref="FaultException">layer-missing; layer-corrupt; no-space; transfer-failed.</exception>
    [Alias("Fetch")]
    Task<TransferProgress> Fetch(IReadOnlyList<LayerManifest> layers);

    /// <summary>Where the library can fetch sealed layers of this host.</summary>
    /// <exception cref="FaultException">layer-missing.</exception>
    [Alias("Offer")]
    Task<IReadOnlyList<LayerOffer>> Offer(IReadOnlyList<LayerId> layers);

    /// <summary>Removes unreferenced layers from this host's own store. If the store is over its bound, also removes layers that the library has and no machine here
    /// uses. Does nothing if the store is the library's, which the library sweeps. Runs automatically at start, after undeployments, and as often as the library's sweep.</summary>
    [Alias("Sweep")]
    Task<SweepReport> Sweep();

    /// <summary>Called by the scrub: the library's file of this layer is corrupt, or was replaced. This host's copy may be corrupt too: the host reads it soon, and before a machine starts on it.
    /// Does nothing if the host has no copy.</summary>
    /// <param name="sha256">The expected SHA-256.</param>
    [Alias("Doubt")]
    Task Doubt(LayerId layer, string sha256);

    /// <summary>All machines and files of the host, for the doctor.</summary>
    [Alias("Inventory")]
    Task<HostInventory> Inventory();

    /// <summary>Starts a sweep after a short delay, because layers have lost a reference. If the store is the library's, the library sweeps.</summary>
    [Alias("SweepSoon"), OneWay]
    Task SweepSoon();

    /// <summary>Ends a machine that no record places on this host, with its process and its run folder. The sweep deletes its layers.</summary>
    /// <exception cref="FaultException">virtual-machine-known: its record places it here. hypervisor-failed.</exception>
    [Alias("RemoveOrphan"), ResponseTimeout("00:02:00")]
    Task RemoveOrphan(VirtualMachineId machine, IReadOnlyList<LayerId> ownLayers);

    /// <summary>Sweeps now: deletes layers that are unreferenced and that no machine on this host uses.</summary>
    [Alias("RemoveLayers"), ResponseTimeout("00:02:00")]
    Task RemoveLayers(IReadOnlyList<LayerId> layers);

    /// <summary>Begins to create the missing records of this host's machines in the background (appliance, virtual machine and deployment) from the host's own files. Returns the running
    /// recovery if there is one. Afterwards the host belongs to the database, unless a machine was left out.</summary>
    /// <param name="dryRun">Changes nothing.</param>
    /// <exception cref="FaultException">library-unknown: rebuild the library's records first; recovery-running.</exception>
    [Alias("Adopt")]
    Task<HostRecovery> Adopt(bool dryRun);

    /// <summary>Begins to remove the machines that no record places on this host, in the background, as <see cref="Adopt"/> does. Their layers go with the next sweep.</summary>
    /// <param name="dryRun">Changes nothing.</param>
    /// <param name="machines">The machines that the operator has seen and gives up. Other machines without a record are left out.</param>
    /// <exception cref="FaultException">recovery-running.</exception>
    [Alias("Discard")]
    Task<HostRecovery> Discard(bool dryRun, IReadOnlyList<VirtualMachineId> machines);

    /// <exception cref="FaultException">recovery-not-found.</exception>
    [Alias("GetRecovery")]
    Task<HostRecovery> GetRecovery();

    /// <summary>Stores changed records of a machine on the host. Does nothing if the host has the machine from another deployment.</summary>
    [Alias("Describe")]
    Task Describe(VirtualMachineId machine, OperationId deployment, MachineOrigin origin);

    /// <summary>Makes the writable tops and starts the machine.</summary>
    /// <exception cref="FaultException">host-unknown-to-database; layer-missing; no-space; hypervisor-failed; virtual-machine-on-host if the host has the machine from another deployment that is the current one.</exception>
    [Alias("Deploy"), ResponseTimeout("00:02:00")]
    Task<MachineObservation> Deploy(MachineSpec spec, CancellationToken cancellationToken);

    /// <summary>Ends the machine, and deletes its run folder. Does nothing if the host has the machine from another deployment. The layers stay: the sweep deletes those that
    /// have lost their last reference, soon after the machine's record is written (<see cref="SweepSoon"/>).</summary>
    /// <param name="ownLayers">The layers that earlier releases deleted in this call.</param>
    [Alias("Undeploy"), ResponseTimeout("00:02:00")]
    Task Undeploy(VirtualMachineId machine, OperationId deployment, IReadOnlyList<LayerId> ownLayers);

    /// <summary>The current observation, or null if the machine is not on this host.</summary>
    [Alias("Observe")]
    Task<MachineObservation?> Observe(VirtualMachineId machine);

    /// <exception cref="FaultException">virtual-machine-not-on-host; power-conflict; hypervisor-failed.</exception>
    [Alias("Power"), ResponseTimeout("00:01:00")]
    Task<MachineObservation> Power(VirtualMachineId machine, PowerAction action);

    [Alias("ReadConsole")]
    Task<string> ReadConsole(VirtualMachineId machine, int maxBytes);

    /// <summary>Capture: makes the next layers and hands them to QEMU. Undone by <see cref="DiscardNextLayers"/>.</summary>
    [Alias("PrepareNextLayers"), ResponseTimeout("00:10:00")]
    Task PrepareNextLayers(OperationId operation, IReadOnlyList<NextLayers> machines);

    /// <summary>Undoes <see cref="PrepareNextLayers"/> for layers that were not sealed.</summary>
    [Alias("DiscardNextLayers")]
    Task DiscardNextLayers(OperationId operation, IReadOnlyList<VirtualMachineId> machines);

    /// <summary>Capture: writes what the host still buffers of all disks, and then freezes file systems or shuts guests down, each within its bound. Undone by
    /// <see cref="Unquiesce"/>.</summary>
    [Alias("Quiesce"), ResponseTimeout("00:03:00")]
    Task<IReadOnlyList<QuiesceOutcome>> Quiesce(OperationId operation, IReadOnlyList<VirtualMachineId> machines, Quiesce mode, CancellationToken cancellationToken);

    /// <summary>Thaws and powers on what this capture froze or shut down.</summary>
    [Alias("Unquiesce"), ResponseTimeout("00:02:00")]
    Task Unquiesce(OperationId operation, IReadOnlyList<VirtualMachineId> machines);

    /// <summary>Capture: pauses the machines that run. Undone by <see cref="Resume"/>.</summary>
    /// <returns>When the first of them was told to pause.</returns>
    /// <exception cref="FaultException">hold-expired.</exception>
    [Alias("Pause")]
    Task<CaptureMoment> Pause(OperationId operation, IReadOnlyList<VirtualMachineId> machines);

    /// <summary>Resumes the machines that this capture paused.</summary>
    [Alias("Resume")]
    Task Resume(OperationId operation, IReadOnlyList<VirtualMachineId> machines);

    /// <summary>Capture: switches all disks of each machine to their next layers, in one transaction a machine.</summary>
    /// <returns>When the last of them was switched, and what the capture wrote.</returns>
    /// <exception cref="FaultException">hold-expired; hypervisor-failed.</exception>
    [Alias("Seal")]
    Task<SealOutcome> Seal(OperationId operation, IReadOnlyList<VirtualMachineId> machines);

    /// <summary>Capture: makes the sealed layers durable and read-only. Needs no undo: nothing writes to them any more.</summary>
    [Alias("MakeDurable"), ResponseTimeout("00:10:00")]
    Task MakeDurable(OperationId operation, IReadOnlyList<LayerId> layers);

    /// <summary>Called by the machine, while no capture has it: rebases a disk's writable top onto a merged layer of the same content.</summary>
    /// <returns>The machine with its new chain; null if a capture holds it, or no disk has the chain that was merged.</returns>
    [Alias("ReplaceLayers"), ResponseTimeout("00:01:00")]
    Task<MachineObservation?> ReplaceLayers(VirtualMachineId machine, LayerMerge merge);

    /// <summary>Releases these machines: the capture has ended for them.</summary>
    [Alias("EndCapture")]
    Task EndCapture(OperationId operation, IReadOnlyList<VirtualMachineId> machines);
}

/// <param name="Layers">The next layer of each disk, in the order of the disks.</param>
[GenerateSerializer, Immutable, Alias("instances.NextLayers")]
public sealed record NextLayers([property: Id(0)] VirtualMachineId Machine, [property: Id(1)] IReadOnlyList<LayerId> Layers);

/// <param name="Detail">Why the consistency is not the requested one, or another remark about it; null if there is none.</param>
[GenerateSerializer, Immutable, Alias("instances.QuiesceOutcome")]
public sealed record QuiesceOutcome(
    [property: Id(0)] VirtualMachineId Machine,
    [property: Id(1)] ConsistencyLevel Consistency,
    [property: Id(2)] string? Detail);

/// <summary>When a machine was told to pause, or was sealed.</summary>
/// <remarks>A class, so that its awaiting code shares compiled generics with earlier calls. Compiling it anew would lengthen the first consistency window.</remarks>
[GenerateSerializer, Immutable, Alias("instances.CaptureMoment")]
public sealed record CaptureMoment([property: Id(0)] DateTimeOffset At);

/// <param name="BytesWritten">Bytes that the capture wrote to disks: next layers and their metadata.</param>
[GenerateSerializer, Immutable, Alias("instances.SealOutcome")]
public sealed record SealOutcome([property: Id(0)] DateTimeOffset SealedAt, [property: Id(1)] long BytesWritten);

public enum HostStatus
{
    /// <summary>It takes machines.</summary>
    Available,

    /// <summary>It takes no new machines; its machines keep running.</summary>
    Maintenance,

    /// <summary>It is unreachable: the state of its machines is not known, and it takes no machines.</summary>
    Away,

    /// <summary>Its data belongs to another database. Its machines keep running, nothing is removed, and it takes no machines until the operator adopts or discards them.</summary>
    Blocked,
}

/// <param name="Hypervisor">The driver and its version, such as <c>QEMU 7.2.22</c>.</param>
/// <param name="Accelerator"><c>kvm</c>, <c>tcg</c>, or <c>simulated</c>.</param>
/// <param name="Cpus">Processors of the host.</param>
/// <param name="MemoryBytes">Total memory for machines.</param>
/// <param name="FreeMemoryBytes">Memory that is not assigned to machines, running or stopped; 0 while the host is Away.</param>
/// <param name="FreeDiskBytes">Space for layers: the free space of the layer store's file system, less the space that is kept for the machines' changes; 0 while the host is Away.</param>
/// <param name="VirtualMachines">The number of machines; while the host is Away, the number according to the records.</param>
/// <param name="CpuCapacity">Total virtual CPUs for machines: the processors times the overcommitment.</param>
/// <param name="Problem">The decision that waits for the operator, and how to make it; null if there is none.</param>
/// <param name="Store">The identity of its layer store. It equals the library's if the host uses the library's folder.</param>
/// <param name="FreeCpus">Virtual CPUs that are not assigned to machines; 0 while the host is Away.</param>
[GenerateSerializer, Immutable, Alias("instances.HostView")]
public sealed record HostView(
    [property: Id(0)] HostId Id,
    [property: Id(1)] string Hypervisor,
    [property: Id(2)] string Accelerator,
    [property: Id(3)] int Cpus,
    [property: Id(4)] long MemoryBytes,
    [property: Id(5)] long FreeMemoryBytes,
    [property: Id(6)] long FreeDiskBytes,
    [property: Id(7)] int VirtualMachines,
    [property: Id(8)] int CpuCapacity,
    [property: Id(9)] int FreeCpus,
    [property: Id(10)] HostStatus Status,
    [property: Id(11)] string? Problem = null,
    [property: Id(12)] string? Store = null);

/// <param name="Machines">Those that <paramref name="View"/> counts.</param>
/// <param name="Lacking">Those of the requested layers that are not on the host.</param>
/// <param name="MachineOverheadBytes">Memory that the host needs for each machine besides the machine's own.</param>
/// <param name="TakenPorts">The host ports of its machines, and those of the silo itself.</param>
[GenerateSerializer, Immutable, Alias("instances.HostCapacity")]
public sealed record HostCapacity(
    [property: Id(0)] HostView View,
    [property: Id(1)] IReadOnlyList<VirtualMachineId> Machines,
    [property: Id(2)] IReadOnlyList<LayerId> Lacking,
    [property: Id(3)] long MachineOverheadBytes = 0,
    [property: Id(4)] IReadOnlyList<HostPort>? TakenPorts = null);
