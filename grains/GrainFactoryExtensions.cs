using System.Globalization;
using Instances.Appliances;
using Instances.Catalogue;
using Instances.Datacenters;
using Instances.Doctor;
using Instances.Enterprises;
using Instances.Faults;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.Requests;
using Instances.VirtualMachines;

namespace Instances;

/// <summary>Grains by their typed keys.</summary>
/// <exception cref="FaultException">grain-unavailable, or host-unavailable for a host: no silo of the cluster has the role that the grain needs, at the moment.</exception>
internal static class GrainFactoryExtensions
{
    public static IApplianceGrain Appliance(this IGrainFactory grains, ApplianceId id) => Find(() => grains.GetGrain<IApplianceGrain>(id.Value));

    public static IVirtualMachineGrain VirtualMachine(this IGrainFactory grains, VirtualMachineId id) => Find(() => grains.GetGrain<IVirtualMachineGrain>(id.Value));

    public static IImageGrain Image(this IGrainFactory grains, ImageId id) => Find(() => grains.GetGrain<IImageGrain>(id.Value));

    public static IOperationGrain Operation(this IGrainFactory grains, OperationId id) => Find(() => grains.GetGrain<IOperationGrain>(id.Value));

    public static IRequestGrain Request(this IGrainFactory grains, RequestId id) => Find(() => grains.GetGrain<IRequestGrain>(id.Value));

    public static IEnterpriseGrain Enterprise(this IGrainFactory grains, EnterpriseId id) => Find(() => grains.GetGrain<IEnterpriseGrain>(id.Value));

    public static IHostGrain Host(this IGrainFactory grains, HostId id) => 
        Find(() => grains.GetGrain<IHostGrain>(id.Name), HostPlacementDirector.HostUnavailable, $"The host {id} is unreachable: no silo of a host is running. Try again when it is back.");

    public static IDatacenterGrain Datacenter(this IGrainFactory grains) => Find(() => grains.GetGrain<IDatacenterGrain>(IDatacenterGrain.Key));

    public static ICatalogueGrain Catalogue(this IGrainFactory grains) => Find(() => grains.GetGrain<ICatalogueGrain>(0));

    public static IDoctorGrain Doctor(this IGrainFactory grains) => Find(() => grains.GetGrain<IDoctorGrain>(IDoctorGrain.Key));

    public static ILibraryGrain Library(this IGrainFactory grains) => Find(() => grains.GetGrain<ILibraryGrain>(ILibraryGrain.Key));

    public static IScrubGrain Scrub(this IGrainFactory grains) => Find(() => grains.GetGrain<IScrubGrain>(IScrubGrain.Key));

    public static ICompactionGrain Compaction(this IGrainFactory grains) => Find(() => grains.GetGrain<ICompactionGrain>(ICompactionGrain.Key));

    /// <summary>A number of bytes as text, such as <c>1.5 GiB</c>.</summary>
    public static string Bytes(this long bytes) => bytes switch
    {
        >= 1L << 30 => string.Create(CultureInfo.InvariantCulture, $"{bytes / (double)(1L << 30):0.#} GiB"),
        >= 1L << 20 => string.Create(CultureInfo.InvariantCulture, $"{bytes / (double)(1L << 20):0.#} MiB"),
        _ => string.Create(CultureInfo.InvariantCulture, $"{bytes} bytes"),
    };

    private static TGrain Find<TGrain>(
        Func<TGrain> find, string code = "grain-unavailable", string message = "The silos that would do this are not running, or cannot be reached: try again.")
    {
        try
        {
            return find();
        }
        catch (ArgumentException exception)
        {
            // Orleans throws this if no silo of the cluster has the grain's class.
            throw FaultException.Unavailable(code, message, exception);
        }
    }
}
