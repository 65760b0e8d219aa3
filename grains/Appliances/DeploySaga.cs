using Instances.Datacenters;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.Sagas;
using Instances.VirtualMachines;

namespace Instances.Appliances;

/// <summary>Deploy: every machine of the operation runs on a host, or none does and nothing of them is left.</summary>
internal sealed class DeploySaga(ISagaContext appliance)
{
    private IReadOnlyList<Placement> _placements = [];
    private IReadOnlyDictionary<VirtualMachineId, IReadOnlyList<LayerManifest>> _layers = new Dictionary<VirtualMachineId, IReadOnlyList<LayerManifest>>();

    public Saga Saga => new("deploy",
    [
        SagaStep.Undoable("place", Place, Release, appliance.RestartPatience),
        SagaStep.WithoutUndo("fetch", Fetch, why: "what was fetched is a cache, which the host bounds by itself", appliance.RestartPatience),
        SagaStep.Undoable("start", Start, Remove, appliance.RestartPatience),
        SagaStep.Commit("finish", _ => appliance.End(ApplianceStatus.Deployed, new OperationResult())),
    ]);

    private RunningOperation Operation => appliance.State.Operation!;

    private async Task Place(CancellationToken cancellationToken)
    {
        var views = await Task.WhenAll(Operation.Targets.Select(target => appliance.Grains.VirtualMachine(target.Id).Get()));
        var images = await Task.WhenAll(views.Select(view => view.Image).Distinct().Select(image => appliance.Grains.Image(image).Get()));
        var layers = images.ToDictionary(image => image.Id, image => (IReadOnlyList<LayerManifest>)[.. image.Disks.SelectMany(disk => disk.Layers).DistinctBy(layer => layer.Id)]);
        _layers = views.ToDictionary(view => view.Id, view => layers[view.Image]);

        // A run that was taken up again finds machines that have their host.
        var placed = views.Where(view => view.Host is not null).Select(view => new Placement(view.Id, view.Host!.Value));
        var requests = views.Where(view => view.Host is null).Select(view =>
            new PlacementRequest(view.Id, view.Cpus, view.MemoryBytes, [.. _layers[view.Id].Select(layer => new LayerNeed(layer.Id, layer.Bytes))])).ToList();
        _placements = [.. placed, .. await appliance.Grains.Datacenter().Place(Operation.Id, appliance.Id, requests)];
    }

    private Task Release() => appliance.Grains.Datacenter().Release(Operation.Id);

    /// <summary>Brings to each host the layers that it lacks. The machines use their images, which cannot be deleted and whose layers are not swept.</summary>
    private Task Fetch(CancellationToken cancellationToken)
    {
        return Task.WhenAll(_placements.ToLookup(placement => placement.Host, placement => placement.Machine).Select(FetchTo).ToList());

        Task FetchTo(IGrouping<HostId, VirtualMachineId> host)
        {
            IReadOnlyList<LayerManifest> layers = [.. host.SelectMany(machine => _layers[machine]).DistinctBy(layer => layer.Id)];
            return Transfers.Watch(() => appliance.Grains.Host(host.Key).Fetch(layers), Show, appliance.Moved, appliance.Time, cancellationToken);

            void Show(TransferProgress progress)
            {
                var moved = progress.Layers.ToDictionary(layer => layer.Id, layer => layer.BytesMoved);
                foreach (var machine in host) appliance.Activity(machine, Transfers.Describe("fetching", progress), _layers[machine].Sum(layer => moved[layer.Id]));
            }
        }
    }

    private async Task Start(CancellationToken cancellationToken)
    {
        var names = Operation.Targets.ToDictionary(target => target.Id, target => target.Name);
        await FanOut.EachByHost(_placements, placement => placement.Host, StartOne, cancellationToken);

        // Their hosts count them by now.
        await Release();

        Task StartOne(Placement placement) => appliance.ForMachine("start", names[placement.Machine], async () =>
        {
            appliance.Activity(placement.Machine, "starting");
            var view = await appliance.Grains.VirtualMachine(placement.Machine).Deploy(Operation.Id, placement.Host, cancellationToken);
            appliance.Activity(placement.Machine, view.Status is VirtualMachineStatus.Running ? "running" : "stopped");
        });
    }

    private Task Remove() => FanOut.Each(Operation.Targets, async target =>
    {
        appliance.Activity(target.Id, "removing");
        var isRemoved = await appliance.Grains.VirtualMachine(target.Id).Undeploy(CaptureEnd.None, Operation.Forced);
        appliance.Activity(target.Id, isRemoved ? "undeployed" : "given up, since its host is away");
    });
}
