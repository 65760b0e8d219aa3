using Instances.Faults;
using Instances.Library;
using Instances.VirtualMachines;

namespace Instances.Hosts;

/// <summary>Lists the machines and files of the host, and removes those without an owner.</summary>
internal sealed partial class HostGrain
{
    public async Task<HostInventory> Inventory()
    {
        await Adopted();
        return new(await Present(), await hypervisor.ListLeftovers(), [.. layers.List().Select(layer => layer.Id)], CorruptCopies(), await FindUsed(), Problem);
    }

    public async Task RemoveOrphan(VirtualMachineId machine, IReadOnlyList<LayerId> ownLayers)
    {
        await Adopted();
        await Started(machine);
        RequireOurs();

        // A machine's record places it before the host starts it: a machine that is on the host before, and not placed here after, has no owner.
        var orphan = await hypervisor.Find(machine);
        if ((await FindRecord(machine))?.Host == Id)
            throw FaultException.Conflict("virtual-machine-known", $"The record of the virtual machine {machine} places it on the host {Id}: undeploy its appliance instead.");
        await BeginRemoval(machine);
        LogOrphan(Id.Name, machine.Value);
        if (orphan is not null) await hypervisor.Remove(machine, orphan.Deployment);
        else await hypervisor.RemoveLeftover(machine);
        Forget(machine);
        await SweepNow();
    }

    public async Task RemoveLayers(IReadOnlyList<LayerId> unowned)
    {
        await Adopted();
        RequireOurs();
        await SweepNow();
    }

    /// <summary>The doctor must follow the same rule as the host itself.</summary>
    /// <exception cref="FaultException">removal-held.</exception>
    private async Task BeginRemoval(VirtualMachineId machine)
    {
        if (!_unowned.TryBegin(machine, await Present()))
            throw FaultException.Conflict("removal-held", $"Too many virtual machines would be removed from the host {Id} without the operator: list them with 'silo host discard {Id} --dry-run'.");
    }

    /// <returns>Null if a file cannot be read.</returns>
    private async Task<IReadOnlyList<LayerId>?> FindUsed()
    {
        try
        {
            return [.. await hypervisor.UsedLayers()];
        }
        catch (FaultException exception)
        {
            LogUseUnknown(Id.Name, exception.Message);
            return null;
        }
    }
}
