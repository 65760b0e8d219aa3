using System.Text.Json.Nodes;
using Instances.Appliances;
using Instances.Faults;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;

namespace Instances.Qemu;

internal sealed partial class QemuMachine
{
    private const string Snapshot = "blockdev-snapshot";
    private const int ThawTries = 3;
    private const int LateThawTries = 60;
    private static readonly TimeSpan LateThawPause = TimeSpan.FromSeconds(1);

    /// <summary>How long after a capture gave up on a guest's shutdown the guest may still come to its end.</summary>
    private static readonly TimeSpan LateShutdownBound = TimeSpan.FromMinutes(3);

    private long _writtenByAdding;

    /// <summary>What QEMU had written when the guest was last left to itself.</summary>
    private long? _writtenBefore;

    /// <summary>The seal's command, made while the guest still runs.</summary>
    private SealCommand? _seal;
    private CancellationTokenSource? _lateThawEnds;
    private Task _lateThaw = Task.CompletedTask;

    /// <summary>A guest that was told to shut down for a capture, and does so before this, is started again. Forgotten when the silo restarts.</summary>
    private DateTimeOffset? _startAgainUntil;

    public Task AddNextLayers(OperationId operation, IReadOnlyList<LayerId> next) => Turn(async () =>
    {
        if (_hold is { } other && other.Operation != operation) throw QemuFaults.Busy(_spec.Name);
        if (next.Count != _spec.Disks.Count)
            throw FaultException.Invalid("disks-mismatch", $"The virtual machine '{_spec.Name}' has {_spec.Disks.Count} disks, not {next.Count}.");
        if (_hold is { Sealed: true }) return;
        if (_hold is { } before && !before.Next.SequenceEqual(next)) await TakeBack(before);
        var bytes = next.Sum(layer => UnixFiles.Statistics(_host.PathOf(layer)).AllocatedBytes);
        var hold = _hold is { } kept
            ? kept with { Next = next, NextBytes = bytes }
            : new HoldRecord(
                operation, _host.Time.GetUtcNow(), _chains, next, _status == VirtualMachineStatus.Running, FreezeState.Thawed, ShutDown: false, Sealed: false, bytes);
        KeepHold(hold, durable: true);
        KeepMachine(_spec with { Disks = hold.Following() });
        if (_process is not { } process) return;
        var written = process.WrittenBytes();
        await AddNodes(hold);
        _seal = MakeSeal(hold);
        await FlushTops();
        _writtenByAdding = process.WrittenBytes() - written;
    });

    public Task<IReadOnlyList<LayerId>> RemoveNextLayers(OperationId operation) => Turn<IReadOnlyList<LayerId>>(async () =>
    {
        if (_hold is not { Sealed: false } hold || hold.Operation != operation) return [];
        await TakeBack(hold);
        return hold.Next;
    });

    public Task<QuiesceOutcome> Quiesce(OperationId operation, Quiesce mode, TimeSpan bound, CancellationToken cancellationToken) => Turn(
        async () =>
        {
            var hold = RequireHold(operation);
            var outcome = (_status, mode) switch
            {
                (VirtualMachineStatus.Stopped, _) => _stopReason is StopReason.Guest
                    ? Outcome(ConsistencyLevel.Offline)
                    : Outcome(ConsistencyLevel.Crash, "The machine is stopped, and it is not known that its guest had shut down."),
                (_, Appliances.Quiesce.None) => Outcome(ConsistencyLevel.Crash),
                (VirtualMachineStatus.Paused, _) => Outcome(ConsistencyLevel.Crash, "The machine was paused, so its guest could not be asked."),
                (_, Appliances.Quiesce.Freeze) => await Freeze(hold, bound, cancellationToken),
                (_, Appliances.Quiesce.Shutdown) => await ShutDown(hold, bound, cancellationToken),
            };
            if (_process is not null) await FlushTops();
            _writtenBefore = _process?.WrittenBytes();
            return outcome;
        },
        cancellationToken);

