using System.Text.Json;
using System.Text.Json.Serialization;
using Instances.Catalogue;
using Instances.Enterprises;
using Instances.Faults;
using Instances.Operations;
using Instances.Storage;

namespace Instances.Library;

internal sealed record ImageState : IStoredState
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData]
    public UnknownMembers? Unknown { get; init; }

    public int Schema { get; init; } = 1;

    public string Name { get; init; } = "";

    public ImageStatus Status { get; init; }

    public DateTimeOffset CreatedAt { get; init; }

    /// <summary>Set from Ready on.</summary>
    public ImageManifest? Manifest { get; init; }

    public DateTimeOffset? RetiredAt { get; init; }

    public RetirementReason? RetiredReason { get; init; }

    /// <summary>The master whose deletion has retired it.</summary>
    public ImageId? RetiredWith { get; init; }

    /// <summary>When a user restored it.</summary>
    public DateTimeOffset? RestoredAt { get; init; }

    /// <summary>Incremented by each change of the members that users can change. A refused deletion does not change it.</summary>
    public long Version { get; init; } = 1;

    /// <summary>Its layers that are known to be corrupt.</summary>
    public IReadOnlyList<LayerId> CorruptLayers { get; init; } = [];

    /// <summary>A pending merge of its layers.</summary>
    public LayerMerge? Merge { get; init; }

    /// <summary>The running or failed import; null for a captured image, and once Ready.</summary>
    public RunningImport? Import { get; init; }

    /// <summary>How the import ended, for its record.</summary>
    public OperationOutcome? Ended { get; init; }

    public Fault? Failure { get; init; }

    public CatalogueEntry? Catalogue { get; init; }

    public ImageView ToView(ImageId id) => new(
        id, Name, Manifest?.Kind ?? ImageKind.Master, Status, Manifest?.Master, Manifest?.Parent, OwnBytes(id, Manifest), Manifest?.Disks ?? [], CreatedAt, RetiredAt,
        Manifest?.Import, Manifest?.Capture, Failure?.Message)
    {
        Details = Manifest?.Details ?? Import?.Command.Details ?? ImageDetails.None,
        Pinned = Manifest is { Pinned: true },
        Retention = Manifest?.Retention,
        RetiredReason = RetiredReason,
        RestoredAt = RestoredAt,
        Version = Version,
        CorruptLayers = CorruptLayers,
        Promotion = Manifest?.Promotion,
        Enterprise = Manifest?.Enterprise ?? Import?.Command.Enterprise ?? EnterpriseId.Default,
        Sharing = Manifest?.Sharing ?? ImageSharing.Private,
        Identity = Manifest?.Identity,
        Operation = Status is ImageStatus.Importing ? Import?.Operation : null,
    };

    public ImageState WithCatalogue(ImageId id)
    {
        var view = ToView(id);
        return this with
        {
            Catalogue = new(
                CatalogueEntry.ImageKind, id.Value, Name, JsonNamingPolicy.CamelCase.ConvertName(Status.ToString()), Manifest?.Master?.Value, Image: Manifest?.Parent?.Value,
                Manifest?.Capture?.VirtualMachine.Value, CreatedAt, [.. Layers.Distinct()], JsonSerializer.SerializeToElement(view, InstancesJson.Options),
                SearchName: Name.ToUpperInvariant(), Enterprise: view.Enterprise.Value, QuotaBytes: Manifest is null ? Import?.ExpectedBytes : view.Bytes,
                VirtualBytes: Manifest is { } manifest ? manifest.Disks.Sum(disk => disk.VirtualSizeBytes) : Import?.ExpectedVirtualBytes)
            {
                Unknown = Catalogue?.Unknown,
            },
        };
    }

    private IEnumerable<LayerId> Layers => Manifest is { } manifest
        ? [.. manifest.Disks.SelectMany(disk => disk.Layers).Select(layer => layer.Id), .. Merge?.Under ?? [], .. Merge is { } merge ? [merge.Merged] : Array.Empty<LayerId>()]
        : Status is ImageStatus.Importing ? Import!.Layers : [];

    private static long OwnBytes(ImageId id, ImageManifest? manifest) =>
        manifest?.Disks.SelectMany(disk => disk.Layers).Where(layer => layer.Image == id).Sum(layer => layer.Bytes) ?? 0;
}

/// <param name="SecretHash">SHA-256 of the ticket's secret; empty if it was used, or if there is none.</param>
/// <param name="IsWhole">All bytes of an upload have arrived and are durable.</param>
/// <param name="LastPartAt">When bytes of an upload in parts last arrived, to within <see cref="ImageGrain.SignPeriod"/>.</param>
/// <param name="Path">The file that an import from a path copies.</param>
/// <param name="Promotion">The source of a promotion.</param>
/// <param name="VirtualBytes">The size of the disk in an upload; null until its head was read.</param>
internal sealed record RunningImport(
    OperationId Operation,
    LayerId Layer,
    ImportCommand Command,
    string SecretHash,
    DateTimeOffset StartedAt,
    ImportWay Way = ImportWay.OneRequest,
    bool IsWhole = false,
    DateTimeOffset? LastPartAt = null,
    string? Path = null,
    Promotion? Promotion = null,
    long? VirtualBytes = null)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData]
    public UnknownMembers? Unknown { get; init; }

    /// <summary>The library bytes that count in its enterprise's quota until it is Ready: the announced length, or the size that a promotion copies; null if that is not known.</summary>
    [JsonIgnore]
    public long? ExpectedBytes => Promotion is { } promotion ? promotion.Disks.SelectMany(disk => disk.Layers).Sum(layer => layer.Bytes) : Command.Bytes;

    /// <summary>The same for the quota of virtual size. The size of a raw disk is the number of its bytes, unless they are compressed, which is known when the head was read.</summary>
    [JsonIgnore]
    public long? ExpectedVirtualBytes => Promotion is { } promotion ? promotion.Disks.Sum(disk => disk.VirtualSizeBytes)
        : VirtualBytes ?? (Command.Format is ImageFormat.Raw ? Command.Bytes : null);

    /// <summary>The usage that counts in its enterprise's quotas while its image is Importing.</summary>
    public EnterpriseUsage ToUsage() => new(LibraryBytes: ExpectedBytes ?? 0, Images: 1, Uploads: 1, VirtualBytes: ExpectedVirtualBytes ?? 0);

    public UploadPlan ToPlan() => new(Operation, Layer, Command, Promotion, StartedAt);

    /// <summary>The target and the source of a promotion.</summary>
    [JsonIgnore]
    public IEnumerable<LayerId> Layers => Promotion is { } promotion ? promotion.Disks.SelectMany(disk => disk.Layers).Select(layer => layer.Id).Concat(promotion.Layers) : [Layer];
}

/// <summary>How the bytes of an import arrive.</summary>
internal enum ImportWay
{
    OneRequest,
    Parts,
    Path,
    Promotion,
}
