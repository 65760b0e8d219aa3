using System.Text.Json.Serialization;
using Instances.Faults;
using Orleans.Concurrency;

namespace Instances.Library;

/// <summary>Keeps the chains of images short: merges adjacent layers slowly, in the background. Keyed by <see cref="Key"/>.</summary>
/// <remarks>
/// Only later deployments use the merged layers. A machine keeps the chain that it has, and its layers stay while they are referenced.
/// No capture and no deployment waits for compaction. Runs automatically.
/// </remarks>
[Alias("instances.ICompactionGrain")]
public interface ICompactionGrain : IGrainWithStringKey
{
    const string Key = "default";

    /// <summary>What it does now, and what it has done. Reads no layer. Always interleaves: it reports what was recorded last.</summary>
    [Alias("Get"), AlwaysInterleave]
    Task<LibraryCompaction> Get();

    /// <summary>Scans for long chains now, instead of at the next regular time. Always interleaves: it starts a scan and does not wait.</summary>
    [Alias("Compact"), AlwaysInterleave]
    Task<LibraryCompaction> Compact();
}

/// <summary>How the library keeps its chains short.</summary>
/// <param name="MaxChainDepth">The most layers that a disk of an image has in the long run, its base included.</param>
/// <param name="BytesPerSecond">The bound on the rate.</param>
/// <param name="TooDeep">How many images had a longer chain at the last scan.</param>
/// <param name="Running">Null while there is nothing to do.</param>
/// <param name="Since">When counting began.</param>
/// <param name="Merges">How many merges have succeeded since then.</param>
/// <param name="LayersMerged">How many layers they have merged.</param>
/// <param name="BytesBefore">Space that those layers took. It is freed once they are unreferenced.</param>
/// <param name="BytesAfter">Space that the new ones take.</param>
/// <param name="LastFailure">Null once a merge has succeeded.</param>
/// <param name="LastLook">When a scan last found nothing more to do; null if none has since this silo started.</param>
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

/// <param name="Fault">Why. The image is unchanged, and the merge will be retried.</param>
[GenerateSerializer, Immutable, Alias("instances.FailedMerge")]
public sealed record FailedMerge([property: Id(0)] ImageId Image, [property: Id(1)] DateTimeOffset At, [property: Id(2)] Fault Fault)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData, Id(UnknownMembers.Id)]
    public UnknownMembers? Unknown { get; init; }
}

/// <summary>A merge of layers of a disk.</summary>
/// <param name="Merged">The layer that replaces them.</param>
/// <param name="Chain">The disk's layers as they are, from the base to the top.</param>
/// <param name="From">The index in the chain of the first layer to merge. All layers above it are merged too. At least 1, because many chains share a base.</param>
/// <param name="Instead">Layers with the same content that replace the chain's lower layers: the chain of another image, or a part of it. Null to keep the lower layers.</param>
[GenerateSerializer, Immutable, Alias("instances.LayerMerge")]
public sealed record LayerMerge(
    [property: Id(0)] LayerId Merged, [property: Id(1)] IReadOnlyList<LayerId> Chain, [property: Id(2)] int From, [property: Id(3)] IReadOnlyList<LayerManifest>? Instead = null)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData, Id(UnknownMembers.Id)]
    public UnknownMembers? Unknown { get; init; }

    /// <summary>The layers below the new one, from the base up.</summary>
    [JsonIgnore]
    public IReadOnlyList<LayerId> Under => Instead is null ? [.. Chain.Take(From)] : [.. Instead.Select(layer => layer.Id)];

    /// <summary>The parent of the new layer.</summary>
    [JsonIgnore]
    public LayerId Below => Under[^1];

    [JsonIgnore]
    public LayerId Top => Chain[^1];

    [JsonIgnore]
    public IEnumerable<LayerId> Parts => Chain.Skip(From);

    /// <summary>All layers that the merge reads or builds on.</summary>
    [JsonIgnore]
    public IEnumerable<LayerId> Needed => Under.Concat(Parts);
}
