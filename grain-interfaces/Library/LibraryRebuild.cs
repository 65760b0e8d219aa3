using System.Text.Json.Serialization;

namespace Instances.Library;

/// <summary>The progress or the result of a rebuild of the library from its files.</summary>
/// <param name="DryRun">Nothing is changed: <paramref name="Rebuilt"/> counts the images that would be rebuilt.</param>
/// <param name="FinishedAt">Null while it runs.</param>
/// <param name="Manifests">How many there are.</param>
/// <param name="Rebuilt">Images that had no record and got one, as Ready.</param>
/// <param name="Known">Images that had a record, which was not changed.</param>
/// <param name="LeftOut">Images that still have no record. Their files were not removed.</param>
/// <param name="Remarks">Why images were left out, and what is missing for others: at most <see cref="MaxRemarks"/>.</param>
/// <param name="Problem">Why the rebuild makes no progress at the moment. It is retried automatically.</param>
[GenerateSerializer, Immutable, Alias("instances.LibraryRebuild")]
public sealed record LibraryRebuild(
    [property: Id(0)] DateTimeOffset StartedAt,
    [property: Id(1)] bool DryRun,
    [property: Id(2)] DateTimeOffset? FinishedAt,
    [property: Id(3)] int Manifests,
    [property: Id(4)] int Rebuilt,
    [property: Id(5)] int Known,
    [property: Id(6)] int LeftOut,
    [property: Id(7)] IReadOnlyList<RebuildRemark> Remarks,
    [property: Id(8)] string? Problem = null)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData, Id(UnknownMembers.Id)]
    public UnknownMembers? Unknown { get; init; }

    public const int MaxRemarks = 1000;

    /// <summary>How many images were examined.</summary>
    public int Done => Rebuilt + Known + LeftOut;
}

/// <param name="Name">Null if its manifest cannot be read.</param>
/// <param name="Code"><c>manifest-unreadable</c>, <c>layer-missing</c>, <c>operation-failed</c> or <c>operation-running</c>: the image was left out. <c>master-missing</c>,
/// <c>layer-corrupt</c> or <c>enterprise-missing</c>, which is reported once for each enterprise: the image was rebuilt all the same.</param>
/// <param name="Message">What was found, and what to do.</param>
[GenerateSerializer, Immutable, Alias("instances.RebuildRemark")]
public sealed record RebuildRemark(
    [property: Id(0)] ImageId Image,
    [property: Id(1)] string? Name,
    [property: Id(2)] string Code,
    [property: Id(3)] string Message)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData, Id(UnknownMembers.Id)]
    public UnknownMembers? Unknown { get; init; }
}
