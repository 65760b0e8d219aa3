using Instances.Appliances;
using Instances.Operations;
using Instances.VirtualMachines;

namespace Instances.Hosts;

/// <summary>Everything that a host needs to run a machine, even after a restart of the host's silo.</summary>
/// <param name="Deployment">The operation that deployed it: a machine that is deployed again gets new layers and a new run folder.</param>
/// <param name="Name">The guest's host name.</param>
/// <param name="Origin">Null if an earlier release started the machine.</param>
/// <param name="Disks">The boot disk first. The last layer of each chain is the writable top, which the host makes.</param>
/// <param name="InstanceId">The guest's identity (the NoCloud <c>instance-id</c>); null in files and messages of earlier releases.</param>
/// <param name="MachineType">The versioned machine type of QEMU, such as <c>pc-q35-7.2</c>, which the host chooses when the machine is deployed. Null for a machine that an earlier release
/// deployed: it keeps the unversioned type and QEMU's own choice of PCI addresses until it is deployed again.</param>
[GenerateSerializer, Immutable, Alias("instances.MachineSpec")]
public sealed record MachineSpec(
    [property: Id(0)] VirtualMachineId Id,
    [property: Id(1)] ApplianceId Appliance,
    [property: Id(2)] OperationId Deployment,
    [property: Id(3)] string Name,
    [property: Id(4)] int Cpus,
    [property: Id(5)] long MemoryBytes,
    [property: Id(6)] IReadOnlyList<DiskChain> Disks,
    [property: Id(7)] IReadOnlyList<PortForward> PortForwards,
    [property: Id(8)] IReadOnlyList<string> SshAuthorizedKeys,
    [property: Id(9)] string? UserData,
    [property: Id(10)] string? InstanceId = null,
    [property: Id(11)] string? MachineType = null,
    [property: Id(12)] MachineOrigin? Origin = null,
    [property: Id(13)] string? UserDataBase64 = null);
