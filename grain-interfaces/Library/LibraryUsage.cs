using System.Text.Json.Serialization;
using Instances.Enterprises;

namespace Instances.Library;

/// <summary>What takes how much space in the library's folder, in bytes as the file system counts them. A file counts once: for images, else for machines, else as an orphan.</summary>
/// <param name="Layers">How many layer files there are, those that are on their way included.</param>
/// <param name="Bytes">Space that they take: the sum of the next four.</param>
/// <param name="ImageBytes">Layers that images need.</param>
/// <param name="MachineBytes">Layers that machines and operations need and no image does. Machines have none here unless the folder is a host's too.</param>
/// <param name="TransferBytes">What arrived of uploads and of layers that are on their way.</param>
/// <param name="OrphanBytes">Layers that are unreferenced: a sweep frees them, unless a manifest without a record needs them.</param>
/// <param name="FreeBytes">Free space in the file system.</param>
/// <param name="ByStatus">Every status that an image is in.</param>
/// <param name="ByImage">Those that would free most when they go, at most as many as was asked for.</param>
/// <param name="Collected">What sweeps have freed.</param>
/// <param name="ByEnterprise">Every enterprise that has an image.</param>
/// <param name="Compacted">Space of the layers that compaction has replaced, less the space of their replacements. A sweep frees it once they are unreferenced.</param>
[GenerateSerializer, Immutable, Alias("instances.LibraryUsage")]
public sealed record LibraryUsage(
    [property: Id(0)] int Layers,
    [property: Id(1)] long Bytes,
    [property: Id(2)] long ImageBytes,
    [property: Id(3)] long MachineBytes,
    [property: Id(4)] long TransferBytes,
    [property: Id(5)] long OrphanBytes,
    [property: Id(6)] long FreeBytes,
    [property: Id(7)] IReadOnlyList<StatusUsage> ByStatus,
    [property: Id(8)] IReadOnlyList<ImageUsage> ByImage,
    [property: Id(9)] FreedSpace Collected,
    [property: Id(10)] IReadOnlyList<EnterpriseSpace> ByEnterprise,
    [property: Id(11)] FreedSpace Compacted);

/// <param name="Images">How many there are.</param>
/// <param name="OwnBytes">Layers that only images in this status need: they would be freed if all of those went.</param>
/// <param name="TotalBytes">Layers that images in this status need, each counted once.</param>
[GenerateSerializer, Immutable, Alias("instances.StatusUsage")]
public sealed record StatusUsage(
    [property: Id(0)] ImageStatus Status,
    [property: Id(1)] int Images,
    [property: Id(2)] long OwnBytes,
    [property: Id(3)] long TotalBytes);

/// <param name="Images">How many it has, those of all statuses but Failed.</param>
/// <param name="OwnBytes">Layers that only its images need.</param>
/// <param name="TotalBytes">Layers that its images need, each counted once.</param>
[GenerateSerializer, Immutable, Alias("instances.EnterpriseSpace")]
public sealed record EnterpriseSpace(
    [property: Id(0)] EnterpriseId Enterprise,
    [property: Id(1)] int Images,
    [property: Id(2)] long OwnBytes,
    [property: Id(3)] long TotalBytes);

/// <param name="OwnBytes">Layers that no other image needs. They are freed when the image is deleted and no machine uses them.</param>
/// <param name="SharedBytes">Layers that other images need, too.</param>
/// <param name="TotalBytes">All layers of its disks.</param>
[GenerateSerializer, Immutable, Alias("instances.ImageUsage")]
public sealed record ImageUsage(
    [property: Id(0)] ImageId Id,
    [property: Id(1)] string Name,
    [property: Id(2)] ImageStatus Status,
    [property: Id(3)] long OwnBytes,
    [property: Id(4)] long SharedBytes,
    [property: Id(5)] long TotalBytes);

/// <summary>A count that only grows. A crash may lose what was freed just before it.</summary>
/// <param name="Since">When the count began; null while nothing was freed.</param>
[GenerateSerializer, Immutable, Alias("instances.FreedSpace")]
public sealed record FreedSpace([property: Id(0)] DateTimeOffset? Since, [property: Id(1)] long Layers, [property: Id(2)] long Bytes)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData, Id(UnknownMembers.Id)]
    public UnknownMembers? Unknown { get; init; }
}
