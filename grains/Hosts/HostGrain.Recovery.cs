using Instances.Appliances;
using Instances.Faults;
using Instances.VirtualMachines;

namespace Instances.Hosts;

/// <summary>Carries out the operator's decision about machines without a record here, in the background. After a crash the operator repeats it.</summary>
internal sealed partial class HostGrain
{
    private HostRecovery? _recovery;

    public async Task<HostRecovery> Adopt(bool dryRun)
    {
        await Adopted();
        if (Running(RecoveryKind.Adopt, dryRun) is { } running) return running;
        if ((await GrainFactory.Library().Inventory()).Stranger is { } stranger)
        {
            throw FaultException.Conflict("library-unknown",
                $"The records of images come first, because machines refer to them. Run 'silo library rebuild', then adopt the host. {stranger}");
        }

        return Begin(RecoveryKind.Adopt, dryRun, AdoptAll);
    }

    public async Task<HostRecovery> Discard(bool dryRun, IReadOnlyList<VirtualMachineId> machines)
    {
        await Adopted();
        return Running(RecoveryKind.Discard, dryRun) ?? Begin(RecoveryKind.Discard, dryRun, () => DiscardAll(dryRun ? null : machines.ToHashSet()));
    }

    public Task<HostRecovery> GetRecovery() => _recovery is { } recovery
        ? Task.FromResult(recovery)
        : throw FaultException.NotFound("recovery-not-found", $"No recovery of the host {Id} was started since its silo started.");

    public async Task Describe(VirtualMachineId machine, Operations.OperationId deployment, MachineOrigin origin)
    {
        await Adopted();
        await hypervisor.Describe(machine, deployment, origin);
    }

    private HostRecovery? Running(RecoveryKind kind, bool dryRun) => _recovery switch
    {
        null or { FinishedAt: not null } => null,
        { } running when running.Kind == kind && running.DryRun == dryRun => running,
        _ => throw FaultException.Conflict("recovery-running", $"Another recovery of the host {Id} runs: wait for its end."),
    };

    private HostRecovery Begin(RecoveryKind kind, bool dryRun, Func<Task> run)
    {
        var begun = _recovery = new(Id, kind, dryRun, time.GetUtcNow(), FinishedAt: null, Problem: null, []);
        Run().Ignore();
        return begun;

        async Task Run()
        {
            string? problem = null;
            try
            {
                await run();
                if (!dryRun) await Settle();
            }
            catch (Exception exception)
            {
                // Catch everything: show the error, so that no client waits for a recovery that has stopped.
                problem = exception.Message;
                LogNotRecovered(Id.Name, kind, problem);
            }

            _recovery = _recovery! with { FinishedAt = time.GetUtcNow(), Problem = problem };
            LogRecovered(Id.Name, kind, _recovery.Machines.Count, dryRun, _recovery.Machines.Count(machine => machine.Outcome is RecoveryOutcome.LeftOut));
        }
    }

    private async Task AdoptAll()
    {
        var (found, leftovers) = await FindAll();
        Show([.. found.Select(machine => Entry(machine, RecoveryOutcome.Waiting)), .. leftovers.Select(leftover => Entry(leftover, RecoveryOutcome.LeftOut, NotTakenOver))]);
        foreach (var group in found.GroupBy(machine => machine.Spec.Appliance))
        {
            IReadOnlyList<RecoveredMachine> outcomes;
            try
            {
                outcomes = await GrainFactory.Appliance(group.Key).Adopt(Id, [.. group], _recovery!.DryRun);
            }
            catch (Exception exception) when (exception is FaultException or TimeoutException or Orleans.Runtime.OrleansException)
            {
                outcomes = [.. group.Select(machine => Entry(machine, RecoveryOutcome.LeftOut, exception.Message))];
            }

            Show(outcomes);
        }
    }

    /// <param name="given">The machines that the operator gives up; null for a dry run.</param>
    private async Task DiscardAll(HashSet<VirtualMachineId>? given)
    {
        var (found, leftovers) = await FindAll();
        foreach (var machine in found)
        {
            if (await GrainFactory.VirtualMachine(machine.Spec.Id).IsDeployed(Id, machine.Seen.Deployment)) continue;
            if (given is not null && !given.Contains(machine.Spec.Id))
            {
                Show([Entry(machine, RecoveryOutcome.LeftOut, NotGiven)]);
                continue;
            }

            if (given is not null)
            {
                LogOrphan(Id.Name, machine.Spec.Id.Value);
                await hypervisor.Remove(machine.Spec.Id, machine.Seen.Deployment);
                Forget(machine.Spec.Id);
            }

            Show([Entry(machine, RecoveryOutcome.Discarded)]);
        }

        foreach (var leftover in leftovers)
        {
            if ((await FindRecord(leftover))?.Host == Id) continue;
            if (given is not null && !given.Contains(leftover))
            {
                Show([Entry(leftover, RecoveryOutcome.LeftOut, NotGiven)]);
                continue;
            }

            if (given is not null) await hypervisor.RemoveLeftover(leftover);
            Show([Entry(leftover, RecoveryOutcome.Discarded, null)]);
        }
    }

    /// <summary>Called when the host has removed the machine.</summary>
    private void Forget(VirtualMachineId machine)
    {
        LetGo(machine);
        CaptureEnded(machine);
        _restarts.Forget(machine);
        _unowned.Drop(machine);
        _onBadCopy.Remove(machine);
        _heldBack.Remove(machine);
    }

    /// <summary>Binds the host to the database when the operator has decided about every machine.</summary>
    private async Task Settle()
    {
        if (_recovery!.Machines.Any(machine => machine.Outcome is RecoveryOutcome.LeftOut)) return;
        await Raise();
        _stranger = null;
        _unowned.Clear();
        await GrainFactory.Datacenter().Register(await Get());
        await ReconcileAll(await hypervisor.List());
        await TellLost();
        ScheduleSweep();
        await GrainFactory.Library().SweepSoon();
    }

    private async Task<(IReadOnlyList<FoundMachine> Found, IReadOnlyList<VirtualMachineId> Leftovers)> FindAll()
    {
        var found = new List<FoundMachine>();
        foreach (var seen in await Present())
        {
            if (await hypervisor.FindSpec(seen.Id) is { } spec) found.Add(new(spec, seen));
        }

        return (found, [.. (await hypervisor.ListLeftovers()).Select(leftover => leftover.Machine)]);
    }

    private const string NotTakenOver = "Its host has its files and could not adopt it: the silo's log says why. Repair that and restart the silo, or discard the machine.";

    private const string NotGiven = "It was not among the machines to discard: run the dry run again, and name it.";

    private static RecoveredMachine Entry(FoundMachine machine, RecoveryOutcome outcome, string? message = null) =>
        new(machine.Spec.Id, machine.Spec.Name, machine.Spec.Appliance, machine.Spec.Origin?.Appliance.Name, outcome, message);

    private static RecoveredMachine Entry(VirtualMachineId leftover, RecoveryOutcome outcome, string? message) => new(leftover, Name: null, Appliance: null, ApplianceName: null, outcome, message);

    /// <summary>Replaces the outcomes of the same machines.</summary>
    private void Show(IReadOnlyList<RecoveredMachine> outcomes)
    {
        var changed = outcomes.Select(outcome => outcome.Id).ToHashSet();
        _recovery = _recovery! with { Machines = [.. _recovery.Machines.Where(machine => !changed.Contains(machine.Id)), .. outcomes] };
    }
}
