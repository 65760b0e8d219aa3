using Instances.Datacenters;
using Instances.Faults;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.Sagas;
using Instances.VirtualMachines;

namespace Instances.Appliances;

/// <summary>Deploy: every machine of the operation runs on a host, or none does and nothing is left of them.</summary>
internal sealed class DeploySaga(ISagaContext appliance)
{
    private const string LayerMissing = "layer-missing";

    private IReadOnlyList<Placement> _placements = [];
    private IReadOnlyDictionary<VirtualMachineId, IReadOnlyList<LayerManifest>> _layers = new Dictionary<VirtualMachineId, IReadOnlyList<LayerManifest>>();

    public Saga Saga => new("deploy",
    [
        SagaStep.Undoable("place", Place, Release, appliance.RestartPatience),
        SagaStep.WithoutUndo("fetch", Fetch, why: "fetched layers are a cache that the host bounds", appliance.RestartPatience),
        SagaStep.Undoable("start", Start, Remove, appliance.RestartPatience),
        SagaStep.Commit("finish", _ => appliance.End(ApplianceStatus.Deployed, new OperationResult())),
    ]);

    private RunningOperation Operation => appliance.State.Operation!;

    private async Task Place(CancellationToken cancellationToken)
    {
        var views = await Look();

        // A resumed run finds machines that already have their host.
        var placed = views.Where(view => view.Host is not null).Select(view => new Placement(view.Id, view.Host!.Value));
        var requests = views.Where(view => view.Host is null).Select(view =>
            new PlacementRequest(view.Id, view.EffectiveCpus, view.EffectiveMemoryBytes, [.. _layers[view.Id].Select(layer => new LayerNeed(layer.Id, layer.Bytes))], HostPort.Of(view.PortForwards), view.Name)).ToList();
        _placements = [.. placed, .. await appliance.Grains.Datacenter().Place(Operation.Id, appliance.Id, requests)];
    }

    /// <summary>Determines which layers each machine needs: those that it already uses, or those that its image has now.</summary>
    private async Task<IReadOnlyList<VirtualMachineView>> Look()
    {
        var views = await appliance.Views(Operation.Targets);
        var images = (await Task.WhenAll(views.Select(view => view.Image).Distinct().Select(image => appliance.Grains.Image(image).Get()))).ToDictionary(image => image.Id);
        _layers = views.ToDictionary(view => view.Id, view => LayersOf(view, images[view.Image]));
        return views;

        static IReadOnlyList<LayerManifest> LayersOf(VirtualMachineView view, ImageView image)
        {
            var layers = image.Disks.SelectMany(disk => disk.Layers).DistinctBy(layer => layer.Id).ToDictionary(layer => layer.Id);
            return view.Disks.Count == 0
                ? [.. layers.Values]
                : [.. view.Disks.SelectMany(disk => disk.Layers.SkipLast(1)).Distinct().Select(layer => layers.GetValueOrDefault(layer) ?? new(layer, Parent: null, Bytes: 0, image.Id))];
        }
    }

    private Task Release() => appliance.Grains.Datacenter().Release(Operation.Id);

    /// <summary>Fetches to each host the layers that it lacks. The machines use their images, which therefore cannot be deleted. If layers were merged since they were
    /// determined, the merged layers are fetched.</summary>
    private async Task Fetch(CancellationToken cancellationToken)
    {
        while (true)
        {
            try
            {
                await Task.WhenAll(_placements.ToLookup(placement => placement.Host, placement => placement.Machine).Select(host => FetchTo(host.Key, [.. host], cancellationToken)).ToList());
                return;
            }
            catch (FaultException exception) when (exception.Fault.Code == LayerMissing)
            {
                var before = _layers;
                await Look();
                if (before.All(machine => machine.Value.Select(layer => layer.Id).SequenceEqual(_layers[machine.Key].Select(layer => layer.Id)))) throw;
            }
        }
    }

    private Task FetchTo(HostId host, IReadOnlyList<VirtualMachineId> machines, CancellationToken cancellationToken)
    {
        IReadOnlyList<LayerManifest> layers = [.. machines.SelectMany(machine => _layers[machine]).DistinctBy(layer => layer.Id)];
        return Transfers.Watch(() => appliance.Grains.Host(host).Fetch(layers), Show, appliance.Moved, appliance.Time, cancellationToken);

        void Show(TransferProgress progress)
        {
            var moved = progress.Layers.ToDictionary(layer => layer.Id, layer => layer.BytesMoved);
            foreach (var machine in machines) appliance.Activity(machine, Transfers.Describe("fetching", progress), _layers[machine].Sum(layer => moved[layer.Id]));
        }
    }

    private async Task Start(CancellationToken cancellationToken)
    {
        var names = Operation.Targets.ToDictionary(target => target.Id, target => target.Name);
        await FanOut.EachByHost(_placements, placement => placement.Host, StartOne, cancellationToken);

        // Their hosts now count them.
        await Release();

        Task StartOne(Placement placement) => appliance.ForMachine("start", names[placement.Machine], async () =>
        {
            appliance.Activity(placement.Machine, "starting");
            var view = await DeployOne(placement, cancellationToken);
            appliance.Activity(placement.Machine, view.Status is VirtualMachineStatus.Running ? "running" : "stopped");
        });
    }

    private async Task<VirtualMachineView> DeployOne(Placement placement, CancellationToken cancellationToken)
    {
        var machine = appliance.Grains.VirtualMachine(placement.Machine);
        try
        {
            return await machine.Deploy(Operation.Id, placement.Host, cancellationToken);
        }
        catch (FaultException exception) when (exception.Fault.Code == LayerMissing)
        {
            // Layers of its image were merged after the fetch. The machine refers to the layers that it already uses, which stay.
            await Look();
            await FetchTo(placement.Host, [placement.Machine], cancellationToken);
            return await machine.Deploy(Operation.Id, placement.Host, cancellationToken);
        }
    }

    private Task Remove() => appliance.RemoveMachines("undo start", Operation.Targets, _ => CaptureEnd.None, "undeployed");
}
