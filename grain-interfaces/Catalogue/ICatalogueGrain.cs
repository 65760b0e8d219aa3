using Instances.Appliances;
using Instances.Enterprises;
using Instances.Faults;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;

namespace Instances.Catalogue;

/// <summary>Lists. They are read from the catalogue, which is always as current as the grains, and activates none of them. Keyed by 0; runs in the caller's silo.</summary>
[Alias("instances.ICatalogueGrain")]
public interface ICatalogueGrain : IGrainWithIntegerKey
{
    /// <param name="enterprise">Null for the appliances of all enterprises.</param>
    [Alias("Appliances")]
    Task<Page<ApplianceView>> Appliances(EnterpriseId? enterprise, PageRequest page);

    /// <summary>The default one first, then the others by creation time. Without their usage.</summary>
    [Alias("Enterprises")]
    Task<Page<EnterpriseView>> Enterprises(PageRequest page);

    [Alias("VirtualMachines")]
    Task<Page<VirtualMachineView>> VirtualMachines(ApplianceId appliance, PageRequest page);

    /// <param name="filter">Null parts do not filter. Retired and Failed images are listed only if the filter includes them.</param>
    /// <exception cref="FaultException">filter-invalid; cursor-invalid, also for the cursor of another order.</exception>
    [Alias("Images")]
    Task<Page<ImageView>> Images(ImageFilter filter, PageRequest page);

    /// <param name="page">Of the descendants.</param>
    /// <exception cref="FaultException">image-not-found.</exception>
    [Alias("Lineage")]
    Task<ImageLineage> Lineage(ImageId image, PageRequest page);

    /// <summary>The virtual machines that use an image.</summary>
    [Alias("UsersOf")]
    Task<Page<VirtualMachineView>> UsersOf(ImageId image, PageRequest page);

    /// <summary>As <see cref="FindOperations"/>, for gateways of an earlier release.</summary>
    [Alias("Operations")]
    Task<Page<OperationView>> Operations(ApplianceId? appliance, PageRequest page);

    /// <summary>Newest first. With a status filter for operations that have not ended, each of them is asked for its status: a page may then have fewer items than its limit, although more pages follow.</summary>
    /// <param name="filter">Null parts do not filter.</param>
    /// <exception cref="FaultException">cursor-invalid.</exception>
    [Alias("FindOperations")]
    Task<Page<OperationView>> FindOperations(OperationFilter filter, PageRequest page);

    /// <summary>Called by a host: the machines that the records place on it.</summary>
    [Alias("MachinesOn")]
    Task<IReadOnlyList<VirtualMachineId>> MachinesOn(HostId host);
}

/// <summary>Which images are listed, and in which order.</summary>
/// <param name="Name">Exactly this name.</param>
/// <param name="Search">A part of the name, whatever the case of its letters: 1 to 128 characters.</param>
/// <param name="Parent">Captured from machines that used this image.</param>
/// <param name="VirtualMachine">Captured from this machine.</param>
/// <param name="Labels">Each <c>key</c>, for images that have the label, or <c>key=value</c>: at most 8. An image must have all of them.</param>
/// <param name="CreatedAfter">Created at this moment or later.</param>
/// <param name="CreatedBefore">Created earlier.</param>
/// <param name="IncludeRetired">Includes Retired images, if no status is given.</param>
/// <param name="Enterprise">Images that its machines can use: its own, and shared ones.</param>
[GenerateSerializer, Immutable, Alias("instances.ImageFilter")]
public sealed record ImageFilter(
    [property: Id(0)] ImageKind? Kind = null,
    [property: Id(1)] ImageStatus? Status = null,
    [property: Id(2)] ImageId? Master = null,
    [property: Id(3)] string? Name = null,
    [property: Id(4)] string? Search = null,
    [property: Id(5)] ImageId? Parent = null,
    [property: Id(6)] VirtualMachineId? VirtualMachine = null,
    [property: Id(7)] IReadOnlyList<string>? Labels = null,
    [property: Id(8)] DateTimeOffset? CreatedAfter = null,
    [property: Id(9)] DateTimeOffset? CreatedBefore = null,
    [property: Id(10)] bool IncludeRetired = false,
    [property: Id(11)] ImageOrder Order = ImageOrder.Created,
    [property: Id(12)] bool Descending = false,
    [property: Id(13)] EnterpriseId? Enterprise = null);

/// <summary>Which operations are listed.</summary>
/// <param name="Image">The image that an import or a promotion makes.</param>
[GenerateSerializer, Immutable, Alias("instances.OperationFilter")]
public sealed record OperationFilter(
    [property: Id(0)] ApplianceId? Appliance = null,
    [property: Id(1)] ImageId? Image = null,
    [property: Id(2)] OperationKind? Kind = null,
    [property: Id(3)] OperationStatus? Status = null);

/// <summary>What a list of images is sorted by; equal ones are in the order of their ids.</summary>
public enum ImageOrder
{
    Created,

    /// <summary>Without regard to case.</summary>
    Name,

    /// <summary>The space that an image's own layers take.</summary>
    Size,
}

/// <param name="Limit">1 to <see cref="MaxLimit"/> rows.</param>
/// <param name="Cursor">Where the page before ended, or null for the first page. Opaque.</param>
[GenerateSerializer, Immutable, Alias("instances.PageRequest")]
public sealed record PageRequest([property: Id(0)] int Limit = PageRequest.DefaultLimit, [property: Id(1)] string? Cursor = null)
{
    public const int DefaultLimit = 100;
    public const int MaxLimit = 1000;
}

/// <param name="Items">By creation time, unless documented otherwise.</param>
/// <param name="NextCursor">For the next page; null at the end.</param>
[GenerateSerializer, Immutable, Alias("instances.Page`1")]
public sealed record Page<T>([property: Id(0)] IReadOnlyList<T> Items, [property: Id(1)] string? NextCursor);
