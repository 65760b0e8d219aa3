using Instances.Faults;
using Instances.VirtualMachines;

namespace Instances.Hosts;

/// <summary>Reconciles the machines: reports their status to the records, removes machines without a record, and restarts machines that have died and should run.</summary>
internal sealed partial class HostGrain : IRestartedHost
{
    /// <summary>A disk that still fails pauses a resumed machine again within this time.</summary>
    private static readonly TimeSpan DiskRetrySettles = TimeSpan.FromSeconds(2);

    /// <summary>Machines whose status could not be reported, or whose answer may be lost.</summary>
    private readonly HashSet<VirtualMachineId> _unheard = [];

    /// <summary>Machines that a disk error of the host has paused, with the loop that resumes each.</summary>
    private readonly Dictionary<VirtualMachineId, Task> _awaitingDisk = [];

    /// <summary>Whether the records of missing machines must still be notified.</summary>
    private bool _lostUntold;

    private async Task Watch()
    {
        try
        {
            // Each report runs separately, so that a waiting record does not delay others. It reads the current status when it runs, so that the order does not matter.
            var gate = new SemaphoreSlim(FanOut.PerHost);
            await foreach (var observation in hypervisor.Changes.ReadAllAsync(_stop.Token))
            {
                await gate.WaitAsync(_stop.Token);
                _ = One(observation);
            }

            async Task One(MachineObservation observation)
            {
                try
                {
                    await Reconcile(observation);
                }
                finally
                {
                    gate.Release();
                }
            }
        }
        catch (OperationCanceledException) when (_stop.IsCancellationRequested)
        {
            // The grain deactivates.
        }
    }

    /// <summary>The hypervisor's observation, with the host's own findings.</summary>
    private async Task<MachineObservation?> See(VirtualMachineId machine)
    {
        var seen = await hypervisor.Find(machine);
        if (seen is { Status: not VirtualMachineStatus.Stopped, Trouble: null } && _onBadCopy.TryGetValue(machine, out var bad))
            return seen with { Trouble = $"It runs on a copy of the layer {bad} that has turned out to be corrupt: check its data, then power it off and on to use a good copy." };
        return seen is { StopReason: StopReason.Died } && (_heldBack.GetValueOrDefault(machine) ?? _restarts.GivenUp(machine)) is { } trouble ? seen with { Trouble = trouble } : seen;
    }

    /// <summary>Reports the observation to a machine's record, and carries out the verdict.</summary>
    private async Task Reconcile(MachineObservation observation)
    {
        try
        {
            var verdict = await GrainFactory.VirtualMachine(observation.Id).Observe(Id, observation);
            if (verdict is not ObserveVerdict.Remove) _unowned.Drop(observation.Id);
            switch (verdict)
            {
                case ObserveVerdict.Keep:
                    break;
                case ObserveVerdict.Remove:
                    _unowned.Add(observation);
                    await RemoveUnowned();
                    break;
                case ObserveVerdict.PowerOn:
                    // The current restart may be about to end, and the machine may die again after it.
                    if (!_restarts.Begin(observation.Id, _stop.Token)) _unheard.Add(observation.Id);
                    break;
                case ObserveVerdict.Resume when observation.AwaitsDisk:
                    AwaitDisk(observation.Id);
                    break;
                case ObserveVerdict.Resume:
                    LogResumed(Id.Name, observation.Id.Value);
                    await Reconcile(await hypervisor.Power(observation.Id, PowerAction.Resume));
                    break;
            }
        }
        catch (Exception exception) when (exception is FaultException or TimeoutException or Orleans.Runtime.OrleansException)
        {
            _unheard.Add(observation.Id);
            LogReconcileFailed(Id.Name, observation.Id.Value, exception.Message);
        }
    }

    /// <summary>Asks all records before it removes a machine.</summary>
    private async Task ReconcileAll(IReadOnlyList<MachineObservation> found)
    {
        _rounds++;
        try
        {
            await FanOut.All(found, Reconcile);
        }
        finally
        {
            _rounds--;
        }

        await RemoveUnowned();
    }

    private async Task RemoveOrphan(MachineObservation orphan)
    {
        LogOrphan(Id.Name, orphan.Id.Value);
        await hypervisor.Remove(orphan.Id, orphan.Deployment);
        Forget(orphan.Id);
        ScheduleSweep();
        await GrainFactory.Library().SweepSoon();
    }

    /// <summary>Reports what could not be reported earlier.</summary>
    private async Task ReconcileUnheard(CancellationToken cancellationToken)
    {
        await Adopted();
        var machines = _unheard.ToList();
        _unheard.ExceptWith(machines);
        await ReconcileAll([.. (await Task.WhenAll(machines.Select(See))).OfType<MachineObservation>()]);
        if (_lostUntold) await TellLost();
    }