    public Task Unquiesce(OperationId operation) => Turn(async () =>
    {
        if (_hold is not { } hold || hold.Operation != operation) return;
        if (hold.ShutDown && _status == VirtualMachineStatus.Stopped) await StartQemu(CancellationToken.None);
        else if (hold.ShutDown) _startAgainUntil = _host.Time.GetUtcNow() + LateShutdownBound;
        if (hold.Freeze == FreezeState.Frozen && _status != VirtualMachineStatus.Stopped) await Thaw();
        if (hold.Freeze == FreezeState.Uncertain && _lateThaw.IsCompleted) StartLateThaw();
        if (hold is { ShutDown: true } or { Freeze: not FreezeState.Thawed }) KeepHold(_hold with { ShutDown = false, Freeze = FreezeState.Thawed }, durable: false);
    });

    /// <summary>QEMU writes its tables and flushes when it pauses and when it switches. It does so before, while the guest still runs: the consistency
    /// window does not wait for what the disk has to write by then.</summary>
    private async Task FlushTops()
    {
        foreach (var chain in _chains) await Qmp.Execute("human-monitor-command", Arguments("command-line", $"qemu-io {BlockNodes.Format(chain.Layers[^1])} flush"));
    }

    /// <summary>Within the consistency window: nothing is read, written or made here, nor by <see cref="Seal"/>, that could be so before or after.</summary>
    public Task<CaptureMoment> Pause(OperationId operation) => Turn<CaptureMoment>(async () =>
    {
        var hold = RequireHold(operation);
        var at = _host.Time.GetUtcNow();
        if (_status != VirtualMachineStatus.Running) return new(at);
        if (!hold.WasRunning) KeepHold(hold with { WasRunning = true }, durable: false);
        await Stop();
        return new(at);
    });

    public Task Resume(OperationId operation) => Turn(async () =>
    {
        if (_hold is { WasRunning: true } hold && hold.Operation == operation && _status == VirtualMachineStatus.Paused) await Continue();
    });

    public Task<CaptureMoment> Seal(OperationId operation) => Turn<CaptureMoment>(async () =>
    {
        var hold = RequireHold(operation);
        if (hold.Sealed) return new(_host.Time.GetUtcNow());
        if (hold.Next.Count == 0) throw QemuFaults.HoldExpired(_spec.Name);
        if (_status == VirtualMachineStatus.Stopped)
        {
            _hold = hold with { Sealed = true };
            _chains = _spec.Disks;
            _folder.WriteHold(_hold, durable: false);
            return new(_host.Time.GetUtcNow());
        }

        await SwitchToNext(hold);
        var at = _host.Time.GetUtcNow();
        // A guest that is not paused may have written already.
        if (_status == VirtualMachineStatus.Running) _folder.WriteHold(_hold!, durable: true);
        return new(at);
    });

    public Task<long> CaptureBytes(OperationId operation) => Turn(() =>
    {
        var hold = RequireHold(operation);
        var written = _process is { } process && _writtenBefore is { } before ? process.WrittenBytes() - before : 0;
        return Task.FromResult(hold.NextBytes + _writtenByAdding + Math.Max(0, written));
    });

    public Task EndHold(OperationId operation) => Turn(async () =>
    {
        if (_hold is not { } hold || hold.Operation != operation) return;
        // What was not sealed never will be: the machine's file must not name layers that nobody keeps.
        if (!hold.Sealed) await TakeBack(hold);
        _hold = null;
        _folder.DeleteHold();
        (_writtenBefore, _writtenByAdding, _seal) = (null, 0, null);
    });

    /// <summary>All disks in one transaction. One disk is one by itself: the shorter command says the same.</summary>
    private static SealCommand MakeSeal(HoldRecord hold)
    {
        var switches = hold.Previous.Zip(hold.Next, (chain, next) =>
            new JsonObject { ["node"] = BlockNodes.Format(chain.Layers[^1]), ["overlay"] = BlockNodes.Format(next) }).ToList();
        if (switches.Count == 1) return new(Snapshot, switches[0]);
        return new("transaction", Arguments("actions", new JsonArray([.. switches.Select(data => new JsonObject { ["type"] = Snapshot, ["data"] = data })])));
    }

