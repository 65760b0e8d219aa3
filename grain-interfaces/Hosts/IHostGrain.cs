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
    /// <summary>Called when the silo starts: adopts the machines that run, tells each its status, removes what belongs to nobody, and tells those that should be
    /// there and are not.</summary>
    [Alias("Start"), ResponseTimeout("00:05:00")]
    Task<HostView> Start();

    [Alias("Get")]
    Task<HostView> Get();

    /// <summary>What the host has free, and which machines it counts in that.</summary>
    /// <param name="layers">Those of interest: the answer names the ones that are not on the host.</param>
    [Alias("Capacity")]
    Task<HostCapacity> Capacity(IReadOnlyList<LayerId> layers);

    /// <summary>Brings the layers that this host lacks from the library: starts the transfers or joins those that run, and waits for about a second. To be called
    /// again until it is done. A host that lacks none answers at once, and asks nobody. What was asked for is kept for an hour at least.</summary>
    /// <param name="layers">With the digests that are known: what comes is checked against them.</param>
    /// <exception cref="FaultException">layer-missing; layer-corrupt; no-space; transfer-failed.</exception>
    [Alias("Fetch")]
    Task<TransferProgress> Fetch(IReadOnlyList<LayerManifest> layers);

    /// <summary>Where the library can have sealed layers from.</summary>
    /// <exception cref="FaultException">layer-missing.</exception>
    [Alias("Offer")]
    Task<IReadOnlyList<LayerOffer>> Offer(IReadOnlyList<LayerId> layers);

    /// <summary>Removes what lies in this host's own store and nobody refers to, and then, down to the store's bound, what the library has too and no machine here
    /// uses. Does nothing if the store is the library's, which that sweeps. Runs automatically at start, after undeployments, and as often as the library's.</summary>
    [Alias("Sweep")]
    Task<SweepReport> Sweep();

    /// <summary>Called by the scrub: the library's file of this layer is corrupt, or was replaced. This host's copy may be no better: it is read soon, and before a machine starts on it.
    /// Does nothing if the host has none.</summary>
    /// <param name="sha256">What it has to hash to.</param>
    [Alias("Doubt")]
    Task Doubt(LayerId layer, string sha256);

    /// <summary>What there is, for who looks whether all of it has an owner.</summary>
    [Alias("Inventory")]
    Task<HostInventory> Inventory();

    /// <summary>A sweep in a moment: layers have just lost a reference. Where the store is the library's, that is swept.</summary>
    [Alias("SweepSoon"), OneWay]
    Task SweepSoon();

    /// <summary>Ends a machine that no record places on this host, with its process and its run folder. The sweep deletes its layers.</summary>
    /// <exception cref="FaultException">virtual-machine-known: its record places it here. hypervisor-failed.</exception>
    [Alias("RemoveOrphan"), ResponseTimeout("00:02:00")]
    Task RemoveOrphan(VirtualMachineId machine, IReadOnlyList<LayerId> ownLayers);

    /// <summary>Sweeps now: layers go that are unreferenced and that no machine on this host uses.</summary>
    [Alias("RemoveLayers"), ResponseTimeout("00:02:00")]
    Task RemoveLayers(IReadOnlyList<LayerId> layers);

    /// <summary>Begins to make the records of this host's machines again, in the background: appliance, virtual machine and deployment, from the host's own files. While one runs,
    /// returns that one. The host belongs to the database from then on, unless a machine is left out.</summary>
    /// <param name="dryRun">Only look.</param>
    /// <exception cref="FaultException">library-unknown: the library's records come first; recovery-running.</exception>
    [Alias("Adopt")]
    Task<HostRecovery> Adopt(bool dryRun);

    /// <summary>Begins to remove the machines that no record places on this host, in the background, as <see cref="Adopt"/> does. Their layers go with the next sweep.</summary>
    /// <param name="dryRun">Only look.</param>
    /// <param name="machines">The machines that the operator has seen and gives up. Others that no record places here are left out.</param>
    /// <exception cref="FaultException">recovery-running.</exception>
    [Alias("Discard")]
    Task<HostRecovery> Discard(bool dryRun, IReadOnlyList<VirtualMachineId> machines);

    /// <exception cref="FaultException">recovery-not-found.</exception>
    [Alias("GetRecovery")]
    Task<HostRecovery> GetRecovery();

    /// <summary>Keeps the records of a machine that have changed since its deployment. Does nothing if the machine is there by another deployment.</summary>
    [Alias("Describe")]
    Task Describe(VirtualMachineId machine, OperationId deployment, MachineOrigin origin);

    /// <summary>Makes the writable tops and starts the machine.</summary>
    /// <exception cref="FaultException">host-unknown-to-database; layer-missing; no-space; hypervisor-failed; virtual-machine-on-host if it is there by another deployment that is its present one.</exception>
    [Alias("Deploy"), ResponseTimeout("00:02:00")]
    Task<MachineObservation> Deploy(MachineSpec spec, CancellationToken cancellationToken);

    /// <summary>Ends the machine, and deletes its run folder. A machine that is there by another deployment is left alone. Its layers stay: the sweep deletes those that
    /// have lost their last reference, soon after the machine's record is written (<see cref="SweepSoon"/>).</summary>
    /// <param name="ownLayers">What releases before expected to be deleted here.</param>
    [Alias("Undeploy"), ResponseTimeout("00:02:00")]
    Task Undeploy(VirtualMachineId machine, OperationId deployment, IReadOnlyList<LayerId> ownLayers);

    /// <summary>The machine as it is, or null if it is not on this host.</summary>
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

    /// <summary>Undoes <see cref="PrepareNextLayers"/>, where the layers were not sealed.</summary>
    [Alias("DiscardNextLayers")]
    Task DiscardNextLayers(OperationId operation, IReadOnlyList<VirtualMachineId> machines);

    /// <summary>Capture: freezes file systems or shuts guests down, each within its bound. Undone by <see cref="Unquiesce"/>.</summary>
    [Alias("Quiesce"), ResponseTimeout("00:02:00")]
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

    /// <summary>Capture: makes the sealed layers durable and read-only. Needs no undo: nobody writes to them any more.</summary>
    [Alias("MakeDurable"), ResponseTimeout("00:10:00")]
    Task MakeDurable(OperationId operation, IReadOnlyList<LayerId> layers);

    /// <summary>Called by the machine, while no capture has it: puts a disk's writable top over a merged layer of the same content.</summary>
    /// <returns>The machine with its new chain; null if a capture holds it, or no disk has the chain that was merged.</returns>
    [Alias("ReplaceLayers"), ResponseTimeout("00:01:00")]
    Task<MachineObservation?> ReplaceLayers(VirtualMachineId machine, LayerMerge merge);

    /// <summary>The capture is over for these machines: they are held no longer.</summary>
    [Alias("EndCapture")]
    Task EndCapture(OperationId operation, IReadOnlyList<VirtualMachineId> machines);
}

