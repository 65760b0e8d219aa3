using Instances.Faults;
using Instances.Library;
using Instances.VirtualMachines;

namespace Instances.Hosts;

/// <summary>What is on the host, and the removal of what is there without an owner.</summary>
internal sealed partial class HostGrain
{
    public async Task<HostInventory> Inventory()
    {
        await Adopted();
        var machines = (await hypervisor.List()).Where(machine => machine.Id != _rehearsed).ToList();
        return new(machines, await hypervisor.ListLeftovers(), [.. layers.List().Select(layer => layer.Id)], CorruptCopies());
    }

    public async Task RemoveOrphan(VirtualMachineId machine, IReadOnlyList<LayerId> ownLayers)
    {
        await Adopted();
        await Started(machine);

        // A machine is placed by its record before it comes to a host: one that is not placed here by now is nobody's.
        if (await Placed(machine) == Id)
            throw FaultException.Conflict("virtual-machine-known", $"The record of the virtual machine {machine} places it on the host {Id}: undeploy its appliance instead.");
        LogOrphan(Id.Name, machine.Value);
        if (await hypervisor.Find(machine) is { } orphan) await hypervisor.Remove(machine, orphan.Deployment);
        else await hypervisor.RemoveLeftover(machine);
        LetGo(machine);
        CaptureEnded(machine);
        _restarts.Forget(machine);
        await SweepNow();
    }

    public Task RemoveLayers(IReadOnlyList<LayerId> unowned) => SweepNow();

    /// <returns>The host that the machine's record names, or null.</returns>
    private async Task<HostId?> Placed(VirtualMachineId machine)
    {
        try
        {
            return (await GrainFactory.VirtualMachine(machine).Get()).Host;
        }
        catch (FaultException exception) when (exception.Fault.Kind is FaultKind.NotFound)
        {
            return null;
        }
    }
}