    private async Task SwitchToNext(HoldRecord hold)
    {
        try
        {
            // Made anew where the silo has restarted since the next layers were added. A node of JSON has one parent: it is sent once.
            var seal = _seal ?? MakeSeal(hold);
            _seal = null;
            await Qmp.Execute(seal.Command, seal.Arguments);
            _hold = hold with { Sealed = true };
            _chains = hold.Following();
        }
        catch (QmpException)
        {
            // The answer may be lost, and the deed done.
            await Refresh(CancellationToken.None);
            if (_hold is not { Sealed: true }) throw;
        }
    }

    /// <summary>Undoes what <see cref="AddNextLayers"/> did; the hold stays while there is something else to undo.</summary>
    private async Task TakeBack(HoldRecord hold)
    {
        if (_process is not null && hold.Next.Count > 0) await RemoveNodes(hold);
        // Before the caller may delete the layers that the file names.
        KeepMachine(_spec with { Disks = hold.Previous });
        var isPaused = hold.WasRunning && _status == VirtualMachineStatus.Paused;
        if (isPaused || hold.ShutDown || hold.Freeze != FreezeState.Thawed)
        {
            KeepHold(hold with { Next = [] }, durable: true);
            return;
        }

        _hold = null;
        _folder.DeleteHold();
    }

    private async Task AddNodes(HoldRecord hold)
    {
        var present = await NodeNames();
        foreach (var (chain, next) in hold.Previous.Zip(hold.Next))
        {
            var path = _host.PathOf(next);
            _identity.OwnLayer(path);
            foreach (var node in BlockNodes.Next(next, path, chain.VirtualSizeBytes))
            {
                if (!present.Contains(node["node-name"]!.GetValue<string>())) await Qmp.Execute("blockdev-add", node);
            }
        }
    }

    private async Task RemoveNodes(HoldRecord hold)
    {
        var present = await NodeNames();
        foreach (var name in hold.Next.SelectMany(next => (string[])[BlockNodes.Format(next), BlockNodes.File(next)]))
        {
            if (present.Contains(name)) await Qmp.Execute("blockdev-del", Arguments("node-name", name));
        }
    }

    private async Task<HashSet<string>> NodeNames()
    {
        var nodes = await Qmp.Execute("query-named-block-nodes", Arguments("flat", true));
        return [.. nodes.EnumerateArray().Select(node => node.GetProperty("node-name").GetString()!)];
    }

    private HoldRecord RequireHold(OperationId operation) =>
        _hold is { } hold && hold.Operation == operation ? hold : throw QemuFaults.HoldExpired(_spec.Name);

    private void KeepHold(HoldRecord hold, bool durable)
    {
        _folder.WriteHold(hold, durable);
        _hold = hold;
    }

    private void KeepMachine(MachineSpec spec)
    {
        _folder.WriteMachine(spec);
        _spec = spec;
    }

    private QuiesceOutcome Outcome(ConsistencyLevel consistency, string? detail = null) => new(_spec.Id, consistency, detail);

    // --- The guest --------------------------------------------------------------------------------------------------------------------------------

    private async Task<QuiesceOutcome> ShutDown(HoldRecord hold, TimeSpan bound, CancellationToken cancellationToken)
    {
        var (qmp, process) = (Qmp, _process!.Value);
        KeepHold(hold with { ShutDown = true, WasRunning = true }, durable: false);
        await qmp.Execute("system_powerdown", null, cancellationToken);
        try
        {
            await qmp.Closed.WaitAsync(bound, _host.Time, cancellationToken);
        }
        catch (TimeoutException)
        {
            return Outcome(ConsistencyLevel.Crash, $"The guest did not shut down within {bound.TotalSeconds:0} s.");
        }

        await End(process, () => Task.CompletedTask, _host.Options.StopBound);
        return _stopReason is StopReason.Guest ? Outcome(ConsistencyLevel.Offline) : Outcome(ConsistencyLevel.Crash, "QEMU ended before the guest had shut down.");
    }

