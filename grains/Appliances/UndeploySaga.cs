using Instances.Operations;
using Instances.Sagas;
using Instances.VirtualMachines;

namespace Instances.Appliances;

/// <summary>Undeploy: it is committed with its acceptance. Machines are removed until all are gone.</summary>
internal sealed class UndeploySaga(ISagaContext appliance)
{
    public Saga Saga => new("undeploy",
    [
        SagaStep.Commit("accept", _ => Task.CompletedTask),
        SagaStep.Forward("undeploy", _ => Remove()),
        SagaStep.Forward("finish", _ => appliance.End(ApplianceStatus.Undeployed, new OperationResult())),
    ]);

    private Task Remove() => FanOut.Each(appliance.State.Operation!.Targets, target => appliance.ForMachine("undeploy", target.Name, async () =>
    {
        appliance.Activity(target.Id, "removing");
        var isRemoved = await appliance.Grains.VirtualMachine(target.Id).Undeploy(CaptureEnd.None, appliance.State.Operation!.Forced);
        appliance.Activity(target.Id, isRemoved ? "undeployed" : "given up, since its host is away");
    }));
}