/// <param name="Layers">The next layer of each disk, in the order of the disks.</param>
[GenerateSerializer, Immutable, Alias("instances.NextLayers")]
public sealed record NextLayers([property: Id(0)] VirtualMachineId Machine, [property: Id(1)] IReadOnlyList<LayerId> Layers);

/// <param name="Detail">Why the consistency is not what was asked for, or what else there is to know of it; null if there is nothing.</param>
[GenerateSerializer, Immutable, Alias("instances.QuiesceOutcome")]
public sealed record QuiesceOutcome(
    [property: Id(0)] VirtualMachineId Machine,
    [property: Id(1)] ConsistencyLevel Consistency,
    [property: Id(2)] string? Detail);

/// <summary>When a machine was told to pause, or was sealed.</summary>
/// <remarks>A class, so that what awaits it is compiled code that earlier calls share: compiling it anew would lengthen the first consistency window.</remarks>
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

    /// <summary>It cannot be reached: what runs on it is not known, and it takes no machines.</summary>
    Away,

    /// <summary>Its data belongs to another database. Its machines keep running, nothing is removed, and it takes no machines until the operator adopts or discards them.</summary>
    Blocked,
}

/// <param name="Hypervisor">The driver and its version, such as <c>QEMU 7.2.22</c>.</param>
/// <param name="Accelerator"><c>kvm</c>, <c>tcg</c>, or <c>simulated</c>.</param>
/// <param name="Cpus">Processors of the host.</param>
/// <param name="MemoryBytes">Memory for machines in all.</param>
/// <param name="FreeMemoryBytes">Memory that no machine has been given, in whatever power state it is; 0 while the host is Away.</param>
/// <param name="FreeDiskBytes">Space for layers: what is free in the layer store's file system, without what is left free for the machines' changes; 0 while the host is Away.</param>
/// <param name="VirtualMachines">How many there are; while the host is Away, how many should be there.</param>
/// <param name="CpuCapacity">Virtual CPUs for machines in all: the processors times the overcommitment.</param>
/// <param name="Problem">What the operator has to decide, and how; null if nothing waits for that.</param>
/// <param name="Store">The identity of its layer store. The library's has the same where the host uses the library's folder.</param>
/// <param name="FreeCpus">Virtual CPUs that no machine has been given; 0 while the host is Away.</param>
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
/// <param name="Lacking">The layers, of those that were asked about, that are not on the host.</param>
/// <param name="MachineOverheadBytes">Memory that the host needs for each machine besides the machine's own.</param>
/// <param name="TakenPorts">The host ports of its machines, and those of the silo itself.</param>
[GenerateSerializer, Immutable, Alias("instances.HostCapacity")]
public sealed record HostCapacity(
    [property: Id(0)] HostView View,
    [property: Id(1)] IReadOnlyList<VirtualMachineId> Machines,
    [property: Id(2)] IReadOnlyList<LayerId> Lacking,
    [property: Id(3)] long MachineOverheadBytes = 0,
    [property: Id(4)] IReadOnlyList<HostPort>? TakenPorts = null);
