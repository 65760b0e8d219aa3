using Instances.Appliances;
using Instances.Operations;
using Instances.VirtualMachines;

namespace Instances.Hosts;

/// <summary>A machine as its host sees it.</summary>
/// <param name="Status">Running, Paused or Stopped.</param>
/// <param name="Disks">The chains that are in use, as the hypervisor itself reports them.</param>
/// <param name="PortForwards">With the host ports that are in use.</param>
/// <param name="Hold">The capture that holds it paused or frozen, or null.</param>
/// <param name="Deployment">The operation that deployed it.</param>
/// <param name="StopReason">Why it is Stopped; null if it is not Stopped, or if the reason is not known.</param>
/// <param name="Trouble">A problem that its host does not repair, in a sentence for users; null if there is none.</param>
/// <param name="AwaitsDisk">QEMU has paused it because of an error of the host's disk that may pass: it can be resumed.</param>
/// <param name="Hint">What its console shows about a guest that does not boot, in a sentence for users; null otherwise.</param>
[GenerateSerializer, Immutable, Alias("instances.MachineObservation")]
public sealed record MachineObservation(
    [property: Id(0)] VirtualMachineId Id,
    [property: Id(1)] ApplianceId Appliance,
    [property: Id(2)] VirtualMachineStatus Status,
    [property: Id(3)] IReadOnlyList<DiskChain> Disks,
    [property: Id(4)] IReadOnlyList<PortForward> PortForwards,
    [property: Id(5)] long MemoryBytes,
    [property: Id(7)] int Cpus,
    [property: Id(6)] CaptureHold? Hold,
    [property: Id(8)] OperationId Deployment,
    [property: Id(9)] StopReason? StopReason = null,
    [property: Id(10)] string? Trouble = null,
    [property: Id(11)] bool AwaitsDisk = false,
    [property: Id(12)] string? Hint = null);

/// <summary>Why a machine is stopped.</summary>
public enum StopReason
{
    /// <summary>Its guest shut down.</summary>
    Guest,

    /// <summary>It was powered off on request.</summary>
    Power,

    /// <summary>It ended without a request, or its host was restarted.</summary>
    Died,
}

/// <summary>A machine is part of a capture: it has next layers, and may be frozen, shut down or paused for it.</summary>
/// <param name="LongestStallMs">Milliseconds of the longest time so far in which the capture kept the guest from running; null if its host does not measure it.</param>
/// <param name="ThawFailure">Why the guest agent did not thaw the guest's file systems; null if it did, or was not asked to.</param>
[GenerateSerializer, Immutable, Alias("instances.CaptureHold")]
public sealed record CaptureHold(
    [property: Id(0)] OperationId Operation,
    [property: Id(1)] DateTimeOffset Since,
    [property: Id(2)] double? LongestStallMs = null,
    [property: Id(3)] string? ThawFailure = null);
