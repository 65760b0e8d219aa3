using System.Text.Json.Serialization;

namespace Instances.Library;

/// <summary>The description of an image, and the requirements of its machines. A slave inherits them from the image that its machine used.</summary>
/// <param name="Description">At most 4,096 characters.</param>
/// <param name="MinCpus">1 to 64: a machine with fewer is neither added nor deployed.</param>
/// <param name="DefaultCpus">1 to 64, not below the minimum: for machines that name no number.</param>
/// <param name="MinMemoryBytes">32 MiB to 1 TiB in whole MiB: a machine with less is neither added nor deployed.</param>
/// <param name="DefaultMemoryBytes">32 MiB to 1 TiB in whole MiB, not below the minimum: for machines that name no size.</param>
/// <param name="Category">1 to 64 printable characters.</param>
/// <param name="Icon">The name of an icon: 1 to 64 of a-z, 0-9 and hyphens.</param>
/// <param name="OperatingSystem">1 to 64 printable characters, such as <c>Debian 12</c>.</param>
/// <param name="Labels">At most 32. A key is 1 to 63 of a-z, 0-9, dots, slashes, underscores and hyphens, with a letter or a digit at both ends; a value is
/// at most 255 printable characters.</param>
[GenerateSerializer, Immutable, Alias("instances.ImageDetails")]
public sealed record ImageDetails(
    [property: Id(0)] string? Description = null,
    [property: Id(1)] int? MinCpus = null,
    [property: Id(2)] int? DefaultCpus = null,
    [property: Id(3)] long? MinMemoryBytes = null,
    [property: Id(4)] long? DefaultMemoryBytes = null,
    [property: Id(5)] string? Category = null,
    [property: Id(6)] string? Icon = null,
    [property: Id(7)] string? OperatingSystem = null,
    [property: Id(8)] IReadOnlyDictionary<string, string>? Labels = null)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData, Id(UnknownMembers.Id)]
    public UnknownMembers? Unknown { get; init; }

    public static ImageDetails None { get; } = new();

    /// <summary>Labels are compared by what they say.</summary>
    public bool Equals(ImageDetails? other) => other is not null
        && (Description, MinCpus, DefaultCpus, MinMemoryBytes, DefaultMemoryBytes) == (other.Description, other.MinCpus, other.DefaultCpus, other.MinMemoryBytes, other.DefaultMemoryBytes)
        && (Category, Icon, OperatingSystem) == (other.Category, other.Icon, other.OperatingSystem)
        && SameLabels(Labels, other.Labels);

    public override int GetHashCode() => HashCode.Combine(Description, MinCpus, DefaultCpus, MinMemoryBytes, DefaultMemoryBytes, Category, OperatingSystem, Labels?.Count ?? 0);

    private static bool SameLabels(IReadOnlyDictionary<string, string>? one, IReadOnlyDictionary<string, string>? other) =>
        (one?.Count ?? 0) == (other?.Count ?? 0) && (one is null || one.All(label => other!.TryGetValue(label.Key, out var value) && value == label.Value));
}

/// <summary>The part of an image that users can change.</summary>
/// <param name="Name">1 to 128 characters, none of them a control character, not only spaces.</param>
/// <param name="Details">Null for none.</param>
/// <param name="Pinned">Neither deleted, nor retired by an update or by a retention rule.</param>
/// <param name="Retention">For a master: which of its slaves are kept. A slave has none.</param>
/// <param name="Sharing">Which enterprises' machines may use it.</param>
[GenerateSerializer, Immutable, Alias("instances.ImageSpec")]
public sealed record ImageSpec(
    [property: Id(0)] string Name,
    [property: Id(1)] ImageDetails? Details = null,
    [property: Id(2)] bool Pinned = false,
    [property: Id(3)] RetentionRule? Retention = null,
    [property: Id(4)] ImageSharing Sharing = ImageSharing.Private);
