using Instances.Appliances;
using Instances.Catalogue;
using Instances.Doctor;
using Instances.Enterprises;
using Instances.Faults;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.Requests;
using Instances.VirtualMachines;

namespace Instances.Datacenters;

/// <summary>The datacenter that a request's path names: its grains, and the URLs below it.</summary>
internal sealed class Datacenter(IDatacenterConnection connection, PathString basePath)
{
    public string Name => connection.Name;

    public ICatalogueGrain Catalogue => Find(client => client.GetGrain<ICatalogueGrain>(0));

    public IDatacenterGrain Hosts => Find(client => client.GetGrain<IDatacenterGrain>(IDatacenterGrain.Key));

    public IHostGrain Host(HostId id) => Find(client => client.GetGrain<IHostGrain>(id.Name));

    public ICompactionGrain Compaction => Find(client => client.GetGrain<ICompactionGrain>(ICompactionGrain.Key));

    public ILibraryGrain Library => Find(client => client.GetGrain<ILibraryGrain>(ILibraryGrain.Key));

    public IScrubGrain Scrub => Find(client => client.GetGrain<IScrubGrain>(IScrubGrain.Key));

    public IDoctorGrain Doctor => Find(client => client.GetGrain<IDoctorGrain>(IDoctorGrain.Key));

    public IEnterpriseGrain Enterprise(EnterpriseId id) => Find(client => client.GetGrain<IEnterpriseGrain>(id.Value));

    public IApplianceGrain Appliance(ApplianceId id) => Find(client => client.GetGrain<IApplianceGrain>(id.Value));

    public IVirtualMachineGrain VirtualMachine(VirtualMachineId id) => Find(client => client.GetGrain<IVirtualMachineGrain>(id.Value));

    public IImageGrain Image(ImageId id) => Find(client => client.GetGrain<IImageGrain>(id.Value));

    public IOperationGrain Operation(OperationId id) => Find(client => client.GetGrain<IOperationGrain>(id.Value));

    public IRequestGrain Request(RequestId id) => Find(client => client.GetGrain<IRequestGrain>(id.Value));

    public string Url(string path) => $"{basePath}/api/v1/datacenters/{Name}/{path}";

    /// <summary>Called for each handler's parameter.</summary>
    /// <exception cref="FaultException">datacenter-not-found.</exception>
    public static ValueTask<Datacenter> BindAsync(HttpContext context)
    {
        var directory = context.RequestServices.GetRequiredService<DatacenterDirectory>();
        var name = (string)context.Request.RouteValues["datacenter"]!;
        return ValueTask.FromResult(new Datacenter(directory.Get(name), context.Request.PathBase));
    }

    /// <exception cref="FaultException">datacenter-unavailable: it was not reached yet, or none of its silos has the grain.</exception>
    private TGrain Find<TGrain>(Func<IClusterClient, TGrain> find)
    {
        try
        {
            return find(connection.Client);
        }
        catch (ArgumentException exception)
        {
            throw RemoteDatacenter.Unreachable(Name, exception);
        }
    }
}
