using System.Text.Json.Serialization;

namespace Instances.Library;

/// <summary>Which instances are kept by themselves; the others are retired, and can be restored within the grace period. At least one part is given, and an instance
/// stays while either part keeps it.</summary>
/// <remarks>A rule stands with an appliance, for what is captured from it, or with a master, for its slaves; where both do, an instance stays while either
/// keeps it. Never retired: what a machine uses, what is pinned, what is shared with all enterprises, and what somebody has restored. The rule
/// of a master does not reach the slaves of other enterprises.</remarks>
/// <param name="KeepLast">1 to 1,000: so many of the newest of each virtual machine are kept.</param>
/// <param name="KeepForHours">1 to 87,600: what is younger is kept.</param>
[GenerateSerializer, Immutable, Alias("instances.RetentionRule")]
public sealed record RetentionRule([property: Id(0)] int? KeepLast = null, [property: Id(1)] int? KeepForHours = null)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData, Id(UnknownMembers.Id)]
    public UnknownMembers? Unknown { get; init; }
}
