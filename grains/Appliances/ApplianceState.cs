using System.Text.Json;
using System.Text.Json.Serialization;
using Instances.Catalogue;
using Instances.Enterprises;
using Instances.Faults;
using Instances.Library;
using Instances.Operations;
using Instances.Sagas;
using Instances.Storage;
using Instances.VirtualMachines;

namespace Instances.Appliances;

internal sealed record ApplianceState : IStoredState
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData]
    public UnknownMembers? Unknown { get; init; }

    public int Schema { get; init; } = 1;

    public string Name { get; init; } = "";

    public string? Description { get; init; }

    /// <summary>The retention rule for instances that are captured from it.</summary>
    public RetentionRule? Retention { get; init; }

    public EnterpriseId Enterprise { get; init; }

    /// <summary>Incremented by each change of the members that users can change.</summary>
    public long Version { get; init; } = 1;

    public ApplianceStatus Status { get; init; }

    public IReadOnlyList<ApplianceMember> VirtualMachines { get; init; } = [];

    public DateTimeOffset CreatedAt { get; init; }

    /// <summary>The running operation; null when Deployed or Undeployed.</summary>
    public RunningOperation? Operation { get; init; }

    /// <summary>The outcome of the newest operation, in case its record did not get it.</summary>
    public EndedOperation? Ended { get; init; }

    public CatalogueEntry? Catalogue { get; init; }

    public ApplianceView ToView(ApplianceId id) =>
        new(id, Name, Description, Status, Operation?.Id, [.. VirtualMachines.Select(member => member.Id)], CreatedAt, Retention) { Enterprise = Enterprise, Version = Version };

    public ApplianceState WithCatalogue(ApplianceId id) => this with
    {
        Catalogue = new(
            CatalogueEntry.Appliance, id.Value, Name, JsonNamingPolicy.CamelCase.ConvertName(Status.ToString()), Owner: null, Image: null, Machine: null,
            CreatedAt, Layers: [], JsonSerializer.SerializeToElement(ToView(id), InstancesJson.Options), Enterprise: Enterprise.Value,
            Planned: Operation?.Capture is { } capture ? [.. capture.Instances.Select(instance => instance.Image)] : null, VirtualBytes: Operation?.Capture?.VirtualBytes)
        {
            Unknown = Catalogue?.Unknown,
        },
    };
}

/// <summary>A machine of the appliance.</summary>
/// <param name="HostPorts">The requested host ports; null if an earlier release added the machine.</param>
internal sealed record ApplianceMember(VirtualMachineId Id, string Name, IReadOnlyList<HostPort>? HostPorts = null)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData]
    public UnknownMembers? Unknown { get; init; }
}

/// <summary>An operation from its acceptance to its end: enough to resume it after a crash.</summary>
/// <param name="RestStatus">The status of the appliance after the operation was undone.</param>
/// <param name="Targets">The machines that it acts on.</param>
/// <param name="Failure">Why it is being undone.</param>
/// <param name="Capture">Create instance: the plan, with all ids chosen in advance.</param>
/// <param name="Committed">Create instance: the result, from the commit point on.</param>
/// <param name="AskedForced">An undeployment that was requested with force.</param>
/// <param name="Forced">It does not wait for unreachable hosts.</param>
internal sealed record RunningOperation(
    OperationId Id,
    OperationKind Kind,
    SagaPhase Phase,
    DateTimeOffset StartedAt,
    ApplianceStatus RestStatus,
    IReadOnlyList<ApplianceMember> Targets,
    SagaFailure? Failure = null,
    CapturePlan? Capture = null,
    CommittedCapture? Committed = null,
    bool AskedForced = false,
    bool Forced = false)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData]
    public UnknownMembers? Unknown { get; init; }

    public OperationStart ToStart(ApplianceId appliance, IReadOnlyList<string> steps) =>
        new(Kind, appliance, Image: null, steps, [.. Targets.Select(target => new VirtualMachineProgress(target.Id, target.Name, "waiting"))], StartedAt, Capture?.Command, AskedForced);
}

/// <param name="VirtualBytes">The sizes of all disks that are captured.</param>
internal sealed record CapturePlan(CreateInstanceCommand Command, IReadOnlyList<PlannedInstance> Instances, long? VirtualBytes = null)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData]
    public UnknownMembers? Unknown { get; init; }
}

/// <summary>An image that a capture makes.</summary>
/// <param name="Master">The master that it belongs to.</param>
/// <param name="Parent">The image that the machine was deployed from.</param>
/// <param name="NextLayers">The next writable layer of each disk.</param>
internal sealed record PlannedInstance(
    VirtualMachineId Machine,
    string MachineName,
    ImageId Image,
    string ImageName,
    ImageId Master,
    ImageId Parent,
    IReadOnlyList<LayerId> NextLayers)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData]
    public UnknownMembers? Unknown { get; init; }
}

/// <param name="Manifests">The new images.</param>
/// <param name="Previous">The images that were captured earlier from the chosen machines: an update retires them.</param>
internal sealed record CommittedCapture(
    IReadOnlyList<ImageManifest> Manifests,
    double ConsistencyWindowMs,
    long DiskBytesWritten,
    IReadOnlyList<ImageId> Previous,
    long BytesMoved = 0)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData]
    public UnknownMembers? Unknown { get; init; }
}

internal sealed record EndedOperation(OperationId Id, OperationOutcome Outcome)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData]
    public UnknownMembers? Unknown { get; init; }
}
