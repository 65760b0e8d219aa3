using System.Text.Json;
using System.Text.Json.Serialization;
using Instances.Library;

namespace Instances.Catalogue;

/// <summary>The part of a grain's stored state that the database projects into the catalogue: the property <c>catalogue</c> of its JSON.
/// A state without one is not listed.</summary>
/// <param name="Kind"><c>appliance</c>, <c>virtual-machine</c>, <c>image</c>, <c>enterprise</c>, <c>operation</c> or <c>request</c>.</param>
/// <param name="Owner">The appliance of a machine or an operation; the master of a slave.</param>
/// <param name="Image">The image that a machine uses.</param>
/// <param name="Machine">The machine that a slave was captured from.</param>
/// <param name="Layers">The layers that the entry needs. They are kept while it is listed.</param>
/// <param name="View">The view that lists show. For an image, the database reads the size, the labels and other members from it.</param>
/// <param name="SearchName">Of an image: the name in capital letters, which lists are searched and sorted by. Databases differ in how they convert to capitals.</param>
/// <param name="Enterprise">The enterprise that owns an appliance, a machine or an image.</param>
/// <param name="QuotaBytes">For an image: the bytes that count in the quota libraryBytes; null if that is the size in its view.</param>
/// <param name="Planned">For an appliance: the images that its running capture creates. They count before they have records.</param>
/// <param name="VirtualBytes">The bytes that count in the quota virtualBytes: for an image, its disks; for an appliance, the disks of all images that its running capture creates.</param>
internal sealed record CatalogueEntry(
    string Kind,
    Guid Id,
    string? Name,
    string Status,
    Guid? Owner,
    Guid? Image,
    Guid? Machine,
    DateTimeOffset CreatedAt,
    IReadOnlyList<LayerId> Layers,
    JsonElement View,
    string? SearchName = null,
    Guid? Enterprise = null,
    long? QuotaBytes = null,
    IReadOnlyList<ImageId>? Planned = null,
    long? VirtualBytes = null)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData]
    public UnknownMembers? Unknown { get; init; }

    public const string Appliance = "appliance";
    public const string VirtualMachine = "virtual-machine";
    public const string ImageKind = "image";
    public const string EnterpriseKind = "enterprise";
    public const string Operation = "operation";
    public const string Request = "request";
}
