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

    private Task Remove() => appliance.RemoveMachines("undeploy", appliance.State.Operation!.Targets, _ => CaptureEnd.None, "undeployed");
}
