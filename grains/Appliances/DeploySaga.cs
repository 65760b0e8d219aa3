using Instances.Datacenters;
using Instances.Library;
using Instances.Operations;
using Instances.Sagas;
using Instances.VirtualMachines;

namespace Instances.Appliances;

/// <summary>Deploy: every machine of the operation runs on a host, or none does and nothing of them is left.</summary>
internal sealed class DeploySaga(ISagaContext appliance)
{
    private IReadOnlyList<Placement> _placements = [];

    public Saga Saga => new("deploy",
    [
        SagaStep.Undoable("place", Place, Release, SagaEngine.RestartPatience),
        SagaStep.Undoable("start", Start, Remove, SagaEngine.RestartPatience),
        SagaStep.Commit("finish", _ => appliance.End(ApplianceStatus.Deployed, new OperationResult())),
    ]);

    private RunningOperation Operation => appliance.State.Operation!;

    private async Task Place(CancellationToken cancellationToken)
    {
        var views = await Task.WhenAll(Operation.Targets.Select(target => appliance.Grains.VirtualMachine(target.Id).Get()));

        // A run that was taken up again finds machines that have their host.
        var placed = views.Where(view => view.Host is not null).Select(view => new Placement(view.Id, view.Host!.Value));
        var open = views.Where(view => view.Host is null).ToList();
        var layers = await Layers(open.Select(view => view.Image).Distinct());
        var requests = open.Select(view => new PlacementRequest(view.Id, view.Cpus, view.MemoryBytes, layers[view.Image])).ToList();
        _placements = [.. placed, .. await appliance.Grains.Datacenter().Place(Operation.Id, appliance.Id, requests)];
    }

    private async Task<Dictionary<ImageId, IReadOnlyList<LayerNeed>>> Layers(IEnumerable<ImageId> images)
    {
        var views = await Task.WhenAll(images.Select(image => appliance.Grains.Image(image).Get()));
        return views.ToDictionary(view => view.Id, view => (IReadOnlyList<LayerNeed>)
            [.. view.Disks.SelectMany(disk => disk.Layers).Select(layer => new LayerNeed(layer.Id, layer.Bytes))]);
    }

    private Task Release() => appliance.Grains.Datacenter().Release(Operation.Id);

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
        await appliance.Grains.VirtualMachine(target.Id).Undeploy(CaptureEnd.None);
        appliance.Activity(target.Id, "undeployed");
    });
}
