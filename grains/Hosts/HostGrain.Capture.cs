using Instances.Appliances;
using Instances.Faults;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;

namespace Instances.Hosts;

/// <summary>The host's part in a capture, and its dead man's switch: machines that are held for too long are released, unless their capture has committed.</summary>
internal sealed partial class HostGrain
{
    /// <summary>How often the holds are checked within the bound.</summary>
    private const int ChecksPerBound = 24;

    // For all machines of a call together: it leaves time for the rest of the call.
    private static readonly TimeSpan PrepareSyncBound = TimeSpan.FromMinutes(3);
    private static readonly TimeSpan QuiesceSyncBound = TimeSpan.FromSeconds(20);

    private readonly Dictionary<OperationId, HeldMachines> _holds = [];

    /// <summary>The machine of the last rehearsal. It has no record, and is not reconciled.</summary>
    private VirtualMachineId? _rehearsed;

    /// <summary>Machines that are part of a capture, from its preparation to its end. An orderly stop of this silo waits for them.</summary>
    private readonly Dictionary<VirtualMachineId, IDisposable> _captured = [];

    /// <summary>The capture whose machines were released last: it must not continue as if they were held.</summary>
    private OperationId? _expired;

    /// <summary>A test capture at start. It shows that captures work here before users' work depends on it. It also compiles the code that runs while guests wait,
    /// so that the compiler does not run in the first consistency window.</summary>
    private async Task Rehearse()
    {
        try
        {
            await hypervisor.Rehearse(Capture, _stop.Token);
        }
        catch (Exception exception) when (exception is FaultException or TimeoutException or Orleans.Runtime.OrleansException)
        {
            // The running machines must be reachable even if the test fails.
            LogRehearsalFailed(Id.Name, exception.Message);
        }

        async Task Capture(VirtualMachineId machine, OperationId operation)
        {
            var self = GrainFactory.Host(Id);
            _rehearsed = machine;
            await self.Quiesce(operation, [machine], Appliances.Quiesce.Freeze, _stop.Token);
            await self.Pause(operation, [machine]);
            await self.Seal(operation, [machine]);
            await self.Resume(operation, [machine]);
            await self.Unquiesce(operation, [machine]);
            await self.EndCapture(operation, [machine]);
        }
    }

    public async Task PrepareNextLayers(OperationId operation, IReadOnlyList<NextLayers> machines)
    {
        await Adopted();
        foreach (var machine in machines.Select(next => next.Machine).Where(machine => !_captured.ContainsKey(machine))) _captured[machine] = drain.Begin();
        await hypervisor.SyncTops([.. machines.Select(next => next.Machine)], PrepareSyncBound, CancellationToken.None);
        await FanOut.Each(machines, async next =>
        {
            var machine = await Require(next.Machine);
            foreach (var (disk, layer) in machine.Disks.Zip(next.Layers)) await layers.CreateLayer(layer, TopBefore(disk, layer), disk.VirtualSizeBytes, CancellationToken.None);
            await hypervisor.AddNextLayers(next.Machine, operation, next.Layers);
        });
    }

    public async Task DiscardNextLayers(OperationId operation, IReadOnlyList<VirtualMachineId> machines)
    {
        await Adopted();
        await FanOut.All(machines, async machine =>
        {
            if (await hypervisor.Find(machine) is null) return;
            await hypervisor.RemoveNextLayers(machine, operation);
        });
        foreach (var machine in machines) CaptureEnded(machine);
    }

    public async Task<IReadOnlyList<QuiesceOutcome>> Quiesce(
        OperationId operation, IReadOnlyList<VirtualMachineId> machines, Quiesce mode, CancellationToken cancellationToken)
    {
        await HoldAll(operation, machines);

        // No guest is frozen before all disks are synced: the frozen guests would wait for the slowest disk.
        await hypervisor.SyncTops(machines, QuiesceSyncBound, cancellationToken);
        if (!_holds.ContainsKey(operation)) throw HoldExpired();
        var bound = mode is Appliances.Quiesce.Shutdown ? options.Value.ShutdownBound : options.Value.FreezeBound;
        return await Task.WhenAll(machines.Select(async machine => await hypervisor.Quiesce(machine, operation, mode, bound, cancellationToken)));
    }

    public async Task Unquiesce(OperationId operation, IReadOnlyList<VirtualMachineId> machines)
    {
        await OnPresent(machines, machine => hypervisor.Unquiesce(machine, operation));

        // The machines run as before: none is held any more.
        foreach (var machine in machines) LetGo(machine);
    }

    public async Task<CaptureMoment> Pause(OperationId operation, IReadOnlyList<VirtualMachineId> machines)
    {
        await HoldAll(operation, machines);
        RequireHeld(operation);
        var paused = await Task.WhenAll(machines.Select(async machine => await hypervisor.Pause(machine, operation)));
        return paused.MinBy(moment => moment.At) ?? new(time.GetUtcNow());
    }

