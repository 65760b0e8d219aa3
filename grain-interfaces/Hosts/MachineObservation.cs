using Instances.Appliances;
using Instances.Operations;
using Instances.VirtualMachines;

namespace Instances.Hosts;

/// <summary>A machine as its host sees it.</summary>
/// <param name="Status">Running, Paused or Stopped.</param>
/// <param name="Disks">The chains that are in use, as the hypervisor itself reports them.</param>
/// <param name="PortForwards">With the host ports that are in use.</param>
/// <param name="Hold">The capture that holds it paused or frozen, or null.</param>
[GenerateSerializer, Immutable, Alias("instances.MachineObservation")]
public sealed record MachineObservation(
    [property: Id(0)] VirtualMachineId Id,
    [property: Id(1)] ApplianceId Appliance,
    [property: Id(2)] VirtualMachineStatus Status,
    [property: Id(3)] IReadOnlyList<DiskChain> Disks,
    [property: Id(4)] IReadOnlyList<PortForward> PortForwards,
    [property: Id(5)] long MemoryBytes,
    [property: Id(7)] int Cpus,
    [property: Id(6)] CaptureHold? Hold = null);

/// <summary>A machine is part of a capture: it has next layers, and may be frozen, shut down or paused for it.</summary>
[GenerateSerializer, Immutable, Alias("instances.CaptureHold")]
public sealed record CaptureHold(
    [property: Id(0)] OperationId Operation,
    [property: Id(1)] DateTimeOffset Since);
