using System.Text.Json.Serialization;

namespace Instances.Library;

/// <summary>Which instances are kept automatically. The others are retired, and can be restored within the grace period. A rule has at least one part; an instance
/// is kept while either part keeps it.</summary>
/// <remarks>A rule belongs to an appliance, for the instances that are captured from it, or to a master, for its slaves. If both have a rule, an instance is kept while either
/// rule keeps it. Never retired: images that a machine uses, and images that are pinned, shared with all enterprises, or were restored by a user. The rule
/// of a master does not apply to slaves of other enterprises.</remarks>
/// <param name="KeepLast">1 to 1,000: the number of newest instances of each virtual machine that are kept.</param>
/// <param name="KeepForHours">1 to 87,600: instances younger than this are kept.</param>
[GenerateSerializer, Immutable, Alias("instances.RetentionRule")]
public sealed record RetentionRule([property: Id(0)] int? KeepLast = null, [property: Id(1)] int? KeepForHours = null)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData, Id(UnknownMembers.Id)]
    public UnknownMembers? Unknown { get; init; }
}
