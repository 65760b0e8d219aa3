using System.Text.Json.Serialization;
using Instances.Catalogue;
using Instances.Storage;

namespace Instances.Library;

internal sealed record CompactionState : IStoredState
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData]
    public UnknownMembers? Unknown { get; init; }

    public int Schema { get; init; } = 1;

    public CatalogueEntry? Catalogue => null;

    /// <summary>The running merge. After a crash it is resumed or given up.</summary>
    public PlannedMerge? Running { get; init; }

    public DateTimeOffset? Since { get; init; }

    public long Merges { get; init; }

    public long LayersMerged { get; init; }

    public long BytesBefore { get; init; }

    public long BytesAfter { get; init; }

    public FailedMerge? LastFailure { get; init; }
}

/// <param name="BytesBefore">Space of the layers to merge.</param>
internal sealed record PlannedMerge(ImageId Image, LayerMerge Merge, long BytesBefore, DateTimeOffset StartedAt)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData]
    public UnknownMembers? Unknown { get; init; }
}
