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
/// <param name="Layers">The layers that this thing needs; they are kept while it is listed.</param>
/// <param name="View">What lists show. Of an image the database takes its size, labels and the like from there.</param>
/// <param name="SearchName">Of an image: the name in capital letters, which lists are searched and sorted by. Databases differ in what they take for capitals.</param>
/// <param name="Enterprise">Whose an appliance, a machine or an image is.</param>
/// <param name="QuotaBytes">Of an image: what it counts in its enterprise's quota of library bytes; null if that is the size in its view.</param>
/// <param name="Planned">Of an appliance: the images that its running capture makes. They count before they have records.</param>
/// <param name="VirtualBytes">What counts in the quota of virtual size: of an image its disks, of an appliance those of all images that its running capture makes.</param>
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