    public Task Resume(OperationId operation, IReadOnlyList<VirtualMachineId> machines) =>
        OnPresent(machines, machine => hypervisor.Resume(machine, operation));

    public async Task<SealOutcome> Seal(OperationId operation, IReadOnlyList<VirtualMachineId> machines)
    {
        RequireHeld(operation);
        var moments = await Task.WhenAll(machines.Select(async machine => await hypervisor.Seal(machine, operation)));
        var written = await Task.WhenAll(machines.Select(machine => hypervisor.CaptureBytes(machine, operation)));
        return new(moments.MaxBy(moment => moment.At)?.At ?? time.GetUtcNow(), written.Sum());
    }

    public Task MakeDurable(OperationId operation, IReadOnlyList<LayerId> sealedLayers) => FanOut.Each(sealedLayers, layers.Seal);

    public async Task EndCapture(OperationId operation, IReadOnlyList<VirtualMachineId> machines)
    {
        // Report what happened to the machine during the capture. If this fails, the record releases the machine later.
        _unheard.UnionWith(machines);
        await OnPresent(machines, machine => hypervisor.EndHold(machine, operation));
        foreach (var machine in machines)
        {
            LetGo(machine);
            CaptureEnded(machine);
        }

        await MergeSoon(machines);
    }

    /// <summary>An undo may be called for a removed machine: there is nothing to undo.</summary>
    private async Task OnPresent(IReadOnlyList<VirtualMachineId> machines, Func<VirtualMachineId, Task> call)
    {
        await Adopted();
        await FanOut.All(machines, async machine =>
        {
            if (await hypervisor.Find(machine) is not null) await call(machine);
        });
    }

    private async Task<MachineObservation> Require(VirtualMachineId machine) => await hypervisor.Find(machine)
        ?? throw FaultException.Conflict("virtual-machine-not-on-host", $"The virtual machine {machine} is not on the host {Id}.");

    /// <summary>A repeated call may come after the seal, when the next layer is already the top.</summary>
    private static LayerId TopBefore(DiskChain disk, LayerId next) => disk.Layers[^1] == next ? disk.Layers[^2] : disk.Layers[^1];

    private async Task HoldAll(OperationId operation, IReadOnlyList<VirtualMachineId> machines)
    {
        if (machines.Count == 0) return;
        var appliance = (await Require(machines[0])).Appliance;
        foreach (var machine in machines) Hold(operation, appliance, machine, isFound: false);
    }

    /// <param name="isFound">The hold was found after a restart: its capture may have ended, so ask at once.</param>
    private void Hold(OperationId operation, ApplianceId appliance, VirtualMachineId machine, bool isFound)
    {
        if (!_holds.TryGetValue(operation, out var held)) _holds[operation] = held = new(appliance, isFound ? null : time.GetTimestamp(), []);
        held.Machines.Add(machine);
    }

    private void LetGo(VirtualMachineId machine)
    {
        foreach (var (operation, held) in _holds.Where(hold => hold.Value.Machines.Contains(machine)).ToList())
        {
            held.Machines.Remove(machine);
            if (held.Machines.Count == 0) _holds.Remove(operation);
        }
    }

    private void CaptureEnded(VirtualMachineId machine)
    {
        if (_captured.Remove(machine, out var running)) running.Dispose();
    }

    private void RequireHeld(OperationId operation)
    {
        if (_expired == operation) throw HoldExpired();
    }

    private static FaultException HoldExpired() =>
        FaultException.Unavailable("hold-expired", "The machines were held for longer than the bound and were released: try again.");

    private async Task CheckHolds(CancellationToken cancellationToken)
    {
        await Adopted();
        foreach (var (operation, held) in _holds.Where(hold => hold.Value.Since is not { } since || time.GetElapsedTime(since) >= options.Value.HoldBound).ToList())
        {
            try
            {
                if (await GrainFactory.Appliance(held.Appliance).ReleaseHold(operation) is HoldVerdict.Keep) continue;
                LogHoldExpired(Id.Name, operation.Value, held.Machines.Count);
                _expired = operation;
                IReadOnlyList<VirtualMachineId> machines = [.. held.Machines];
                await FanOut.AllInOrder(() => Resume(operation, machines), () => Unquiesce(operation, machines));
                _unheard.UnionWith(machines);
                _holds.Remove(operation);
            }
            catch (Exception exception) when (exception is FaultException or TimeoutException or Orleans.Runtime.OrleansException)
            {
                LogHoldCheckFailed(Id.Name, operation.Value, exception.Message);
            }
        }
    }

    /// <param name="Since">A timestamp; null if they were found held.</param>
    private sealed record HeldMachines(ApplianceId Appliance, long? Since, HashSet<VirtualMachineId> Machines);
}
