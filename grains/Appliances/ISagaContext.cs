using Instances.Catalogue;
using Instances.Operations;
using Instances.VirtualMachines;

namespace Instances.Appliances;

/// <summary>What the sagas of an appliance see of their grain.</summary>
internal interface ISagaContext
{
    ApplianceId Id { get; }

    /// <summary>The appliance as it is durable.</summary>
    ApplianceState State { get; }

    IGrainFactory Grains { get; }

    ICatalogue Catalogue { get; }

    TimeProvider Time { get; }

    /// <summary>How long a step before the commit point waits for somebody who is unreachable.</summary>
    TimeSpan RestartPatience { get; }

    /// <summary>The records of machines of the appliance, in the same order. One query.</summary>
    Task<IReadOnlyList<VirtualMachineView>> Views(IReadOnlyList<ApplianceMember> machines);

    /// <summary>Makes the commit durable. From this call on, nobody can cancel.</summary>
    Task Commit(Func<ApplianceState, ApplianceState> change);

    /// <summary>The last step of a saga that went through: the appliance rests, and the operation has succeeded. One durable write; nothing where the operation has ended.</summary>
    Task End(ApplianceStatus rest, OperationResult result);

    /// <summary>For people who watch.</summary>
    void Activity(VirtualMachineId machine, string activity, long? bytes = null);

    /// <summary>Bytes were moved: machines that are held for this operation are held on, although it takes long.</summary>
    void Moved();

    /// <summary>Runs the part of a step that belongs to one machine, under the probe's eyes.</summary>
    Task ForMachine(string step, string machine, Func<Task> action);
}

internal static class SagaContextExtensions
{
    /// <summary>Removes machines from their hosts. Every removal is tried, whatever the others come to.</summary>
    /// <param name="step">The name of the part of the step, for the probe.</param>
    /// <param name="done">What people read of a machine that its host has removed.</param>
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