    private async Task<QuiesceOutcome> Freeze(HoldRecord hold, TimeSpan bound, CancellationToken cancellationToken)
    {
        await StopLateThaw();
        if (!await IsAgentThere(cancellationToken)) return Outcome(ConsistencyLevel.Crash, "No guest agent runs in the guest.");
        KeepHold(hold with { Freeze = FreezeState.Uncertain, WasRunning = true }, durable: false);
        using var linked = _host.Bound(bound, cancellationToken, out var timer);
        using var owned = timer;
        try
        {
            await using var agent = await GuestAgent.Connect(_folder.QemuPath, RunFolder.AgentSocket, linked.Token);
            var isFrozen = await agent.IsFrozen(linked.Token) || await agent.Freeze(linked.Token) > 0;
            KeepHold(_hold! with { Freeze = isFrozen ? FreezeState.Frozen : FreezeState.Thawed }, durable: false);
            return isFrozen ? Outcome(ConsistencyLevel.Application) : Outcome(ConsistencyLevel.Crash, "The guest has no file system that can be frozen.");
        }
        catch (QmpException e)
        {
            StartLateThaw();
            return Outcome(ConsistencyLevel.Crash, e.Message);
        }
        catch (OperationCanceledException)
        {
            // The order to freeze may still be on its way.
            StartLateThaw();
            cancellationToken.ThrowIfCancellationRequested();
            return Outcome(ConsistencyLevel.Crash, $"The guest did not freeze its file systems within {bound.TotalSeconds:0.#} s.");
        }
    }

    private async Task<bool> IsAgentThere(CancellationToken cancellationToken)
    {
        var chardevs = await Qmp.Execute("query-chardev", null, cancellationToken);
        return chardevs.EnumerateArray().Any(chardev =>
            chardev.GetProperty("label").ValueEquals(QemuArguments.AgentChardev) && chardev.GetProperty("frontend-open").GetBoolean());
    }

    private async Task Thaw()
    {
        await StopLateThaw();
        for (var attempt = 1; ; attempt++)
        {
            if (await TryThaw(CancellationToken.None)) return;
            if (attempt < ThawTries) continue;
            // The capture ends all the same: until it does, nobody can reset the machine.
            LogStaysFrozen(_spec.Id);
            StartLateThaw();
            return;
        }
    }

    private async Task<bool> TryThaw(CancellationToken cancellationToken)
    {
        using var linked = _host.Bound(_host.Options.ThawBound, cancellationToken, out var timer);
        using var owned = timer;
        try
        {
            await using var agent = await GuestAgent.Connect(_folder.QemuPath, RunFolder.AgentSocket, linked.Token);
            await agent.Thaw(linked.Token);
            return true;
        }
        catch (QmpException e)
        {
            LogThawFailed(_spec.Id, e.Message);
            return false;
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            LogThawFailed(_spec.Id, "The guest agent did not answer in time.");
            return false;
        }
    }

    /// <summary>Undoes a freeze that may come after its bound, beside all other calls: the guest may be paused meanwhile.</summary>
    private void StartLateThaw()
    {
        _lateThawEnds = CancellationTokenSource.CreateLinkedTokenSource(_disposing.Token);
        _lateThaw = ThawLate(_lateThawEnds.Token);
    }

    private async Task ThawLate(CancellationToken cancellationToken)
    {
        try
        {
            for (var attempt = 1; attempt <= LateThawTries && _process is not null; attempt++)
            {
                if (await TryThaw(cancellationToken)) return;
                await Task.Delay(LateThawPause, _host.Time, cancellationToken);
            }
        }
        catch (OperationCanceledException)
        {
            // Somebody else talks to the agent from here on.
        }
    }

    private async Task StopLateThaw()
    {
        if (_lateThawEnds is not { } ends) return;
        await ends.CancelAsync();
        await _lateThaw;
        ends.Dispose();
        _lateThawEnds = null;
    }

    private sealed record SealCommand(string Command, JsonObject Arguments);
}
