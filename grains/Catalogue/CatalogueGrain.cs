using Instances.Appliances;
using Instances.Enterprises;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;
using Orleans.Concurrency;

namespace Instances.Catalogue;

/// <summary>Gives clients access to the catalogue without database credentials.</summary>
[StatelessWorker]
internal sealed class CatalogueGrain(ICatalogue catalogue) : Grain, ICatalogueGrain
{
    private bool _hasDefaultEnterprise;

    public Task<Page<ApplianceView>> Appliances(EnterpriseId? enterprise, PageRequest page) => catalogue.Appliances(enterprise, page);

    public async Task<Page<EnterpriseView>> Enterprises(PageRequest page)
    {
        // Its record is created at its first use.
        if (!_hasDefaultEnterprise) await GrainFactory.Enterprise(EnterpriseId.Default).Get();
        _hasDefaultEnterprise = true;
        return await catalogue.Enterprises(page);
    }

    public Task<Page<VirtualMachineView>> VirtualMachines(ApplianceId appliance, PageRequest page) => catalogue.VirtualMachines(appliance, page);

    public Task<Page<ImageView>> Images(ImageFilter filter, PageRequest page) => catalogue.Images(filter, page);

    public Task<ImageLineage> Lineage(ImageId image, PageRequest page) => catalogue.Lineage(image, page);

    public Task<Page<VirtualMachineView>> UsersOf(ImageId image, PageRequest page) => catalogue.UsersOf(image, page);

    public Task<Page<OperationView>> Operations(ApplianceId? appliance, PageRequest page) => FindOperations(new(appliance), page);

    public async Task<Page<OperationView>> FindOperations(OperationFilter filter, PageRequest page)
    {
        if (filter.Status is not (OperationStatus.Running or OperationStatus.Unwinding or OperationStatus.Stuck)) return await catalogue.Operations(filter, page);

        // Only the operation's grain knows the progress of an operation before its end.
        var open = await catalogue.Operations(filter with { Status = OperationStatus.Running }, page);
        var views = await Task.WhenAll(open.Items.Select(view => GrainFactory.Operation(view.Id).Find()));
        return open with { Items = [.. views.OfType<OperationView>().Where(view => view.Status == filter.Status)] };
    }

    public Task<IReadOnlyList<VirtualMachineId>> MachinesOn(HostId host) => catalogue.MachinesOn(host);
}
