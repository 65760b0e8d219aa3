using Instances.Hosts;
using Orleans.Concurrency;

namespace Instances.Library;

/// <summary>Reads the library's layers slowly, one after the other, and checks their hashes. Keyed by <see cref="Key"/>.</summary>
/// <remarks>
/// A layer whose hash has changed makes every image on it Corrupt. It is replaced by a good copy from a host or, if no host has one, from another
/// datacenter. Runs automatically.
/// Reading interleaves with everything: what is known of a layer is in a file beside it, and is replaced as a whole.
/// </remarks>
[Alias("instances.IScrubGrain")]
public interface IScrubGrain : IGrainWithStringKey
{
    const string Key = "default";

    /// <summary>The progress of the round, and the corrupt layers. Reads no layer. Always interleaves: see the remarks.</summary>
    [Alias("Get"), AlwaysInterleave]
    Task<LibraryHealth> Get();

    /// <summary>Begins a round: every layer is read from now on, at the set rate. Durable: a silo that is restarted continues with it. Always interleaves: see the remarks.</summary>
    [Alias("Verify"), AlwaysInterleave]
    Task<LibraryHealth> Verify();

    /// <summary>Called by a host with its corrupt copies. Kept in memory, because each host reports every few minutes. Always interleaves: see the remarks.</summary>
    [Alias("Report"), AlwaysInterleave]
    Task Report(HostId host, IReadOnlyList<LayerId> corrupt);
}

/// <summary>How sound the library is.</summary>
/// <param name="Since">Layers that were last read before this moment count as unread: the begin of the round, or one period ago.</param>
/// <param name="Layers">How many sealed layers there are.</param>
/// <param name="Bytes">Space that they take.</param>
/// <param name="LayersRead">How many of them were read since <paramref name="Since"/>.</param>
/// <param name="BytesRead">Space that those take.</param>
/// <param name="Reading">The layer that is being read; null while there is nothing to do.</param>
/// <param name="BytesPerSecond">The bound on the rate.</param>
/// <param name="OldestRead">When the layer that has been unread for the longest time was read; null if a layer was never read.</param>
/// <param name="Corrupt">At most 100 of them.</param>
/// <param name="LastHealing">The corrupt layer that was replaced last; null if none was.</param>
/// <param name="HostCopies">Copies in the stores of hosts that are corrupt, as the hosts reported them last; null if there are none.</param>
[GenerateSerializer, Immutable, Alias("instances.LibraryHealth")]
public sealed record LibraryHealth(
    [property: Id(0)] DateTimeOffset Since,
    [property: Id(1)] int Layers,
    [property: Id(2)] long Bytes,
    [property: Id(3)] int LayersRead,
    [property: Id(4)] long BytesRead,
    [property: Id(5)] LayerId? Reading,
    [property: Id(6)] long BytesPerSecond,
    [property: Id(7)] DateTimeOffset? OldestRead,
    [property: Id(8)] IReadOnlyList<CorruptLayer> Corrupt,
    [property: Id(9)] LayerHealing? LastHealing = null,
    [property: Id(10)] IReadOnlyList<CorruptCopy>? HostCopies = null)
{
    /// <summary>Every layer was read since <see cref="Since"/>.</summary>
    public bool IsDone => LayersRead == Layers;
}

/// <summary>A host's copy of a layer that is corrupt. The host replaces it as soon as the library's layer is sound. Until then no machine starts on it.</summary>
[GenerateSerializer, Immutable, Alias("instances.CorruptCopy")]
public sealed record CorruptCopy([property: Id(0)] HostId Host, [property: Id(1)] LayerId Layer);

/// <summary>What the library knows of the content of one of its layers.</summary>
/// <param name="HealedAt">When it was last replaced by a good copy; null for never.</param>
[GenerateSerializer, Immutable, Alias("instances.KnownLayer")]
public sealed record KnownLayer(
    [property: Id(0)] LayerId Layer,
    [property: Id(1)] string Sha256,
    [property: Id(2)] bool IsCorrupt,
    [property: Id(3)] DateTimeOffset? HealedAt);

/// <param name="Expected">The SHA-256 that the layer's file has to have, in lower case hex; null if it could never be read.</param>
/// <param name="Found">What it has, or <c>unreadable</c>.</param>
/// <param name="Images">The images that need it, at most 100.</param>
/// <param name="HealingFrom">The host, or the URL of the datacenter, from which a copy is being fetched; null if none is.</param>
[GenerateSerializer, Immutable, Alias("instances.CorruptLayer")]
public sealed record CorruptLayer(
    [property: Id(0)] LayerId Layer,
    [property: Id(1)] string? Expected,
    [property: Id(2)] string Found,
    [property: Id(3)] DateTimeOffset FoundAt,
    [property: Id(4)] IReadOnlyList<ImageId> Images,
    [property: Id(5)] string? HealingFrom = null);

/// <param name="From">The host that the good copy came from, or the URL of the datacenter.</param>
[GenerateSerializer, Immutable, Alias("instances.LayerHealing")]
public sealed record LayerHealing([property: Id(0)] LayerId Layer, [property: Id(1)] string From, [property: Id(2)] DateTimeOffset At);
