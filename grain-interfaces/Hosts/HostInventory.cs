using Instances.Library;
using Instances.VirtualMachines;

namespace Instances.Hosts;

/// <summary>All machines and files of this product on a host.</summary>
/// <param name="Machines">With the chains that they use.</param>
/// <param name="Leftovers">Processes and folders without a machine.</param>
/// <param name="Layers">The layer files in the host's store, partial ones included.</param>
/// <param name="Corrupt">Its copies that are known to be corrupt; null from an older release.</param>
/// <param name="Used">Every layer that a machine or a run folder names. Null from a host of an earlier release, or if a file cannot be read: then any layer may be in use.</param>
/// <param name="Problem">Why nothing is removed from the host until the operator decides; null otherwise.</param>
[GenerateSerializer, Immutable, Alias("instances.HostInventory")]
public sealed record HostInventory(
    [property: Id(0)] IReadOnlyList<MachineObservation> Machines,
    [property: Id(1)] IReadOnlyList<MachineLeftover> Leftovers,
    [property: Id(2)] IReadOnlyList<LayerId> Layers,
    [property: Id(3)] IReadOnlyList<LayerId>? Corrupt = null,
    [property: Id(4)] IReadOnlyList<LayerId>? Used = null,
    [property: Id(5)] string? Problem = null);

/// <summary>The remains of a machine that the hypervisor does not know.</summary>
/// <param name="HasRunFolder">It still has a run folder.</param>
/// <param name="ProcessId">The process that runs it, or null if there is none.</param>
[GenerateSerializer, Immutable, Alias("instances.MachineLeftover")]
public sealed record MachineLeftover(
    [property: Id(0)] VirtualMachineId Machine,
    [property: Id(1)] bool HasRunFolder,
    [property: Id(2)] int? ProcessId);
