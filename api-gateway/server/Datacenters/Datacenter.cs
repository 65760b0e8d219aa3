using Instances.Appliances;
using Instances.Catalogue;
using Instances.Doctor;
using Instances.Faults;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;

namespace Instances.Datacenters;

/// <summary>The datacenter that a request's path names: its grains, and the URLs below it.</summary>
internal sealed class Datacenter(IDatacenterConnection connection, PathString basePath)
{
    public string Name => connection.Name;

    public ICatalogueGrain Catalogue => connection.Client.GetGrain<ICatalogueGrain>(0);

    public IDatacenterGrain Hosts => connection.Client.GetGrain<IDatacenterGrain>(IDatacenterGrain.Key);

    public IDoctorGrain Doctor => connection.Client.GetGrain<IDoctorGrain>(IDoctorGrain.Key);

    public IApplianceGrain Appliance(ApplianceId id) => connection.Client.GetGrain<IApplianceGrain>(id.Value);

    public IVirtualMachineGrain VirtualMachine(VirtualMachineId id) => connection.Client.GetGrain<IVirtualMachineGrain>(id.Value);

    public IImageGrain Image(ImageId id) => connection.Client.GetGrain<IImageGrain>(id.Value);

    public IOperationGrain Operation(OperationId id) => connection.Client.GetGrain<IOperationGrain>(id.Value);

    public string Url(string path) => $"{basePath}/api/v1/datacenters/{Name}/{path}";

    /// <summary>Called for each handler's parameter.</summary>
    /// <exception cref="FaultException">datacenter-not-found.</exception>
    public static ValueTask<Datacenter> BindAsync(HttpContext context)
    {
        var directory = context.RequestServices.GetRequiredService<DatacenterDirectory>();
        var name = (string)context.Request.RouteValues["datacenter"]!;
        return ValueTask.FromResult(new Datacenter(directory.Get(name), context.Request.PathBase));
    }
}