    /// <summary>Notifies the records of machines that should be on this host and were not found. Each record checks again: a machine that is being deployed is not lost.</summary>
    private async Task TellLost()
    {
        _lostUntold = true;
        try
        {
            var present = (await hypervisor.List()).Select(machine => machine.Id).ToHashSet();
            var lost = (await GrainFactory.Catalogue().MachinesOn(Id)).Where(machine => !present.Contains(machine)).ToList();
            if (lost.Count > 0) LogLost(Id.Name, lost.Count);
            await FanOut.All(lost, machine => GrainFactory.VirtualMachine(machine).LoseSight(Id));
            _lostUntold = false;
        }
        catch (Exception exception) when (exception is FaultException or TimeoutException or Orleans.Runtime.OrleansException)
        {
            LogLostUntold(Id.Name, exception.Message);
        }
    }

    async Task<bool> IRestartedHost.IsToRun(VirtualMachineId machine)
    {
        if (await See(machine) is not { StopReason: StopReason.Died } seen) return false;
        try
        {
            // Also if it has no record any more: the next report removes it.
            var verdict = await GrainFactory.VirtualMachine(machine).Observe(Id, seen);
            if (verdict is ObserveVerdict.Remove) _unheard.Add(machine);
            return verdict is ObserveVerdict.PowerOn && await hypervisor.Find(machine) is { Hold: null };
        }
        catch (Exception exception) when (exception is FaultException or TimeoutException or Orleans.Runtime.OrleansException)
        {
            _unheard.Add(machine);
            LogReconcileFailed(Id.Name, machine.Value, exception.Message);
            return false;
        }
    }

    private void AwaitDisk(VirtualMachineId machine)
    {
        if (!_awaitingDisk.TryGetValue(machine, out var waiting) || waiting.IsCompleted) _awaitingDisk[machine] = ResumeWhenTheDiskWorks(machine);
    }

    /// <summary>Resumes a machine that a disk error of the host has paused. If its requests fail again, QEMU pauses it again, and nothing is lost.</summary>
    private async Task ResumeWhenTheDiskWorks(VirtualMachineId machine)
    {
        try
        {
            for (var pause = options.Value.DiskRetryPause; ; pause = TimeSpan.FromTicks(Math.Min(pause.Ticks * 2, options.Value.MaxDiskRetryPause.Ticks)))
            {
                await Task.Delay(pause, time, _stop.Token);
                if (await See(machine) is not { AwaitsDisk: true } seen || await GrainFactory.VirtualMachine(machine).Observe(Id, seen) is not ObserveVerdict.Resume) break;
                LogDiskRetried(Id.Name, machine.Value);
                await hypervisor.Power(machine, PowerAction.Resume);
                await Task.Delay(DiskRetrySettles, time, _stop.Token);
                if (await See(machine) is not { AwaitsDisk: true }) break;
            }

            _awaitingDisk.Remove(machine);
            if (await See(machine) is { } resumed) await Reconcile(resumed);
        }
        catch (OperationCanceledException) when (_stop.IsCancellationRequested)
        {
            // The grain deactivates.
        }
        catch (Exception exception) when (exception is FaultException or TimeoutException or Orleans.Runtime.OrleansException)
        {
            _unheard.Add(machine);
            LogReconcileFailed(Id.Name, machine.Value, exception.Message);
        }
    }

    async Task<StartOutcome> IRestartedHost.Start(VirtualMachineId machine)
    {
        try
        {
            LogStartedAgain(Id.Name, machine.Value);
            if (await hypervisor.Find(machine) is { } found) await RequireSound(found.Disks.SelectMany(disk => disk.Layers));
            _onBadCopy.Remove(machine);
            await Reconcile(await hypervisor.Power(machine, PowerAction.On));
            return StartOutcome.Started;
        }
        catch (FaultException exception)
        {
            LogNotStartedAgain(Id.Name, machine.Value, exception.Message);
            if (exception.Fault.Code == "layer-corrupt") _heldBack[machine] = exception.Fault.Message;
            return exception.Fault.Code is IHypervisor.TimedOut ? StartOutcome.TimedOut : StartOutcome.Failed;
        }
    }

    async Task IRestartedHost.GiveUp(VirtualMachineId machine, int starts)
    {
        LogGivenUp(Id.Name, machine.Value, starts);
        if (await See(machine) is { } seen) await Reconcile(seen);
    }
}
