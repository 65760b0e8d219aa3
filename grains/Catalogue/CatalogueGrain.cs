using Instances.Appliances;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;
using Orleans.Concurrency;

namespace Instances.Catalogue;

/// <summary>The way to the catalogue for clients: they need no credentials of the database.</summary>
[StatelessWorker]
internal sealed class CatalogueGrain(ICatalogue catalogue) : Grain, ICatalogueGrain
{
    public Task<Page<ApplianceView>> Appliances(PageRequest page) => catalogue.Appliances(page);

    public Task<Page<VirtualMachineView>> VirtualMachines(ApplianceId appliance, PageRequest page) => catalogue.VirtualMachines(appliance, page);

    public Task<Page<ImageView>> Images(ImageFilter filter, PageRequest page) => catalogue.Images(filter, page);

    public Task<ImageLineage> Lineage(ImageId image, PageRequest page) => catalogue.Lineage(image, page);

    public Task<Page<VirtualMachineView>> UsersOf(ImageId image, PageRequest page) => catalogue.UsersOf(image, page);

    public Task<Page<OperationView>> Operations(ApplianceId? appliance, PageRequest page) => catalogue.Operations(appliance, page);

    public Task<IReadOnlyList<VirtualMachineId>> MachinesOn(HostId host) => catalogue.MachinesOn(host);
}
