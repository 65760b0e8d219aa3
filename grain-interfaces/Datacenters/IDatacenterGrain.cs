using Instances.Faults;
using Instances.Hosts;
using Instances.VirtualMachines;

namespace Instances.Datacenters;

/// <summary>The hosts of a datacenter, and where machines are placed. Keyed by <see cref="Key"/>.</summary>
[Alias("instances.IDatacenterGrain")]
public interface IDatacenterGrain : IGrainWithStringKey
{
    const string Key = "default";

    /// <summary>Called by a host's silo when it starts. Durable and idempotent.</summary>
    [Alias("Register")]
    Task Register(HostId host);

    /// <summary>Every registered host that can be reached.</summary>
    [Alias("Hosts")]
    Task<IReadOnlyList<HostView>> Hosts();

    /// <summary>Chooses a host for each machine, all in one call. Machines that the hosts cannot hold are refused with the numbers.</summary>
    /// <exception cref="FaultException">no-capacity.</exception>
    [Alias("Place")]
    Task<IReadOnlyList<Placement>> Place(IReadOnlyList<PlacementRequest> machines);
}

[GenerateSerializer, Immutable, Alias("instances.PlacementRequest")]
public sealed record PlacementRequest([property: Id(0)] VirtualMachineId Machine, [property: Id(1)] int Cpus, [property: Id(2)] long MemoryBytes);

[GenerateSerializer, Immutable, Alias("instances.Placement")]
public sealed record Placement([property: Id(0)] VirtualMachineId Machine, [property: Id(1)] HostId Host);
