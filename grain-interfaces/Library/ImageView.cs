using System.Text.Json.Serialization;
using Instances.Appliances;
using Instances.Enterprises;
using Instances.Operations;
using Instances.VirtualMachines;

namespace Instances.Library;

public enum ImageKind
{
    /// <summary>Imported, or promoted from a slave.</summary>
    Master,

    /// <summary>Captured from a machine: an instance. Belongs to one master.</summary>
    Slave,
}

public enum ImageStatus
{
    /// <summary>Its upload is received, checked and converted.</summary>
    Importing,

    /// <summary>It can be deployed.</summary>
    Ready,

    /// <summary>Deleted by a user, replaced by an update, or retired by a retention rule. It cannot be deployed, and is deleted when the grace period has passed.</summary>
    Retired,

    /// <summary>Its import failed. It has no data and can be deleted.</summary>
    Failed,

    /// <summary>The hash of a layer that it needs has changed. It cannot be deployed until a good copy of the layer is found. Running machines that use it keep running.</summary>
    Corrupt,
}

/// <summary>The consistency of a captured disk.</summary>
public enum ConsistencyLevel
{
    /// <summary>As after a power cut.</summary>
    Crash,

    /// <summary>File systems were frozen through the guest agent.</summary>
    Application,

    /// <summary>The machine was shut down.</summary>
    Offline,
}

/// <summary>One immutable qcow2 file: a base, or the changes over its parent.</summary>
/// <param name="Parent">The parent layer; null for a base.</param>
/// <param name="Bytes">Space that the file takes.</param>
/// <param name="Image">The image that the layer came with; it may be deleted since.</param>
/// <param name="Sha256">Of the file, in lower case hex; null until it was computed.</param>
/// <param name="StandsFor">For a merged layer: the original layer whose disk content it reproduces. Null for other layers, whose content key is their own id.</param>
[GenerateSerializer, Immutable, Alias("instances.LayerManifest")]
public sealed record LayerManifest(
    [property: Id(0)] LayerId Id,
    [property: Id(1)] LayerId? Parent,
    [property: Id(2)] long Bytes,
    [property: Id(3)] ImageId Image,
    [property: Id(4)] string? Sha256 = null,
    [property: Id(5)] LayerId? StandsFor = null)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData, Id(UnknownMembers.Id)]
    public UnknownMembers? Unknown { get; init; }

    /// <summary>Two disks whose tops have the same content key have the same content.</summary>
    [JsonIgnore]
    public LayerId Content => StandsFor ?? Id;
}

/// <param name="Layers">From the base to the top, at least one.</param>
[GenerateSerializer, Immutable, Alias("instances.DiskManifest")]
public sealed record DiskManifest([property: Id(0)] IReadOnlyList<LayerManifest> Layers, [property: Id(1)] long VirtualSizeBytes)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData, Id(UnknownMembers.Id)]
    public UnknownMembers? Unknown { get; init; }

    public DiskChain ToChain() => new([.. Layers.Select(layer => layer.Id)], VirtualSizeBytes);
}

/// <summary>How a slave was created.</summary>
/// <param name="ConsistencyWindowMs">Milliseconds between the first pause and the last seal of its operation.</param>
/// <param name="QuiesceDetail">Why the consistency is not the requested one, or another remark about it; null if there is none.</param>
/// <param name="LongestStallMs">Milliseconds of the longest time in which the capture kept this machine's guest from running. The pause is included if the guest ran again after it. Null if it was not
/// measured.</param>
/// <param name="ThawFailure">Why the guest's file systems were not thawed after the capture; null if they were, or if they were not frozen.</param>
[GenerateSerializer, Immutable, Alias("instances.CaptureFacts")]
public sealed record CaptureFacts(
    [property: Id(0)] OperationId Operation,
    [property: Id(1)] ApplianceId Appliance,
    [property: Id(2)] VirtualMachineId VirtualMachine,
    [property: Id(3)] string VirtualMachineName,
    [property: Id(4)] DateTimeOffset At,
    [property: Id(5)] ConsistencyLevel Consistency,
    [property: Id(6)] double ConsistencyWindowMs,
    [property: Id(7)] string? QuiesceDetail,
    [property: Id(8)] double? LongestStallMs = null,
    [property: Id(9)] string? ThawFailure = null)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData, Id(UnknownMembers.Id)]
    public UnknownMembers? Unknown { get; init; }
}

