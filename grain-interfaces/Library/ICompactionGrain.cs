using System.Text.Json.Serialization;
using Instances.Faults;
using Orleans.Concurrency;

namespace Instances.Library;

/// <summary>Keeps the chains of images short: layers that lie over each other become one, in the background and slowly. Keyed by <see cref="Key"/>.</summary>
/// <remarks>
/// What images are deployed from next is changed, and nothing else: a machine continues with the chain that it has, whose layers stay as long as anybody refers to them.
/// No capture and no deployment waits for it. Runs automatically.
/// </remarks>
[Alias("instances.ICompactionGrain")]
public interface ICompactionGrain : IGrainWithStringKey
{
    const string Key = "default";

    /// <summary>What it does now, and what it has done. Reads no layer. Always interleaves: it reports what was recorded last.</summary>
    [Alias("Get"), AlwaysInterleave]
    Task<LibraryCompaction> Get();

    /// <summary>Looks for chains at once, instead of at the next time of its own. Always interleaves: it starts a look and waits for nothing.</summary>
    [Alias("Compact"), AlwaysInterleave]
    Task<LibraryCompaction> Compact();
}

/// <summary>How the library keeps its chains short.</summary>
/// <param name="MaxChainDepth">The most layers that a disk of an image has in the long run, its base included.</param>
/// <param name="BytesPerSecond">The bound on the rate.</param>
/// <param name="TooDeep">How many images have a longer chain, as it was found at the last look.</param>
/// <param name="Running">Null while there is nothing to do.</param>
/// <param name="Since">When counting began.</param>
/// <param name="Merges">How many merges have ended well since then.</param>
/// <param name="LayersMerged">How many layers they have made one of.</param>
/// <param name="BytesBefore">Space that those layers took. It comes back once nobody refers to them.</param>
/// <param name="BytesAfter">Space that the new ones take.</param>
/// <param name="LastFailure">Null once a merge has ended well.</param>
/// <param name="LastLook">When it was last found that there is nothing more to do; null since this silo began.</param>
[GenerateSerializer, Immutable, Alias("instances.LibraryCompaction")]
public sealed record LibraryCompaction(
    [property: Id(0)] int MaxChainDepth,
    [property: Id(1)] long BytesPerSecond,
    [property: Id(2)] int TooDeep,
    [property: Id(3)] RunningMerge? Running,
    [property: Id(4)] DateTimeOffset? Since,
    [property: Id(5)] long Merges,
    [property: Id(6)] long LayersMerged,
    [property: Id(7)] long BytesBefore,
    [property: Id(8)] long BytesAfter,
    [property: Id(9)] FailedMerge? LastFailure,
    [property: Id(10)] DateTimeOffset? LastLook);

/// <param name="Layers">How many layers become one.</param>
/// <param name="BytesBefore">Space that they take.</param>
/// <param name="BytesWritten">Space that the new one takes so far.</param>
[GenerateSerializer, Immutable, Alias("instances.RunningMerge")]
public sealed record RunningMerge(
    [property: Id(0)] ImageId Image,
    [property: Id(1)] LayerId Merged,
    [property: Id(2)] int Layers,
    [property: Id(3)] long BytesBefore,
    [property: Id(4)] long BytesWritten,
    [property: Id(5)] DateTimeOffset StartedAt);

/// <param name="Fault">Why: the image is as it was, and it is tried again.</param>
[GenerateSerializer, Immutable, Alias("instances.FailedMerge")]
public sealed record FailedMerge([property: Id(0)] ImageId Image, [property: Id(1)] DateTimeOffset At, [property: Id(2)] Fault Fault)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData, Id(UnknownMembers.Id)]
    public UnknownMembers? Unknown { get; init; }
}

/// <summary>Layers of a disk that become one.</summary>
/// <param name="Merged">The layer that takes their place.</param>
/// <param name="Chain">The disk's layers as they are, from the base to the top.</param>
/// <param name="From">The first layer, by its place in the chain, that becomes part of the new one; all above do too. At least 1: a base is shared by many.</param>
/// <param name="Instead">What the new layer lies over instead of the chain's lower layers: the chain of another image, or a part of it, with the content that they have. Null to leave them.</param>
[GenerateSerializer, Immutable, Alias("instances.LayerMerge")]
public sealed record LayerMerge(
    [property: Id(0)] LayerId Merged, [property: Id(1)] IReadOnlyList<LayerId> Chain, [property: Id(2)] int From, [property: Id(3)] IReadOnlyList<LayerManifest>? Instead = null)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData, Id(UnknownMembers.Id)]
    public UnknownMembers? Unknown { get; init; }

    /// <summary>What the new layer lies over, from the base up.</summary>
    [JsonIgnore]
    public IReadOnlyList<LayerId> Under => Instead is null ? [.. Chain.Take(From)] : [.. Instead.Select(layer => layer.Id)];

    /// <summary>The layer that the new one lies over.</summary>
    [JsonIgnore]
    public LayerId Below => Under[^1];

    [JsonIgnore]
    public LayerId Top => Chain[^1];

    [JsonIgnore]
    public IEnumerable<LayerId> Parts => Chain.Skip(From);

    /// <summary>What has to be there.</summary>
    [JsonIgnore]
    public IEnumerable<LayerId> Needed => Under.Concat(Parts);
}
