namespace Instances.Library;

/// <summary>Why an image was retired.</summary>
public enum RetirementReason
{
    /// <summary>A user deleted it.</summary>
    Deleted,

    /// <summary>An instance was created that replaced it.</summary>
    Updated,

    /// <summary>A retention rule did not keep it.</summary>
    Retention,
}

/// <summary>What a deletion retires, or would retire.</summary>
/// <param name="DryRun">Nothing was done.</param>
/// <param name="Images">The slaves first, the image itself last.</param>
/// <param name="RestorableUntil">Until when they can be restored.</param>
[GenerateSerializer, Immutable, Alias("instances.ImageDeletion")]
public sealed record ImageDeletion(
    [property: Id(0)] bool DryRun,
    [property: Id(1)] IReadOnlyList<DeletedImage> Images,
    [property: Id(2)] DateTimeOffset RestorableUntil);

/// <param name="Bytes">Space that the image's own layer files take. A layer goes when no image and no machine needs it.</param>
[GenerateSerializer, Immutable, Alias("instances.DeletedImage")]
public sealed record DeletedImage(
    [property: Id(0)] ImageId Id,
    [property: Id(1)] string Name,
    [property: Id(2)] ImageKind Kind,
    [property: Id(3)] long Bytes);
