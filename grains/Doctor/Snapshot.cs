using Instances.Appliances;
using Instances.Datacenters;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;
using Orleans.Runtime;

namespace Instances.Doctor;

/// <summary>The datacenter at one moment. Files were read before the references to them, as in a sweep: a reference is durable before its file is created.</summary>
/// <param name="Inventories">The inventories of the hosts that answered.</param>
/// <param name="Library">Null if the library did not answer.</param>
/// <param name="Reminders">Those of appliances and images.</param>
/// <param name="Machines">Records of machines that are deployed.</param>
/// <param name="Images">Records of images that are Ready or Retired.</param>
/// <param name="KnownImages">Every image that has a record.</param>
/// <param name="Importing">Images that are being imported.</param>
/// <param name="Referenced">Every layer that a record refers to.</param>
/// <param name="Appliances">Records of appliances that are neither Deployed nor Undeployed.</param>
/// <param name="Operations">Operations that have not ended.</param>
/// <param name="ReminderOwners">The appliances and images that run an operation, as reminders name them.</param>
/// <param name="FailedOperations">The failed operations of manifests without a record.</param>
internal sealed record Snapshot(
    IReadOnlyList<HostView> Hosts,
    IReadOnlyDictionary<HostId, HostInventory> Inventories,
    LibraryInventory? Library,
    IReadOnlyList<ReservationView> Reservations,
    IReadOnlyList<ReminderEntry> Reminders,
    IReadOnlyList<VirtualMachineView> Machines,
    IReadOnlyList<ImageView> Images,
    IReadOnlySet<ImageId> KnownImages,
    IReadOnlySet<ImageId> Importing,
    IReadOnlySet<LayerId> Referenced,
    IReadOnlyList<ApplianceView> Appliances,
    IReadOnlyDictionary<OperationId, OperationView> Operations,
    IReadOnlySet<GrainId> ReminderOwners,
    IReadOnlySet<OperationId> FailedOperations)
{
    /// <summary>The active silos with the role Host, each with the host's name and its address.</summary>
    public IReadOnlyList<HostSilo> HostSilos { get; init; } = [];

    /// <summary>Whether machines and layers without a record may be removed from a host without the operator.</summary>
    public bool MayRemove(HostId host) => Inventories[host] is { Problem: null, Machines: var machines } && !RemovalRule.IsTooMany(
        machines.Count(machine => !Machines.Any(record => record.Id == machine.Id && record.Host == host)), machines.Count);

    /// <summary>Whether an operation may still need its resources.</summary>
    public bool Runs(OperationId operation) => Operations.ContainsKey(operation) || IsRunByAnAppliance(operation);

    public bool IsRunByAnAppliance(OperationId operation) => Appliances.Any(appliance => appliance.Operation == operation);

    public DoctorCounts Count() => new(
        Hosts.Count, Hosts.Count(host => host.Status is HostStatus.Away), Machines.Count, Inventories.Values.Sum(host => host.Machines.Count),
        Inventories.Values.Sum(host => host.Layers.Count), Library?.Layers.Count ?? 0, Library?.Manifests.Count ?? 0, Images.Count, Appliances.Count, Operations.Count,
        Reservations.Count, Reminders.Count);
}

/// <param name="Address">Its IP address and port.</param>
internal sealed record HostSilo(string Name, string Address);
