using System.Text.Json.Serialization;

namespace Instances.Library;

/// <summary>The result of the last check of a sealed layer.</summary>
/// <param name="Bytes">Space that the file takes.</param>
/// <param name="Sha256">The expected SHA-256 of the file, in lower case hex; null until it was read once.</param>
/// <param name="CheckedAt">When it was last read completely; null until then.</param>
/// <param name="Found">For a corrupt layer: its different hash at that time, or <c>unreadable</c>. Null for a sound layer.</param>
/// <param name="HealedAt">When it was last replaced by a good copy; null for never.</param>
/// <param name="HealedFrom">The host that the copy came from, or the URL of the datacenter.</param>
/// <param name="IsDoubted">Another copy of it was corrupt: it must be read before a machine starts on it.</param>
public sealed record LayerCheck(
    LayerId Layer, long Bytes, string? Sha256 = null, DateTimeOffset? CheckedAt = null, string? Found = null, DateTimeOffset? HealedAt = null, string? HealedFrom = null,
    bool IsDoubted = false)
{
    [JsonIgnore]
    public bool IsCorrupt => Found is not null;

    /// <summary>Whether it is due to be read: it was not read since <paramref name="since"/>.</summary>
    public bool IsDue(DateTimeOffset since) => CheckedAt is not { } at || at < since;
}
