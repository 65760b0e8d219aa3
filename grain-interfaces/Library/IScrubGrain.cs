using Instances.Hosts;
using Orleans.Concurrency;

namespace Instances.Library;

/// <summary>Reads the library's layers, one after the other and slowly, and looks whether each still is what it was. Keyed by <see cref="Key"/>.</summary>
/// <remarks>
/// A layer that is not makes every image that stands on it Corrupt, and is replaced by the copy of a host or, where none has one, of another
/// datacenter that still has a good one. Runs automatically.
/// Reading interleaves with everything: what is known of a layer is in a file beside it, and is replaced as a whole.
/// </remarks>
[Alias("instances.IScrubGrain")]
public interface IScrubGrain : IGrainWithStringKey
{
    const string Key = "default";

    /// <summary>How far the round has come, and what is wrong. Reads no layer. Always interleaves: see the remarks.</summary>
    [Alias("Get"), AlwaysInterleave]
    Task<LibraryHealth> Get();

    /// <summary>Begins a round: every layer is read from now on, at the set rate. Durable: a silo that is restarted continues with it. Always interleaves: see the remarks.</summary>
    [Alias("Verify"), AlwaysInterleave]
    Task<LibraryHealth> Verify();

    /// <summary>Called by a host: those of its copies that are corrupt. Kept in memory: each host reports every few minutes. Always interleaves: see the remarks.</summary>
    [Alias("Report"), AlwaysInterleave]
    Task Report(HostId host, IReadOnlyList<LayerId> corrupt);
}

/// <summary>How sound the library is.</summary>
/// <param name="Since">What was read before counts as not read: the round's begin, or one period ago.</param>
/// <param name="Layers">How many sealed layers there are.</param>
/// <param name="Bytes">Space that they take.</param>
/// <param name="LayersRead">How many of them were read since <paramref name="Since"/>.</param>
/// <param name="BytesRead">Space that those take.</param>
/// <param name="Reading">The layer that is being read; null while there is nothing to do.</param>
/// <param name="BytesPerSecond">The bound on the rate.</param>
/// <param name="OldestRead">When the layer was read that was not read for longest; null while one was never read.</param>
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

/// <summary>A host's copy of a layer that is corrupt. It is replaced by the library's as soon as that is good; until then nothing starts on it.</summary>
[GenerateSerializer, Immutable, Alias("instances.CorruptCopy")]
public sealed record CorruptCopy([property: Id(0)] HostId Host, [property: Id(1)] LayerId Layer);

/// <summary>What the library knows of the content of one of its layers.</summary>
/// <param name="HealedAt">When a good copy has last taken its place; null for never.</param>
[GenerateSerializer, Immutable, Alias("instances.KnownLayer")]
public sealed record KnownLayer(
    [property: Id(0)] LayerId Layer,
    [property: Id(1)] string Sha256,
    [property: Id(2)] bool IsCorrupt,
    [property: Id(3)] DateTimeOffset? HealedAt);

/// <param name="Expected">The SHA-256 that the layer's file has to have, in lower case hex; null if it could never be read.</param>
/// <param name="Found">What it has, or <c>unreadable</c>.</param>
/// <param name="Images">Those that stand on it, at most 100.</param>
/// <param name="HealingFrom">The host or the URL of the datacenter that a copy is coming from at the moment; null if none is.</param>
[GenerateSerializer, Immutable, Alias("instances.CorruptLayer")]
public sealed record CorruptLayer(
    [property: Id(0)] LayerId Layer,
    [property: Id(1)] string? Expected,
    [property: Id(2)] string Found,
    [property: Id(3)] DateTimeOffset FoundAt,
    [property: Id(4)] IReadOnlyList<ImageId> Images,
    [property: Id(5)] string? HealingFrom = null);

/// <param name="From">The host whose copy took the layer's place, or the URL of the datacenter.</param>
[GenerateSerializer, Immutable, Alias("instances.LayerHealing")]
public sealed record LayerHealing([property: Id(0)] LayerId Layer, [property: Id(1)] string From, [property: Id(2)] DateTimeOffset At);
