using System.Threading.Channels;
using Instances.Appliances;
using Instances.Faults;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;

namespace Instances.Simulation;

/// <summary>The hypervisor of a simulated host.</summary>
internal sealed class SimulatedHypervisor(SimulatedHost host, TimeProvider time) : IHypervisor
{
    public string Name => "simulated";

    public long MachineOverheadBytes => 0;

    public string Accelerator => "simulated";

    public ChannelReader<MachineObservation> Changes => host.Changes.Reader;

    public async Task<IReadOnlyList<MachineObservation>> Adopt(CancellationToken cancellationToken)
    {
        await host.Call(SimulatedCall.Adopt, default, host.Load, cancellationToken);
        return await List();
    }

    public Task Rehearse(Func<VirtualMachineId, OperationId, Task> capture, CancellationToken cancellationToken) => Task.CompletedTask;

    public Task<IReadOnlyList<MachineObservation>> List() => Task.FromResult<IReadOnlyList<MachineObservation>>([.. host.Machines.Values.Select(machine => machine.Observe())]);

    public Task<IReadOnlyList<MachineLeftover>> ListLeftovers() => Task.FromResult<IReadOnlyList<MachineLeftover>>([.. host.Leftovers.Values]);

    public Task<IReadOnlySet<LayerId>> UsedLayers() => Task.FromResult<IReadOnlySet<LayerId>>(
        host.Machines.Values.SelectMany(machine => machine.Spec.Disks.Concat(machine.Disks).SelectMany(disk => disk.Layers).Concat(machine.NextLayers)).ToHashSet());

    public Task<MachineSpec?> FindSpec(VirtualMachineId machine) => Task.FromResult(host.Machines.GetValueOrDefault(machine)?.Spec);

    public Task Describe(VirtualMachineId machine, OperationId deployment, MachineOrigin origin)
    {
        if (host.Machines.TryGetValue(machine, out var found) && found.Spec.Deployment == deployment) found.Spec = found.Spec with { Origin = origin };
        return Task.CompletedTask;
    }

    public HostBinding? ReadBinding() => host.Binding;

    public Task WriteBinding(HostBinding binding)
    {
        host.Binding = binding;
        return Task.CompletedTask;
    }

    public Task RemoveLeftover(VirtualMachineId machine) => host.Call(SimulatedCall.Remove, machine, () => host.Leftovers.TryRemove(machine, out _));

    public Task<MachineObservation?> Find(VirtualMachineId machine) => Task.FromResult(host.Machines.GetValueOrDefault(machine)?.Observe());

    public async Task<MachineObservation> Start(MachineSpec spec, CancellationToken cancellationToken)
    {
        await host.Call(SimulatedCall.Start, spec.Id, () =>
        {
            if (host.Machines.GetOrAdd(spec.Id, _ => new(spec)).Spec.Deployment != spec.Deployment)
                throw FaultException.Conflict("virtual-machine-on-host", $"The virtual machine {spec.Id} is on this host with another deployment.");
        }, cancellationToken);
        return Require(spec.Id).Observe();
    }

    public Task Remove(VirtualMachineId machine, OperationId deployment) => host.Call(SimulatedCall.Remove, machine, () =>
    {
        if (host.Machines.TryGetValue(machine, out var found) && found.Spec.Deployment == deployment) host.Machines.TryRemove(KeyValuePair.Create(machine, found));
    });

    public async Task<MachineObservation> Power(VirtualMachineId machine, PowerAction action)
    {
        var simulated = Require(machine);
        await host.Call(SimulatedCall.Power, machine, () => (simulated.Status, simulated.StopReason, simulated.Trouble, simulated.AwaitsDisk) = action switch
        {
            PowerAction.On or PowerAction.Reset or PowerAction.Resume => (VirtualMachineStatus.Running, simulated.StopReason, null, false),
            PowerAction.Off => (VirtualMachineStatus.Stopped, StopReason.Power, null, false),
            PowerAction.Shutdown => (VirtualMachineStatus.Stopped, StopReason.Guest, null, false),
            PowerAction.Pause => (VirtualMachineStatus.Paused, simulated.StopReason, simulated.Trouble, simulated.AwaitsDisk),
        });
        return simulated.Observe();
    }

    public Task<string> ReadConsole(VirtualMachineId machine, int maxBytes)
    {
        Require(machine);
        return Task.FromResult("boots=1\n");
    }

    public Task AddNextLayers(VirtualMachineId machine, OperationId operation, IReadOnlyList<LayerId> next)
    {
        var simulated = Require(machine);
        return host.Call(SimulatedCall.AddNextLayers, machine, () =>
        {
            if (simulated.Hold?.Operation == operation) return;
            (simulated.Hold, simulated.NextLayers) = (new(operation, time.GetUtcNow()), next);
        });
    }

    public async Task<IReadOnlyList<LayerId>> RemoveNextLayers(VirtualMachineId machine, OperationId operation)
    {
        IReadOnlyList<LayerId> removed = [];
        var simulated = Require(machine);
        await host.Call(SimulatedCall.RemoveNextLayers, machine, () =>
        {
            if (simulated.Hold?.Operation != operation || simulated.IsSealed) return;
            (removed, simulated.NextLayers) = (simulated.NextLayers, []);
        });
        return removed;
    }

