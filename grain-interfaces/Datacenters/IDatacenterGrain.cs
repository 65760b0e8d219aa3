using System.Text.Json.Serialization;
using Instances.Appliances;
using Instances.Faults;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;
using Orleans.Concurrency;

namespace Instances.Datacenters;

/// <summary>The hosts of a datacenter, and where machines are placed. Keyed by <see cref="Key"/>.</summary>
/// <remarks>A host that does not answer within <see cref="HostBound"/> is Away: calls do not wait for it any longer.</remarks>
[Alias("instances.IDatacenterGrain")]
public interface IDatacenterGrain : IGrainWithStringKey
{
    const string Key = "default";

    /// <summary>How long a host may take to say what it has.</summary>
    static readonly TimeSpan HostBound = TimeSpan.FromSeconds(3);

    /// <summary>Called by a host's silo when it starts, with the capacity that is shown while the host is unreachable. Durable and idempotent: maintenance stays as it was set.</summary>
    [Alias("Register")]
    Task Register(HostView host);

    /// <summary>Every registered host, by name. Reservations are already subtracted from the free capacity.</summary>
    /// <remarks>Interleaves with longer calls: the state is immutable and replaced as a whole, so that a reader sees one version of it.</remarks>
    [Alias("Hosts"), AlwaysInterleave]
    Task<IReadOnlyList<HostView>> Hosts();

    /// <exception cref="FaultException">host-not-found.</exception>
    /// <remarks>Interleaves, as <see cref="Hosts"/> does.</remarks>
    [Alias("Host"), AlwaysInterleave]
    Task<HostView> Host(HostId host);

    /// <summary>In maintenance a host takes no new machines; its machines keep running. Durable, idempotent, and allowed while the host is unreachable.</summary>
    /// <exception cref="FaultException">host-not-found.</exception>
    [Alias("SetMaintenance")]
    Task<HostView> SetMaintenance(HostId host, bool maintenance);

    /// <summary>Forgets a host that is Away and has no machines. A library whose folder it used stops asking it which layers it uses. It is registered again when its silo starts.</summary>
    /// <exception cref="FaultException">host-not-found; host-not-away; host-has-machines.</exception>
    [Alias("Forget")]
    Task Forget(HostId host);

    /// <summary>Chooses a host for each machine of an operation, all in one call, and reserves their resources. Idempotent by operation: machines that have their
    /// reservation keep their host. The reservations last until <see cref="Release"/>, or until the operation has ended and the next call sees it.</summary>
    /// <exception cref="FaultException">no-capacity, naming the demand, and what each host has.</exception>
    [Alias("Place"), ResponseTimeout("00:01:00")]
    Task<IReadOnlyList<Placement>> Place(OperationId operation, ApplianceId appliance, IReadOnlyList<PlacementRequest> machines);

    /// <summary>Called when the operation's machines are on their hosts, which then count them, and when the operation is undone. Idempotent.</summary>
    [Alias("Release"), ResponseTimeout("00:01:00")]
    Task Release(OperationId operation);

    /// <summary>The reservations, one for each operation and host.</summary>
    /// <remarks>Interleaves, as <see cref="Hosts"/> does.</remarks>
    [Alias("Reservations"), AlwaysInterleave]
    Task<IReadOnlyList<ReservationView>> Reservations();
}

/// <param name="VirtualMachines">The number of machines.</param>
[GenerateSerializer, Immutable, Alias("instances.ReservationView")]
public sealed record ReservationView(
    [property: Id(0)] OperationId Operation,
    [property: Id(1)] ApplianceId Appliance,
    [property: Id(2)] HostId Host,
    [property: Id(3)] int VirtualMachines);

/// <param name="Layers">The layers of its image: a host fetches those that it lacks. Writable tops are thin and need no space up front.</param>
/// <param name="HostPorts">The requested host ports. Two machines with the same host port go to different hosts.</param>
/// <param name="Name">For messages.</param>
[GenerateSerializer, Immutable, Alias("instances.PlacementRequest")]
public sealed record PlacementRequest(
    [property: Id(0)] VirtualMachineId Machine,
    [property: Id(1)] int Cpus,
    [property: Id(2)] long MemoryBytes,
    [property: Id(3)] IReadOnlyList<LayerNeed> Layers,
    [property: Id(4)] IReadOnlyList<HostPort>? HostPorts = null,
    [property: Id(5)] string? Name = null);

/// <param name="Bytes">Space that the layer takes where it is fetched to.</param>
[GenerateSerializer, Immutable, Alias("instances.LayerNeed")]
public sealed record LayerNeed([property: Id(0)] LayerId Layer, [property: Id(1)] long Bytes)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData, Id(UnknownMembers.Id)]
    public UnknownMembers? Unknown { get; init; }
}

[GenerateSerializer, Immutable, Alias("instances.Placement")]
public sealed record Placement([property: Id(0)] VirtualMachineId Machine, [property: Id(1)] HostId Host);
