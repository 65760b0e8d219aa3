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

    /// <summary>Machines that are on the host although their records do not place them there.</summary>
    private readonly Dictionary<VirtualMachineId, MachineObservation> _unowned = [];

    /// <summary>When this host removed machines without the operator.</summary>
    private readonly List<long> _removals = [];

    /// <summary>Why the machines are another database's; null if they are not.</summary>
    private string? _stranger;

    /// <summary>Why machines that have no record wait for the operator; null if none do.</summary>
    private string? _held;

    /// <summary>At start, removals are collected while all records are asked, so that they can be judged together.</summary>
    private bool _isCollecting;

    private string? Problem => _stranger is null ? _held
        : $"{_stranger} Its machines keep running, nothing is removed, and it takes no new ones. Run 'silo host adopt {Id}' to create their records again, or 'silo host discard {Id}' to remove them.";

    /// <summary>Part of the start: no call is answered before this is known.</summary>
    private async Task FindStranger(IReadOnlyList<MachineObservation> found)
    {
        var (mine, theirs) = (hypervisor.ReadBinding(), await bindings.Find(Id));
        var machines = found.Count + (await hypervisor.ListLeftovers()).Count;
        _stranger = HostBinding.FindStranger(mine, theirs, machines, mine is null && machines > 0 && await IsAnyKnown(found));
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

    private async Task<bool> IsAnyKnown(IReadOnlyList<MachineObservation> found)
    {
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
        if (_isCollecting || _stranger is not null) return;
        // Once the host waits for the operator, it waits until the operator has decided about all of them.
        _held = _unowned.Count > 0 && (_held is not null || await IsTooMany(_unowned.Count))
            ? $"{_unowned.Count} virtual machines here have no record that places them on this host, which are too many to remove without the operator. They keep running. "
                + $"Run 'silo host adopt {Id}' to create their records again, or 'silo host discard {Id}' to remove them."
            : null;
        if (_held is not null)
        {
            LogHeld(Id.Name, _held);
            return;
        }

        foreach (var orphan in _unowned.Values.ToList())
        {
            if (!_unowned.Remove(orphan.Id)) continue;
            try
            {
                await RemoveOrphan(orphan);
                _removals.Add(time.GetTimestamp());
            }
            catch (Exception exception) when (exception is FaultException or TimeoutException or Orleans.Runtime.OrleansException)
            {
                _unheard.Add(orphan.Id);
                LogReconcileFailed(Id.Name, orphan.Id.Value, exception.Message);
            }
        }
    }

    private async Task<bool> IsTooMany(int wanted)
    {
        _removals.RemoveAll(removal => time.GetElapsedTime(removal) > RemovalRule.Window);
        var machines = (await hypervisor.List()).Count(machine => machine.Id != _rehearsed);
        return RemovalRule.IsTooMany(wanted + _removals.Count, machines + _removals.Count);
    }

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