    public Task SyncTops(IReadOnlyList<VirtualMachineId> machines, TimeSpan bound, CancellationToken cancellationToken) =>
        Task.WhenAll(machines.Select(machine => host.Call(SimulatedCall.SyncTops, machine, () => Require(machine), cancellationToken)).ToList());

    public async Task<QuiesceOutcome> Quiesce(VirtualMachineId machine, OperationId operation, Quiesce mode, TimeSpan bound, CancellationToken cancellationToken)
    {
        var simulated = Require(machine);
        await host.Call(SimulatedCall.Quiesce, machine, () =>
        {
            if (simulated.Status is not VirtualMachineStatus.Running) return;
            if (mode is Appliances.Quiesce.Freeze) simulated.IsFrozen = true;
            if (mode is Appliances.Quiesce.Shutdown) (simulated.Status, simulated.StopReason, simulated.WasShutDown) = (VirtualMachineStatus.Stopped, StopReason.Guest, true);
        }, cancellationToken);
        var level = simulated switch
        {
            { Status: VirtualMachineStatus.Stopped } => ConsistencyLevel.Offline,
            { IsFrozen: true } => ConsistencyLevel.Application,
            _ => ConsistencyLevel.Crash,
        };
        return new(machine, level, level is ConsistencyLevel.Crash && mode is not Appliances.Quiesce.None ? "The machine was paused." : null);
    }

    public Task Unquiesce(VirtualMachineId machine, OperationId operation) => Held(SimulatedCall.Unquiesce, machine, operation, simulated =>
    {
        if (simulated.WasPaused) (simulated.Status, simulated.WasPaused) = (VirtualMachineStatus.Running, false);
        simulated.IsFrozen = false;
        if (simulated.WasShutDown) (simulated.Status, simulated.WasShutDown) = (VirtualMachineStatus.Running, false);
    });

    public async Task<bool> ReplaceLayers(VirtualMachineId machine, LayerMerge merge)
    {
        var (simulated, isReplaced) = (Require(machine), false);
        await host.Call(SimulatedCall.ReplaceLayers, machine, () =>
        {
            if (simulated.Hold is not null || simulated.Disks.FirstOrDefault(disk => disk.Layers.SkipLast(1).SequenceEqual(merge.Chain)) is not { } before) return;
            var after = before with { Layers = [.. merge.Under, merge.Merged, before.Layers[^1]] };
            (simulated.Disks, isReplaced) = ([.. simulated.Disks.Select(disk => disk == before ? after : disk)], true);
        });
        return isReplaced;
    }

    public async Task<bool> CanReplaceLayers(VirtualMachineId machine)
    {
        await host.Call(SimulatedCall.CanReplaceLayers, machine, () => { });
        return host.CanReplaceLayers;
    }

    public async Task<CaptureMoment> Pause(VirtualMachineId machine, OperationId operation)
    {
        var at = time.GetUtcNow();
        await Held(SimulatedCall.Pause, machine, operation, simulated =>
        {
            if (simulated.Status is VirtualMachineStatus.Running) (simulated.Status, simulated.WasPaused) = (VirtualMachineStatus.Paused, true);
        });
        return new(at);
    }

    public Task Resume(VirtualMachineId machine, OperationId operation) => Held(SimulatedCall.Resume, machine, operation, simulated =>
    {
        if (simulated.WasPaused) (simulated.Status, simulated.WasPaused) = (VirtualMachineStatus.Running, false);
    });

    public async Task<CaptureMoment> Seal(VirtualMachineId machine, OperationId operation)
    {
        await Held(SimulatedCall.Seal, machine, operation, simulated =>
        {
            if (simulated.IsSealed) return;
            simulated.Disks = [.. simulated.Disks.Zip(simulated.NextLayers, (disk, next) => disk with { Layers = [.. disk.Layers, next] })];
        });
        return new(time.GetUtcNow());
    }

    public Task<long> CaptureBytes(VirtualMachineId machine, OperationId operation) => Task.FromResult(0L);

    public Task EndHold(VirtualMachineId machine, OperationId operation) => Held(SimulatedCall.EndHold, machine, operation, simulated =>
        (simulated.Hold, simulated.NextLayers, simulated.WasPaused, simulated.WasShutDown, simulated.IsFrozen) = (null, [], false, false, false));

    private Task Held(SimulatedCall call, VirtualMachineId machine, OperationId operation, Action<SimulatedMachine> action)
    {
        var simulated = Require(machine);
        return host.Call(call, machine, () =>
        {
            if (simulated.Hold?.Operation == operation) action(simulated);
        });
    }

    private SimulatedMachine Require(VirtualMachineId machine) => host.Machines.GetValueOrDefault(machine)
        ?? throw FaultException.Conflict("virtual-machine-not-on-host", $"The virtual machine {machine} is not on this host.");
}
