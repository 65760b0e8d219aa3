using Instances.Faults;
using Instances.VirtualMachines;

namespace Instances.Hosts;

/// <summary>What the host sees by itself: it tells each machine, removes what belongs to nobody, and starts again what has died and is to run.</summary>
internal sealed partial class HostGrain
{
    /// <summary>Each pause before a start is so many times as long as the one before.</summary>
    private const int PauseGrowth = 4;

    /// <summary>Machines whose status could not be passed on, or whose answer may be lost.</summary>
    private readonly HashSet<VirtualMachineId> _unheard = [];

    /// <summary>Machines that have died. Forgotten with the silo: its restart is a reason to try again, and rare.</summary>
    private readonly Dictionary<VirtualMachineId, Deaths> _deaths = [];

    /// <summary>Whether those that should be here and are not have yet to be told.</summary>
    private bool _lostUntold;

    private async Task Watch()
    {
        try
        {
            await foreach (var observation in hypervisor.Changes.ReadAllAsync(_stop.Token)) await Reconcile(observation);
        }
        catch (OperationCanceledException) when (_stop.IsCancellationRequested)
        {
            // The grain goes.
        }
    }

    /// <summary>The machine as the hypervisor sees it, and what the host has to say of it.</summary>
    private async Task<MachineObservation?> See(VirtualMachineId machine)
    {
        var seen = await hypervisor.Find(machine);
        return seen is { StopReason: StopReason.Died } && _deaths.GetValueOrDefault(machine)?.GivenUp is { } trouble ? seen with { Trouble = trouble } : seen;
    }

    /// <summary>Tells a machine what the host sees, and does what comes of it.</summary>
    private async Task Reconcile(MachineObservation observation)
    {
        try
        {
            switch (await GrainFactory.VirtualMachine(observation.Id).Observe(Id, observation))
            {
                case ObserveVerdict.Keep:
                    break;
                case ObserveVerdict.Remove:
                    await RemoveOrphan(observation);
                    break;
                case ObserveVerdict.PowerOn:
                    PutRight(observation.Id);
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

    private async Task RemoveOrphan(MachineObservation orphan)
    {
        LogOrphan(Id.Name, orphan.Id.Value);
        await hypervisor.Remove(orphan.Id, orphan.Deployment);
        _deaths.Remove(orphan.Id);
        CaptureEnded(orphan.Id);
        SweepSoon();
        await GrainFactory.Library().SweepSoon();
    }

    /// <summary>Tells what could not be told before.</summary>
    private async Task ReconcileUnheard()
    {
        foreach (var machine in _unheard.ToList())
        {
            _unheard.Remove(machine);
            if (await See(machine) is { } observation) await Reconcile(observation);
        }

        if (_lostUntold) await TellLost();
    }

    /// <summary>Tells the machines that are to be on this host and were not found. Each looks for itself: one that is being deployed is not lost.</summary>
    private async Task TellLost()
    {
        _lostUntold = true;
        try
        {
            var present = (await hypervisor.List()).Select(machine => machine.Id).ToHashSet();
            var lost = (await GrainFactory.Catalogue().MachinesOn(Id)).Where(machine => !present.Contains(machine)).ToList();
            if (lost.Count > 0) LogLost(Id.Name, lost.Count);
            await FanOut.Each(lost, machine => GrainFactory.VirtualMachine(machine).LoseSight(Id));
            _lostUntold = false;
        }
        catch (Exception exception) when (exception is FaultException or TimeoutException or Orleans.Runtime.OrleansException)
        {
            LogLostUntold(Id.Name, exception.Message);
        }
    }

    private void PutRight(VirtualMachineId machine)
    {
        if (!_deaths.TryGetValue(machine, out var deaths)) _deaths[machine] = deaths = new();
        if (deaths.PuttingRight.IsCompleted) deaths.PuttingRight = StartAgain(machine, deaths);
        // It may be just about to end, and the machine have died again by then.
        else _unheard.Add(machine);
    }

    /// <summary>Starts a machine that has died, after a pause that grows with each death, until it runs, is no longer to run, or the bound is reached.</summary>
    private async Task StartAgain(VirtualMachineId machine, Deaths deaths)
    {
        try
        {
            while (true)
            {
                deaths.Starts.RemoveAll(start => time.GetUtcNow() - start > options.Value.RestartWindow);
                if (deaths.Starts.Count >= options.Value.MaxRestarts)
                {
                    deaths.GivenUp = $"It ended by itself {deaths.Starts.Count + 1} times within {options.Value.RestartWindow.TotalMinutes:0.#} min and is not started again: "
                        + "look at its console and at the log of its host, then power it on.";
                    LogGivenUp(Id.Name, machine.Value, deaths.Starts.Count);
                    if (await See(machine) is { } seen) await Reconcile(seen);
                    return;
                }

                await Task.Delay(options.Value.RestartPause * Math.Pow(PauseGrowth, deaths.Starts.Count), time, _stop.Token);
                if (!await IsToRun(machine, deaths)) return;
                deaths.Starts.Add(time.GetUtcNow());
                if (await TryStart(machine)) return;
            }
        }
        catch (OperationCanceledException) when (_stop.IsCancellationRequested)
        {
            // The grain goes.
        }
    }

    /// <summary>Much may have happened in the pause: a person's power action, a capture, an undeployment.</summary>
    private async Task<bool> IsToRun(VirtualMachineId machine, Deaths deaths)
    {
        if (_deaths.GetValueOrDefault(machine) != deaths || await See(machine) is not { StopReason: StopReason.Died } seen) return false;
        try
        {
            // Also where it belongs to nobody by now: the next look at it removes it.
            var verdict = await GrainFactory.VirtualMachine(machine).Observe(Id, seen);
            if (verdict is ObserveVerdict.Remove) _unheard.Add(machine);
            return verdict is ObserveVerdict.PowerOn && _deaths.GetValueOrDefault(machine) == deaths && await hypervisor.Find(machine) is { Hold: null };
        }
        catch (Exception exception) when (exception is FaultException or TimeoutException or Orleans.Runtime.OrleansException)
        {
            _unheard.Add(machine);
            LogReconcileFailed(Id.Name, machine.Value, exception.Message);
            return false;
        }
    }

    private async Task<bool> TryStart(VirtualMachineId machine)
    {
        try
        {
            LogStartedAgain(Id.Name, machine.Value);
            await Reconcile(await hypervisor.Power(machine, PowerAction.On));
            return true;
        }
        catch (FaultException exception)
        {
            LogNotStartedAgain(Id.Name, machine.Value, exception.Message);
            return false;
        }
    }

    /// <summary>How often a machine was started again of late.</summary>
    private sealed class Deaths
    {
        public List<DateTimeOffset> Starts { get; } = [];

        /// <summary>Why it is not started any more; null while it is.</summary>
        public string? GivenUp { get; set; }

        public Task PuttingRight { get; set; } = Task.CompletedTask;
    }
}
