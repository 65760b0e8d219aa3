using Instances.Operations;
using Instances.Sagas;
using Instances.VirtualMachines;

namespace Instances.Appliances;

/// <summary>Undeploy: the commit point is the acceptance. Removals are repeated until all machines are removed.</summary>
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