/// <summary>How an imported master was created.</summary>
/// <param name="Format">The format that was detected, or raw if that was declared.</param>
/// <param name="Sha256">Of the bytes that were uploaded, in lower case hex.</param>
/// <param name="Bytes">How many bytes were uploaded.</param>
/// <param name="Compression">The compression of the upload; null if it was not compressed.</param>
/// <param name="Remarks">Remarks for the owner in sentences, such as that the disk was padded; null if there are none.</param>
[GenerateSerializer, Immutable, Alias("instances.ImportFacts")]
public sealed record ImportFacts(
    [property: Id(0)] OperationId Operation,
    [property: Id(1)] DateTimeOffset At,
    [property: Id(2)] ImageFormat Format,
    [property: Id(3)] string Sha256,
    [property: Id(4)] long Bytes,
    [property: Id(5)] ImageCompression? Compression = null,
    [property: Id(6)] IReadOnlyList<string>? Remarks = null)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData, Id(UnknownMembers.Id)]
    public UnknownMembers? Unknown { get; init; }
}

/// <summary>How a promoted master was created.</summary>
/// <param name="Source">The slave. It may be deleted since.</param>
[GenerateSerializer, Immutable, Alias("instances.PromotionFacts")]
public sealed record PromotionFacts([property: Id(0)] OperationId Operation, [property: Id(1)] DateTimeOffset At, [property: Id(2)] ImageId Source)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData, Id(UnknownMembers.Id)]
    public UnknownMembers? Unknown { get; init; }
}

/// <summary>The identity of a captured guest.</summary>
/// <param name="VirtualMachine">The machine that the image was captured from.</param>
/// <param name="InstanceId">Its NoCloud <c>instance-id</c> at that time.</param>
[GenerateSerializer, Immutable, Alias("instances.GuestIdentity")]
public sealed record GuestIdentity([property: Id(0)] VirtualMachineId VirtualMachine, [property: Id(1)] string InstanceId)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData, Id(UnknownMembers.Id)]
    public UnknownMembers? Unknown { get; init; }
}

/// <summary>The formats that can be imported.</summary>
public enum ImageFormat
{
    Qcow2,

    /// <summary>The disk's bytes as they are. Must be declared: such a disk may contain anything.</summary>
    Raw,

    /// <summary>VMware's, in one file: monolithic sparse or stream-optimized.</summary>
    Vmdk,

    /// <summary>VirtualBox', dynamic or static.</summary>
    Vdi,

    /// <summary>Virtual PC's and Azure's, dynamic or fixed.</summary>
    Vhd,

    /// <summary>Hyper-V's, dynamic or fixed.</summary>
    Vhdx,
}

/// <summary>The compression of an upload: the file has exactly one member, stream or frame.</summary>
public enum ImageCompression
{
    Gzip,
    Xz,
    Zstd,
}

