using System.Globalization;
using Instances.Appliances;
using Instances.Datacenters;
using Instances.Doctor;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;

namespace Instances;

/// <summary>Grains by their typed keys.</summary>
internal static class GrainFactoryExtensions
{
    public static IApplianceGrain Appliance(this IGrainFactory grains, ApplianceId id) => grains.GetGrain<IApplianceGrain>(id.Value);

    public static IVirtualMachineGrain VirtualMachine(this IGrainFactory grains, VirtualMachineId id) => grains.GetGrain<IVirtualMachineGrain>(id.Value);

    public static IImageGrain Image(this IGrainFactory grains, ImageId id) => grains.GetGrain<IImageGrain>(id.Value);

    public static IOperationGrain Operation(this IGrainFactory grains, OperationId id) => grains.GetGrain<IOperationGrain>(id.Value);

    public static IHostGrain Host(this IGrainFactory grains, HostId id) => grains.GetGrain<IHostGrain>(id.Name);

    public static IDatacenterGrain Datacenter(this IGrainFactory grains) => grains.GetGrain<IDatacenterGrain>(IDatacenterGrain.Key);

    public static IDoctorGrain Doctor(this IGrainFactory grains) => grains.GetGrain<IDoctorGrain>(IDoctorGrain.Key);

    public static ILibraryGrain Library(this IGrainFactory grains) => grains.GetGrain<ILibraryGrain>(ILibraryGrain.Key);

    /// <summary>A number of bytes for people, such as <c>1.5 GiB</c>.</summary>
    public static string Bytes(this long bytes) => bytes switch
    {
        >= 1L << 30 => string.Create(CultureInfo.InvariantCulture, $"{bytes / (double)(1L << 30):0.#} GiB"),
        >= 1L << 20 => string.Create(CultureInfo.InvariantCulture, $"{bytes / (double)(1L << 20):0.#} MiB"),
        _ => string.Create(CultureInfo.InvariantCulture, $"{bytes} bytes"),
    };
}
