using Instances.Catalogue;
using Instances.Operations;
using Instances.VirtualMachines;

namespace Instances.Appliances;

/// <summary>The part of the appliance's grain that its sagas use.</summary>
internal interface ISagaContext
{
    ApplianceId Id { get; }

    /// <summary>The durable state of the appliance.</summary>
    ApplianceState State { get; }

    IGrainFactory Grains { get; }

    ICatalogue Catalogue { get; }

    TimeProvider Time { get; }

    /// <summary>How long a step before the commit point waits for an unreachable host or silo.</summary>
    TimeSpan RestartPatience { get; }

    /// <summary>The records of machines of the appliance, in the same order, without machines that have none. One query for all that the catalogue lists.</summary>
    Task<IReadOnlyList<VirtualMachineView>> Views(IReadOnlyList<ApplianceMember> machines);

    /// <summary>Makes the commit durable. From this call on, the operation cannot be cancelled.</summary>
    Task Commit(Func<ApplianceState, ApplianceState> change);

    /// <summary>The last step of a successful saga: the appliance is Deployed or Undeployed, and the operation has succeeded. One durable write. Does nothing if the operation has ended.</summary>
    Task End(ApplianceStatus rest, OperationResult result);

    /// <summary>Progress for watchers.</summary>
    void Activity(VirtualMachineId machine, string activity, long? bytes = null);

    /// <summary>Bytes were moved: the hosts keep holding the operation's machines, although it takes long.</summary>
    void Moved();

    /// <summary>Runs the part of a step for one machine, wrapped by the probe.</summary>
    Task ForMachine(string step, string machine, Func<Task> action);
}

internal static class SagaContextExtensions
{
    /// <summary>Removes machines from their hosts. Every removal is attempted, even if others fail.</summary>
    /// <param name="step">The name of the part of the step, for the probe.</param>
    /// <param name="done">The activity that is shown for a machine that its host has removed.</param>
    public static async Task RemoveMachines(
        this ISagaContext appliance, string step, IReadOnlyList<ApplianceMember> machines, Func<VirtualMachineId, CaptureEnd> end, string done)
    {
        await FanOut.AllByHost(await appliance.Views(machines), view => view.Host, view => appliance.ForMachine(step, view.Name, async () =>
        {
            appliance.Activity(view.Id, "removing");
            var isRemoved = await appliance.Grains.VirtualMachine(view.Id).Undeploy(end(view.Id), appliance.State.Operation!.Forced);
            appliance.Activity(view.Id, isRemoved ? done : $"{done}, and given up: its host did not remove it yet");
        }));
    }
}