/// <summary>The complete description of an image. It is kept as JSON beside the layers, so that the library can be rebuilt from its files.</summary>
/// <param name="Master">The master that a slave belongs to; null for a master.</param>
/// <param name="Parent">The image that a slave was deployed from; null for a master. It may be deleted since.</param>
/// <param name="Disks">The boot disk first.</param>
[GenerateSerializer, Immutable, Alias("instances.ImageManifest")]
public sealed record ImageManifest(
    [property: Id(0)] ImageId Id,
    [property: Id(1)] string Name,
    [property: Id(2)] ImageKind Kind,
    [property: Id(3)] ImageId? Master,
    [property: Id(4)] ImageId? Parent,
    [property: Id(5)] IReadOnlyList<DiskManifest> Disks,
    [property: Id(6)] DateTimeOffset CreatedAt,
    [property: Id(7)] ImportFacts? Import = null,
    [property: Id(8)] CaptureFacts? Capture = null)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData, Id(UnknownMembers.Id)]
    public UnknownMembers? Unknown { get; init; }

    /// <summary>The version of the JSON form.</summary>
    [Id(9)]
    public int Schema { get; init; } = 1;

    [Id(10)]
    public ImageDetails Details { get; init; } = ImageDetails.None;

    [Id(11)]
    public bool Pinned { get; init; }

    [Id(12)]
    public RetentionRule? Retention { get; init; }

    /// <summary>Null for all but promoted masters.</summary>
    [Id(13)]
    public PromotionFacts? Promotion { get; init; }

    /// <summary>The enterprise that owns it. A slave has its appliance's, which may differ from its master's.</summary>
    [Id(14)]
    public EnterpriseId Enterprise { get; init; }

    [Id(15)]
    public ImageSharing Sharing { get; init; }

    /// <summary>Null for an imported image, for one that an earlier release captured, and for masters promoted from these.</summary>
    [Id(16)]
    public GuestIdentity? Identity { get; init; }

    public ImageSpec ToSpec() => new(Name, Details, Pinned, Retention, Sharing);

    /// <summary>The import, the capture or the promotion that has made the image; null if the manifest does not say so.</summary>
    public OperationId? GetOperation() => Import?.Operation ?? Capture?.Operation ?? Promotion?.Operation;
}

/// <param name="Bytes">Space that the image's own layer files take, for a slave without those that it shares with its parent.</param>
/// <param name="Disks">Empty until the image is Ready.</param>
/// <param name="RetiredAt">Since when it is Retired; it is deleted one grace period later.</param>
/// <param name="Failure">Why its import failed.</param>
[GenerateSerializer, Immutable, Alias("instances.ImageView")]
public sealed record ImageView(
    [property: Id(0)] ImageId Id,
    [property: Id(1)] string Name,
    [property: Id(2)] ImageKind Kind,
    [property: Id(3)] ImageStatus Status,
    [property: Id(4)] ImageId? Master,
    [property: Id(5)] ImageId? Parent,
    [property: Id(6)] long Bytes,
    [property: Id(7)] IReadOnlyList<DiskManifest> Disks,
    [property: Id(8)] DateTimeOffset CreatedAt,
    [property: Id(9)] DateTimeOffset? RetiredAt,
    [property: Id(10)] ImportFacts? Import,
    [property: Id(11)] CaptureFacts? Capture,
    [property: Id(12)] string? Failure)
{
    [Id(13)]
    public ImageDetails Details { get; init; } = ImageDetails.None;

    /// <summary>Neither deleted, nor retired by an update or by a retention rule.</summary>
    [Id(14)]
    public bool Pinned { get; init; }

    /// <summary>Of a master: which of its slaves are kept.</summary>
    [Id(15)]
    public RetentionRule? Retention { get; init; }

    /// <summary>Why it is Retired.</summary>
    [Id(16)]
    public RetirementReason? RetiredReason { get; init; }

    /// <summary>Since when it is Ready again after it was Retired: retention rules leave it alone.</summary>
    [Id(17)]
    public DateTimeOffset? RestoredAt { get; init; }

    /// <summary>Grows with every change of what <see cref="ToSpec"/> gives. Status is no part of that.</summary>
    [Id(18)]
    public long Version { get; init; } = 1;

    /// <summary>The layers because of which it is Corrupt, or would be when it is restored.</summary>
    [Id(19)]
    public IReadOnlyList<LayerId> CorruptLayers { get; init; } = [];

    /// <summary>Null for all but promoted masters.</summary>
    [Id(20)]
    public PromotionFacts? Promotion { get; init; }

    /// <summary>The enterprise that owns it. A slave has its appliance's, which may differ from its master's.</summary>
    [Id(21)]
    public EnterpriseId Enterprise { get; init; }

    /// <summary>Which enterprises' machines may use it.</summary>
    [Id(22)]
    public ImageSharing Sharing { get; init; }

    /// <summary>The identity of the guest that was captured; null if the image has none.</summary>
    [Id(23)]
    public GuestIdentity? Identity { get; init; }

    /// <summary>The import or the promotion that makes it; null once that has ended.</summary>
    [Id(24)]
    public OperationId? Operation { get; init; }

    public ImageSpec ToSpec() => new(Name, Details, Pinned, Retention, Sharing);
}
