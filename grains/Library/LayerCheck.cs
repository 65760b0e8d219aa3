using System.Text.Json.Serialization;

namespace Instances.Library;

/// <summary>What is known of the content of a sealed layer.</summary>
/// <param name="Bytes">Space that the file takes.</param>
/// <param name="Sha256">What the file has to hash to, in lower case hex; null until it was read once.</param>
/// <param name="CheckedAt">When it was last read whole; null until then.</param>
/// <param name="Found">What it hashed to then, where that was something else, or <c>unreadable</c>: the layer is corrupt. Null for a sound one.</param>
/// <param name="HealedAt">When a good copy has last taken its place; null for never.</param>
/// <param name="HealedFrom">The host that the copy came from, or the URL of the datacenter.</param>
/// <param name="IsDoubted">Another copy of it was corrupt: this one is read before a machine starts on it.</param>
public sealed record LayerCheck(
    LayerId Layer, long Bytes, string? Sha256 = null, DateTimeOffset? CheckedAt = null, string? Found = null, DateTimeOffset? HealedAt = null, string? HealedFrom = null,
    bool IsDoubted = false)
{
    [JsonIgnore]
    public bool IsCorrupt => Found is not null;

    /// <summary>Whether it has to be read again: it was not since <paramref name="since"/>.</summary>
    public bool IsDue(DateTimeOffset since) => CheckedAt is not { } at || at < since;
}
