using System.Text.Json.Serialization;
using Instances.Catalogue;
using Instances.Storage;

namespace Instances.Library;

internal sealed record ScrubState : IStoredState
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData]
    public UnknownMembers? Unknown { get; init; }

    public int Schema { get; init; } = 1;

    public CatalogueEntry? Catalogue => null;

    /// <summary>When a client last requested a verification of every layer; null for never.</summary>
    public DateTimeOffset? VerifyFrom { get; init; }
}
