using System.Text.Json.Serialization;
using Instances.Appliances;
using Instances.Catalogue;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.Storage;
using Instances.VirtualMachines;

namespace Instances.Datacenters;

internal sealed record DatacenterState : IStoredState
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData]
    public UnknownMembers? Unknown { get; init; }

    /// <summary>Schema 1 had only names of hosts. Hosts register again when their silos start.</summary>
    public int Schema { get; init; } = 2;

    public IReadOnlyList<RegisteredHost> RegisteredHosts { get; init; } = [];

    public IReadOnlyList<Reservation> Reservations { get; init; } = [];

    public CatalogueEntry? Catalogue => null;
}

/// <summary>What is known of a host, even while it is unreachable.</summary>
internal sealed record RegisteredHost(HostId Id, string Hypervisor, string Accelerator, int Cpus, int CpuCapacity, long MemoryBytes, bool Maintenance = false, string? Store = null)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData]
    public UnknownMembers? Unknown { get; init; }

    public static RegisteredHost Of(HostView view, bool maintenance) =>
        new(view.Id, view.Hypervisor, view.Accelerator, view.Cpus, view.CpuCapacity, view.MemoryBytes, maintenance, view.Store);

    public HostView Away(int virtualMachines) => new(
        Id, Hypervisor, Accelerator, Cpus, MemoryBytes, FreeMemoryBytes: 0, FreeDiskBytes: 0, virtualMachines, CpuCapacity, FreeCpus: 0, HostStatus.Away, Store: Store);
}

/// <summary>A reservation of an operation on a host, until the host counts the machines itself.</summary>
/// <param name="Layers">The layers that the host lacked.</param>
internal sealed record Reservation(
    OperationId Operation, ApplianceId Appliance, HostId Host, IReadOnlyList<ReservedMachine> Machines, IReadOnlyList<LayerNeed> Layers)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData]
    public UnknownMembers? Unknown { get; init; }
}

internal sealed record ReservedMachine(VirtualMachineId Id, int Cpus, long MemoryBytes, IReadOnlyList<HostPort>? HostPorts = null)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData]
    public UnknownMembers? Unknown { get; init; }
}
