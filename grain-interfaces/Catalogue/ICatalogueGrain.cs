using Instances.Appliances;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;

namespace Instances.Catalogue;

/// <summary>Lists. They are read from the catalogue, which never lags behind the grains and wakes none of them. Keyed by 0; runs beside every caller.</summary>
[Alias("instances.ICatalogueGrain")]
public interface ICatalogueGrain : IGrainWithIntegerKey
{
    [Alias("Appliances")]
    Task<Page<ApplianceView>> Appliances(PageRequest page);

    [Alias("VirtualMachines")]
    Task<Page<VirtualMachineView>> VirtualMachines(ApplianceId appliance, PageRequest page);

    /// <param name="filter">Null parts do not filter. Retired and Failed images are listed only where the status asks for them.</param>
    [Alias("Images")]
    Task<Page<ImageView>> Images(ImageFilter filter, PageRequest page);

    /// <param name="appliance">Null for the operations of all appliances and images.</param>
    [Alias("Operations")]
    Task<Page<OperationView>> Operations(ApplianceId? appliance, PageRequest page);

    /// <summary>Called by a host: the machines that are to be on it.</summary>
    [Alias("MachinesOn")]
    Task<IReadOnlyList<VirtualMachineId>> MachinesOn(HostId host);
}

[GenerateSerializer, Immutable, Alias("instances.ImageFilter")]
public sealed record ImageFilter(
    [property: Id(0)] ImageKind? Kind = null,
    [property: Id(1)] ImageStatus? Status = null,
    [property: Id(2)] ImageId? Master = null,
    [property: Id(3)] string? Name = null);

/// <param name="Limit">1 to <see cref="MaxLimit"/> rows.</param>
/// <param name="Cursor">Where the page before ended, or null for the first page. Opaque.</param>
[GenerateSerializer, Immutable, Alias("instances.PageRequest")]
public sealed record PageRequest([property: Id(0)] int Limit = PageRequest.DefaultLimit, [property: Id(1)] string? Cursor = null)
{
    public const int DefaultLimit = 100;
    public const int MaxLimit = 1000;
}

/// <param name="Items">In the order in which they were created.</param>
/// <param name="NextCursor">For the next page; null at the end.</param>
[GenerateSerializer, Immutable, Alias("instances.Page`1")]
public sealed record Page<T>([property: Id(0)] IReadOnlyList<T> Items, [property: Id(1)] string? NextCursor);
