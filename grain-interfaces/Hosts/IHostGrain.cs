using Instances.Appliances;
using Instances.Faults;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;

namespace Instances.Hosts;

/// <summary>What runs on one host. Keyed by the host's name; lives in that host's silo. Every call is idempotent.</summary>
/// <remarks>The calls of a capture take all of its machines on this host at once: one message between a barrier and the next.</remarks>
[Alias("instances.IHostGrain")]
public interface IHostGrain : IGrainWithStringKey
{
    /// <summary>Called when the silo starts: adopts the machines that run, tells each its status, removes what belongs to nobody, and tells those that should be
    /// there and are not.</summary>
    [Alias("Start")]
    Task<HostView> Start();

    [Alias("Get")]
    Task<HostView> Get();

    /// <summary>Makes the writable tops and starts the machine.</summary>
    /// <exception cref="FaultException">layer-missing; no-space; hypervisor-failed; virtual-machine-on-host where it is there by another deployment that is its present one.</exception>
    [Alias("Deploy"), ResponseTimeout("00:02:00")]
    Task<MachineObservation> Deploy(MachineSpec spec, CancellationToken cancellationToken);

    /// <summary>Ends the machine, and deletes its run folder and the layers that are its alone. A machine that is there by another deployment is left alone.</summary>
    [Alias("Undeploy"), ResponseTimeout("00:02:00")]
    Task Undeploy(VirtualMachineId machine, OperationId deployment, IReadOnlyList<LayerId> ownLayers);

    /// <summary>The machine as it is, or null where it is not on this host.</summary>
    [Alias("Observe")]
    Task<MachineObservation?> Observe(VirtualMachineId machine);

    /// <exception cref="FaultException">virtual-machine-not-on-host; power-conflict; hypervisor-failed.</exception>
    [Alias("Power")]
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

    /// <summary>Capture: makes the sealed layers durable and read-only, then writes the manifests.</summary>
    /// <returns>The manifests, with the sizes of the layers filled in.</returns>
    [Alias("Publish"), ResponseTimeout("00:10:00")]
    Task<IReadOnlyList<ImageManifest>> Publish(OperationId operation, IReadOnlyList<ImageManifest> manifests);

    /// <summary>Undoes <see cref="Publish"/>: the manifests go, the layers stay while machines use them.</summary>
    [Alias("Unpublish")]
    Task Unpublish(OperationId operation, IReadOnlyList<ImageId> images);

    /// <summary>The capture is over for these machines: they are held no longer.</summary>
    [Alias("EndCapture")]
    Task EndCapture(OperationId operation, IReadOnlyList<VirtualMachineId> machines);
}

/// <param name="Layers">The next layer of each disk, in the order of the disks.</param>
[GenerateSerializer, Immutable, Alias("instances.NextLayers")]
public sealed record NextLayers([property: Id(0)] VirtualMachineId Machine, [property: Id(1)] IReadOnlyList<LayerId> Layers);

/// <param name="Detail">Why the consistency is not what was asked for; null where it is.</param>
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

/// <param name="Hypervisor">The driver and its version, such as <c>QEMU 7.2.22</c>.</param>
/// <param name="Accelerator"><c>kvm</c>, <c>tcg</c>, or <c>simulated</c>.</param>
/// <param name="MemoryBytes">Memory for machines in all.</param>
/// <param name="FreeMemoryBytes">Memory that no deployed machine has been given.</param>
/// <param name="FreeDiskBytes">Free space in the layer store's file system.</param>
[GenerateSerializer, Immutable, Alias("instances.HostView")]
public sealed record HostView(
    [property: Id(0)] HostId Id,
    [property: Id(1)] string Hypervisor,
    [property: Id(2)] string Accelerator,
    [property: Id(3)] int Cpus,
    [property: Id(4)] long MemoryBytes,
    [property: Id(5)] long FreeMemoryBytes,
    [property: Id(6)] long FreeDiskBytes,
    [property: Id(7)] int VirtualMachines);
