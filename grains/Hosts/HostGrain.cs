using Instances.Appliances;
using Instances.Faults;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.Concurrency;

namespace Instances.Hosts;

/// <summary>One host: its machines, and its part in a capture. It has no state of its own: the hypervisor and the layer store have it.</summary>
/// <remarks>
/// Reentrant, so that machines are started and captured in parallel. Across an await, only the holds, the starts under way and the layers in use can
/// change, and only by whole entries. The hypervisor serializes calls on one machine.
/// </remarks>
[Reentrant, PlacedOnItsHost]
internal sealed partial class HostGrain(
    IHypervisor hypervisor,
    ILayerStore layers,
    IHostBindings bindings,
    IOptions<HostOptions> options,
    IOptions<LibraryOptions> library,
    Drain drain,
    TimeProvider time,
    ILogger<HostGrain> logger) : Grain, IHostGrain
{
    private readonly CancellationTokenSource _stop = new();
    private readonly Dictionary<VirtualMachineId, Task> _starting = [];
    private MachineRestarts _restarts = null!;
    private Task _watching = Task.CompletedTask;
    private Task<IReadOnlyList<MachineObservation>>? _adoption;

    private HostId Id => new(this.GetPrimaryKeyString());

    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        _restarts = new(this, options, time);
        var period = options.Value.HoldBound / ChecksPerBound;
        // Holds are checked separately, so that held machines do not wait for records that do not answer.
        this.RegisterGrainTimer(CheckHolds, new GrainTimerCreationOptions(period, period) { KeepAlive = true });
        this.RegisterGrainTimer(ReconcileUnheard, new GrainTimerCreationOptions(period, period) { KeepAlive = true });
        this.RegisterGrainTimer(RaiseBehind, new GrainTimerCreationOptions(period, period) { KeepAlive = true });
        _merging = this.RegisterGrainTimer(MergeTick, new GrainTimerCreationOptions(library.Value.CompactionPeriod, library.Value.CompactionPeriod) { KeepAlive = true });
        _sweeping = this.RegisterGrainTimer(SweepTick, new GrainTimerCreationOptions(options.Value.SweepDelay, library.Value.SweepPeriod) { KeepAlive = true });
        _scrubbing = this.RegisterGrainTimer(Scrub, new GrainTimerCreationOptions(ScrubLookPeriod, ScrubLookPeriod) { KeepAlive = true });
        return Task.CompletedTask;
    }

    public override async Task OnDeactivateAsync(DeactivationReason reason, CancellationToken cancellationToken)
    {
        await _stop.CancelAsync();
        await _watching;
        await _restarts.Ended();
        await Task.WhenAll(_awaitingDisk.Values);
    }

    public async Task<HostView> Start()
    {
        var found = await Adopted();
        MarkStore();
        await GrainFactory.Datacenter().Register(await Get());
        await LearnOfCorruptLayers();
        await ReconcileAll(found);
        await TellLost();
        await Rehearse();
        return await Get();
    }

    public async Task<HostView> Get() => (await Capacity([])).View;

    public async Task<HostCapacity> Capacity(IReadOnlyList<LayerId> wanted)
    {
        // Before the adoption, the running machines would not be counted.
        await Adopted();
        var machines = await hypervisor.List();
        var host = options.Value;
        var memory = host.MemoryForMachines(GC.GetGCMemoryInfo().TotalAvailableMemoryBytes);
        var processors = host.Cpus is > 0 and var given ? given : Environment.ProcessorCount;
        var cpus = (int)Math.Min(int.MaxValue, (long)processors * host.CpuOvercommit);
        var view = new HostView(
            Id, hypervisor.Name, hypervisor.Accelerator, processors, memory,
            Math.Max(0, memory - machines.Sum(machine => machine.MemoryBytes + hypervisor.MachineOverheadBytes)),
            Math.Max(0, layers.FreeBytes - host.DiskHeadroomBytes),
            machines.Count, cpus, Math.Max(0, cpus - machines.Sum(machine => machine.Cpus)), _stranger is null ? HostStatus.Available : HostStatus.Blocked, Problem, layers.Id);
        return new(
            view, [.. machines.Select(machine => machine.Id)], [.. wanted.Where(layer => !layers.Contains(layer))], hypervisor.MachineOverheadBytes,
            [.. HostPort.Of(machines.SelectMany(machine => machine.PortForwards)), .. host.OwnPorts.Select(port => new HostPort(port, TransportProtocol.Tcp))]);
    }

    public async Task<MachineObservation> Deploy(MachineSpec spec, CancellationToken cancellationToken)
    {
        await Adopted();
        await Started(spec.Id);
        RequireOurs();
        await RaiseFor(spec.Deployment);
        using var running = drain.Begin();
        var start = StartOn(spec, cancellationToken);
        _starting[spec.Id] = start;
        try
        {
            return await start;
        }
        finally
        {
            // The call may be late, after its deployment was given up. So the record is asked again, now that the machine is here.
            _unheard.Add(spec.Id);
            if (_starting.GetValueOrDefault(spec.Id) == start) _starting.Remove(spec.Id);
        }
    }

    public async Task Undeploy(VirtualMachineId machine, OperationId deployment, IReadOnlyList<LayerId> ownLayers)
    {
        await Adopted();
        await Started(machine);
        RequireOurs();
        try
        {
            await hypervisor.Remove(machine, deployment);
        }
        catch
        {
            // If the record has given the machine up by force, it has no owner, and is removed when the host next reports it.
            _unheard.Add(machine);
            throw;
        }

        Forget(machine);
        ScheduleSweep();
    }

    public async Task<MachineObservation?> Observe(VirtualMachineId machine)
    {
        await Adopted();
        return await See(machine);
    }

    public async Task<MachineObservation> Power(VirtualMachineId machine, PowerAction action)
    {
        await Adopted();
        _restarts.Forget(machine);
        if (action is PowerAction.On && await hypervisor.Find(machine) is { Status: VirtualMachineStatus.Stopped } stopped) await RequireSound(stopped.Disks.SelectMany(disk => disk.Layers));
        _heldBack.Remove(machine);
        // Report the result again: the answer may be lost with the caller.
        _unheard.Add(machine);
        var powered = await hypervisor.Power(machine, action);
        if (powered.Status is VirtualMachineStatus.Stopped) _onBadCopy.Remove(machine);
        return powered;
    }

    public async Task<string> ReadConsole(VirtualMachineId machine, int maxBytes)
    {
        await Adopted();
        return await hypervisor.ReadConsole(machine, maxBytes);
    }

    private async Task<MachineObservation> StartOn(MachineSpec spec, CancellationToken cancellationToken)
    {
        Use(spec.Disks.SelectMany(disk => disk.Layers));
        // The remains of a deployment that was given up while the host was unreachable may still be here.
        if (await hypervisor.Find(spec.Id) is { } other && other.Deployment != spec.Deployment && !await GrainFactory.VirtualMachine(spec.Id).IsDeployed(Id, other.Deployment))
            await RemoveOrphan(other);
        if (!await GrainFactory.VirtualMachine(spec.Id).IsDeployed(Id, spec.Deployment))
            throw FaultException.Conflict("deployment-ended", $"The deployment of '{spec.Name}' ended before its start reached the host {Id}.");
        foreach (var disk in spec.Disks)
        {
            var (top, parents) = (disk.Layers[^1], disk.Layers.SkipLast(1).ToList());
            if (parents.FirstOrDefault(layer => !layers.Contains(layer)) is { } missing && missing != default)
                throw FaultException.Unavailable("layer-missing", $"The layer {missing} of '{spec.Name}' is not on the host {Id}: check the library.");
            await RequireSound(parents);
            await layers.CreateLayer(top, parents.Count == 0 ? null : parents[^1], disk.VirtualSizeBytes, cancellationToken);
        }

        return await hypervisor.Start(spec, cancellationToken);
    }

    /// <summary>Waits for the end of a start. Its caller may have been cancelled or timed out, and the start must not complete after a removal.</summary>
    private async Task Started(VirtualMachineId machine)
    {
        while (_starting.TryGetValue(machine, out var start) && !start.IsCompleted)
            await start.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ContinueOnCapturedContext);
    }

    /// <summary>Adopts the machines that an earlier silo on this host has left running. Every call waits for it; after a failure the next call retries it.</summary>
    private Task<IReadOnlyList<MachineObservation>> Adopted() =>
        _adoption is { IsFaulted: false, IsCanceled: false } adoption ? adoption : _adoption = Adopt();

    private async Task<IReadOnlyList<MachineObservation>> Adopt()
    {
        var found = await hypervisor.Adopt(_stop.Token);
        LogAdopted(Id.Name, found.Count);
        await FindStranger(found);
        foreach (var machine in found.Where(machine => machine.Hold is not null)) Hold(machine.Hold!.Operation, machine.Appliance, machine.Id, isFound: true);
        if (_watching.IsCompleted) _watching = Watch();
        return found;
    }
}
