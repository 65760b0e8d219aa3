using Instances.Datacenters;
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
        SagaStep.WithoutUndo("place", Place, why: "choosing hosts changes nothing"),
        SagaStep.Undoable("start", Start, Remove),
        SagaStep.Commit("finish", _ => appliance.End(ApplianceStatus.Deployed, new OperationResult())),
    ]);

    private RunningOperation Operation => appliance.State.Operation!;

    private async Task Place(CancellationToken cancellationToken)
    {
        var views = await Task.WhenAll(Operation.Targets.Select(target => appliance.Grains.VirtualMachine(target.Id).Get()));

        // A run that was taken up again finds machines that have their host.
        var placed = views.Where(view => view.Host is not null).Select(view => new Placement(view.Id, view.Host!.Value));
        var open = views.Where(view => view.Host is null).Select(view => new PlacementRequest(view.Id, view.Cpus, view.MemoryBytes));
        _placements = [.. placed, .. await appliance.Grains.Datacenter().Place([.. open])];
    }

    private Task Start(CancellationToken cancellationToken)
    {
        var names = Operation.Targets.ToDictionary(target => target.Id, target => target.Name);
        return FanOut.EachByHost(_placements, placement => placement.Host, StartOne, cancellationToken);

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
