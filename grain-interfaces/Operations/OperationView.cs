using System.Text.Json.Serialization;
using Instances.Appliances;
using Instances.Faults;
using Instances.Library;
using Instances.VirtualMachines;

namespace Instances.Operations;

public enum OperationKind
{
    Deploy,
    Undeploy,
    CreateInstance,
    Import,

    /// <summary>A slave becomes a master of its own.</summary>
    Promote,
}

public enum OperationStatus
{
    /// <summary>Its steps run.</summary>
    Running,

    /// <summary>It failed or was cancelled, and its steps are being undone.</summary>
    Unwinding,

    Succeeded,

    /// <summary>It was undone: its appliance or image is as before.</summary>
    Failed,

    /// <summary>It was undone on request.</summary>
    Cancelled,

    /// <summary>A step that cannot be skipped keeps failing. It is retried automatically; the fault says why it fails.</summary>
    Stuck,
}

public enum StepStatus
{
    Waiting,
    Running,
    Done,
    Failed,
    Undone,
}

/// <summary>One step of an operation.</summary>
/// <param name="Bytes">Bytes that the step has moved so far; null if it moves none.</param>
/// <param name="TotalBytes">Total bytes that it moves; null if that is not known.</param>
/// <param name="Problem">Why the last attempt failed, while the step or its undo is repeated; null otherwise.</param>
[GenerateSerializer, Immutable, Alias("instances.StepView")]
public sealed record StepView(
    [property: Id(0)] string Name,
    [property: Id(1)] StepStatus Status,
    [property: Id(2)] DateTimeOffset? StartedAt = null,
    [property: Id(3)] DateTimeOffset? FinishedAt = null,
    [property: Id(4)] long? Bytes = null,
    [property: Id(5)] long? TotalBytes = null,
    [property: Id(6)] string? Problem = null)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData, Id(UnknownMembers.Id)]
    public UnknownMembers? Unknown { get; init; }
}

/// <summary>The progress of one virtual machine in an operation.</summary>
/// <param name="Activity">The current activity in words for users, such as <c>pausing</c>.</param>
/// <param name="Bytes">Bytes of its disks that were moved so far; 0 if nothing needs to be moved.</param>
[GenerateSerializer, Immutable, Alias("instances.VirtualMachineProgress")]
public sealed record VirtualMachineProgress(
    [property: Id(0)] VirtualMachineId Id,
    [property: Id(1)] string Name,
    [property: Id(2)] string Activity,
    [property: Id(3)] long Bytes = 0)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData, Id(UnknownMembers.Id)]
    public UnknownMembers? Unknown { get; init; }
}

/// <summary>A long-running request. Every version is complete: a reader of the newest version has missed nothing.</summary>
/// <param name="Appliance">The appliance that it acts on; null for an import.</param>
/// <param name="Image">The image that an import makes; null otherwise.</param>
/// <param name="Step">The name of the step that runs, or null before the first and after the last.</param>
/// <param name="Version">Changes with every change of the operation. It grows, unless a silo whose clock is behind takes over the operation. It is the id of the server-sent event.</param>
/// <param name="Cancellable">True until the commit point.</param>
/// <param name="Fault">Why it failed, was cancelled or is stuck.</param>
/// <param name="Result">The result; null until it has succeeded.</param>
/// <param name="Command">The request, if the kind of the operation has options.</param>
/// <param name="Forced">A forced undeployment: it does not wait for unreachable hosts.</param>
[GenerateSerializer, Immutable, Alias("instances.OperationView")]
public sealed record OperationView(
    [property: Id(0)] OperationId Id,
    [property: Id(1)] OperationKind Kind,
    [property: Id(2)] OperationStatus Status,
    [property: Id(3)] ApplianceId? Appliance,
    [property: Id(4)] ImageId? Image,
    [property: Id(5)] string? Step,
    [property: Id(6)] IReadOnlyList<StepView> Steps,
    [property: Id(7)] IReadOnlyList<VirtualMachineProgress> VirtualMachines,
    [property: Id(8)] DateTimeOffset StartedAt,
    [property: Id(9)] DateTimeOffset? FinishedAt,
    [property: Id(10)] long Version,
    [property: Id(11)] bool Cancellable,
    [property: Id(12)] Fault? Fault,
    [property: Id(13)] OperationResult? Result,
    [property: Id(14)] CreateInstanceCommand? Command = null,
    [property: Id(15)] bool Forced = false)
{
    public bool IsFinished => Status is OperationStatus.Succeeded or OperationStatus.Failed or OperationStatus.Cancelled;
}

/// <summary>The result of a successful operation. Members that do not apply to its kind are null.</summary>
/// <param name="Instances">Create instance: the slave images, one for each chosen virtual machine.</param>
/// <param name="ConsistencyWindowMs">Create instance: milliseconds between the first pause and the last seal.</param>
/// <param name="DiskBytesWritten">Create instance: bytes that the capture itself wrote to disks, for all machines: new empty layers and their metadata.</param>
/// <param name="Retired">Create instance with update: the previous versions that were retired.</param>
/// <param name="Kept">Create instance with update: the previous versions that were kept, each with the reason.</param>
/// <param name="LongestStallMs">Create instance: milliseconds of the longest time in which the capture kept one of its guests from running. The pause is included if the guests ran again after it. Null if
/// it was not measured.</param>
/// <param name="BytesMoved">Create instance: bytes of layers that were moved to the library; 0 if it is the hosts' store, or has the layers by link or clone.</param>
[GenerateSerializer, Immutable, Alias("instances.OperationResult")]
public sealed record OperationResult(
    [property: Id(0)] IReadOnlyList<CapturedInstance>? Instances = null,
    [property: Id(1)] double? ConsistencyWindowMs = null,
    [property: Id(2)] long? DiskBytesWritten = null,
    [property: Id(3)] IReadOnlyList<ImageId>? Retired = null,
    [property: Id(4)] IReadOnlyList<KeptImage>? Kept = null,
    [property: Id(5)] long? BytesMoved = null,
    [property: Id(6)] double? LongestStallMs = null)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData, Id(UnknownMembers.Id)]
    public UnknownMembers? Unknown { get; init; }
}

/// <summary>A virtual machine and the slave image that was captured from it.</summary>
[GenerateSerializer, Immutable, Alias("instances.CapturedInstance")]
public sealed record CapturedInstance(
    [property: Id(0)] VirtualMachineId VirtualMachine,
    [property: Id(1)] ImageId Image,
    [property: Id(2)] string ImageName,
    [property: Id(3)] ConsistencyLevel Consistency)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData, Id(UnknownMembers.Id)]
    public UnknownMembers? Unknown { get; init; }
}

/// <summary>A previous version that an update did not delete.</summary>
[GenerateSerializer, Immutable, Alias("instances.KeptImage")]
public sealed record KeptImage([property: Id(0)] ImageId Image, [property: Id(1)] string Reason)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData, Id(UnknownMembers.Id)]
    public UnknownMembers? Unknown { get; init; }
}
