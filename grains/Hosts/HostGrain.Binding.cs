using Instances.Faults;
using Instances.Operations;
using Instances.VirtualMachines;

namespace Instances.Hosts;

/// <summary>Which database the host's machines belong to. Nothing is removed if the current database may be another one.</summary>
internal sealed partial class HostGrain
{
    /// <summary>Deployments since the host's binding was last raised.</summary>
    private readonly Dictionary<OperationId, Task> _raised = [];

    private readonly SemaphoreSlim _raising = new(1);

    private readonly UnownedMachines _unowned = new(time);

    /// <summary>Why the machines are another database's; null if they are not.</summary>
    private string? _stranger;

    /// <summary>The rounds in progress that ask several records. Removals are judged together when the last round has ended.</summary>
    private int _rounds;

    private string? Problem => _stranger is null ? Held
        : $"{_stranger} Its machines keep running, nothing is removed, and it takes no new ones. Run 'silo host adopt {Id}' to create their records again, or 'silo host discard {Id}' to remove them.";

    /// <summary>Why machines that have no record wait for the operator; null if none do.</summary>
    private string? Held => !_unowned.IsHeld ? null
        : $"{_unowned.Count} virtual machines here have no record that places them on this host, which are too many to remove without the operator. They keep running. "
            + $"Run 'silo host adopt {Id}' to create their records again, or 'silo host discard {Id}' to remove them.";

    /// <summary>Part of the start: no call is answered before this is known.</summary>
    private async Task FindStranger(IReadOnlyList<MachineObservation> found)
    {
        var (mine, theirs) = (hypervisor.ReadBinding(), await bindings.Find(Id));
        var leftovers = await hypervisor.ListLeftovers();
        _stranger = HostBinding.FindStranger(mine, theirs, found.Count + leftovers.Count, mine is null && await IsAnyKnown(found, leftovers));
        if (_stranger is not null)
        {
            LogStranger(Id.Name, Problem!);
            return;
        }

        try
        {
            await Raise();
        }
        catch (FaultException exception) when (exception.Fault.Code == "no-space")
        {
            // The host's number may stay lower than the database's. The running machines must be adopted even if the disk is full.
            LogNotRaised(Id.Name, exception.Message);
        }
    }

    private async Task<bool> IsAnyKnown(IReadOnlyList<MachineObservation> found, IReadOnlyList<MachineLeftover> leftovers)
    {
        foreach (var leftover in leftovers)
        {
            if (await FindRecord(leftover.Machine) is not null) return true;
        }

        foreach (var machine in found)
        {
            if (await FindRecord(machine.Id) is not null || await GrainFactory.Operation(machine.Deployment).Find() is not null) return true;
        }

        return false;
    }

    /// <exception cref="FaultException">host-unknown-to-database.</exception>
    private void RequireOurs()
    {
        if (_stranger is not null) throw FaultException.Conflict("host-unknown-to-database", $"The host {Id} is not changed: {Problem}");
    }

    /// <summary>Raise the database's number first: a backup that does not know a deployment then has a lower number than the host.</summary>
    private async Task Raise()
    {
        await _raising.WaitAsync(_stop.Token);
        try
        {
            await hypervisor.WriteBinding(await bindings.Raise(Id, hypervisor.ReadBinding()?.Number ?? 0));
        }
        finally
        {
            _raising.Release();
        }
    }

    /// <summary>Once for each deployment.</summary>
    private async Task RaiseFor(OperationId deployment)
    {
        if (!_raised.TryGetValue(deployment, out var raised)) _raised[deployment] = raised = Raise();
        try
        {
            await raised;
        }
        catch
        {
            _raised.Remove(deployment);
            throw;
        }
    }

    /// <summary>Raise it again after each deployment: a backup from the time of the deployment then has a lower number too.</summary>
    private async Task RaiseBehind(CancellationToken cancellationToken)
    {
        if (_raised.Count == 0 || !_raised.Values.All(raised => raised.IsCompleted)) return;
        try
        {
            await Raise();
            _raised.Clear();
        }
        catch (FaultException exception)
        {
            LogNotRaised(Id.Name, exception.Message);
        }
    }

    /// <summary>Removes the machines without a record, unless there are so many that the records may be wrong.</summary>
    private async Task RemoveUnowned()
    {
        if (_unowned.Count == 0) return;
        var present = await Present();
        if (_rounds > 0 || _stranger is not null) return;
        var orphans = _unowned.Take(present);
        if (Held is { } held) LogHeld(Id.Name, held);
        foreach (var orphan in orphans)
        {
            try
            {
                // The verdict may be old: the machine may have been adopted while others were removed.
                if (!await GrainFactory.VirtualMachine(orphan.Id).IsDeployed(Id, orphan.Deployment)) await RemoveOrphan(orphan);
            }
            catch (Exception exception) when (exception is FaultException or TimeoutException or Orleans.Runtime.OrleansException)
            {
                _unheard.Add(orphan.Id);
                LogReconcileFailed(Id.Name, orphan.Id.Value, exception.Message);
            }
        }
    }

    private async Task<IReadOnlyList<MachineObservation>> Present() => [.. (await hypervisor.List()).Where(machine => machine.Id != _rehearsed)];

    /// <summary>The machine's record, or null if it has none.</summary>
    private async Task<VirtualMachineView?> FindRecord(VirtualMachineId machine)
    {
        try
        {
            return await GrainFactory.VirtualMachine(machine).Get();
        }
        catch (FaultException exception) when (exception.Fault.Kind is FaultKind.NotFound)
        {
            return null;
        }
    }
}
