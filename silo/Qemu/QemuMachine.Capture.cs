using System.Text.Json;
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
    private const string WasFrozen =
        "The guest's file systems were already frozen before the capture, so that the image has their content of that earlier moment. The capture has thawed them.";
    private const string StaysFrozen =
        "As far as the host knows, the guest's file systems are still frozen after a capture, so its programs cannot write: the guest agent did not thaw them. "
        + "Thaw them in the guest (fsfreeze --unfreeze), or reset the machine.";

    /// <summary>If a pass over all tops is shorter than this, QEMU's flush has little to write.</summary>
    private static readonly TimeSpan QuickSync = TimeSpan.FromMilliseconds(20);

    // A frozen guest writes no more, so that the second pass is quick. If the first one is not, waiting for it is better than a flush that stops the guest for as long.
    private static readonly TimeSpan FrozenSyncBound = TimeSpan.FromSeconds(2);
    private static readonly TimeSpan SyncPatience = TimeSpan.FromSeconds(30);
    private static readonly TimeSpan LateThawPause = TimeSpan.FromSeconds(1);

    /// <summary>How long a guest may still shut down after a capture gave up waiting for it.</summary>
    private static readonly TimeSpan LateShutdownBound = TimeSpan.FromMinutes(3);

    private long _writtenByAdding;

    /// <summary>The bytes that QEMU had written when the guest last ran without the capture's commands.</summary>
    private long? _writtenBefore;

    /// <summary>The seal's command, prepared while the guest still runs.</summary>
    private SealCommand? _seal;
    private volatile bool _isFrozen;
    private CancellationTokenSource? _lateThawEnds;
    private Task _lateThaw = Task.CompletedTask;

    /// <summary>If a guest that was told to shut down for a capture does so before this moment, it is started again. Kept in memory only.</summary>
    private DateTimeOffset? _startAgainUntil;

    /// <summary>The longest stall of the guest: the time in which a command of the capture blocked QEMU's main loop or paused the guest.</summary>
    private TimeSpan _longestStall;
    private long? _pausedSince;

    /// <summary>Why the capture could not thaw the guest's file systems.</summary>
    private string? _thawFailure;

    public Task AddNextLayers(OperationId operation, IReadOnlyList<LayerId> next) => Turn(async () =>
    {
        if (_hold is { } other && other.Operation != operation) throw QemuFaults.Busy(_spec.Name);
        if (next.Count != _spec.Disks.Count)
            throw FaultException.Invalid("disks-mismatch", $"The virtual machine '{_spec.Name}' has {_spec.Disks.Count} disks, not {next.Count}.");
        if (_hold is { Sealed: true }) return;
        RequireDisk();
        if (_hold is null) (_longestStall, _pausedSince, _thawFailure) = (TimeSpan.Zero, null, null);
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
                    : Outcome(ConsistencyLevel.Crash, "The machine is stopped, and it is not known whether its guest had shut down."),
                (_, Appliances.Quiesce.None) => Outcome(ConsistencyLevel.Crash),
                (VirtualMachineStatus.Paused, _) => Outcome(ConsistencyLevel.Crash, "The machine was paused, so its guest could not be asked."),
                (_, Appliances.Quiesce.Freeze) => await Freeze(hold, bound, cancellationToken),
                (_, Appliances.Quiesce.Shutdown) => await ShutDown(hold, bound, cancellationToken),
            };
            if (_status is VirtualMachineStatus.Running)
            {
                await UntilQuick.Repeat(SyncTops, QuickSync, FrozenSyncBound, SyncPatience, _host.Time, cancellationToken);
                await FlushTops();
            }

            _writtenBefore = _process?.WrittenBytes();
            return outcome;
        },
        cancellationToken);

    public Task Unquiesce(OperationId operation) => Turn(async () =>
    {
        if (_hold is not { } hold || hold.Operation != operation) return;

        // Its resume may have failed. A guest that is paused cannot thaw: if it still cannot be resumed, the hold remembers the freeze.
        if (hold.WasRunning && _status == VirtualMachineStatus.Paused && _trouble is null or Silent) await ResumePaused();
        if (hold.ShutDown && _status == VirtualMachineStatus.Stopped) await StartQemu(CancellationToken.None);
        else if (hold.ShutDown) _startAgainUntil = _host.Time.GetUtcNow() + LateShutdownBound;
        if (hold.Freeze == FreezeState.Frozen && _status != VirtualMachineStatus.Stopped) await Thaw();
        if (hold.Freeze == FreezeState.Uncertain && _lateThaw.IsCompleted) StartLateThaw();
        if (hold is { ShutDown: true } or { Freeze: not FreezeState.Thawed }) TryKeepHold(_hold with { ShutDown = false, Freeze = FreezeState.Thawed });
        await SetClockIfBehind();
    });

    /// <summary>QEMU writes its tables and flushes when it pauses and when it switches. This flush comes earlier, while the guest still runs, so that the consistency
    /// window does not wait for the disk.</summary>
    /// <remarks>QEMU's main loop waits for the flush, and the guest with it: a pass over the tops comes first, so that the flush finds little to write.</remarks>
    private async Task FlushTops()
    {
        foreach (var chain in _chains)
        {
            var command = $"qemu-io {BlockNodes.Format(chain.Layers[^1])} flush";
            var said = await Hold("human-monitor-command", Arguments("command-line", command));

            // Errors are text in a successful answer.
            if (said.GetString() is { Length: > 0 } text) throw new QmpException($"'{command}' failed: {text.Trim()}");
        }
    }

    /// <summary>Syncs the tops of all these machines until a pass over all is quick, or the bound has passed: if a guest writes faster than its disk, no pass is quick. The
    /// capture continues all the same, and reports the stall.</summary>
    /// <remarks>Takes no turn, so that a machine can be powered off meanwhile.</remarks>
    public static Task SyncTops(IReadOnlyList<QemuMachine> machines, TimeSpan bound, TimeProvider time, CancellationToken cancellationToken) => UntilQuick.Repeat(
        async token => (await Task.WhenAll(machines.Select(machine => machine.SyncTops(token)))).DefaultIfEmpty().Max(), QuickSync, bound, patience: bound, time, cancellationToken);

    /// <summary>Writes the kernel's buffers of a running machine's tops to disk, through the silo's own descriptors. QEMU does not wait for it, and the guest keeps running.</summary>
    /// <returns>How long the disk took.</returns>
    private async Task<TimeSpan> SyncTops(CancellationToken cancellationToken)
    {
        if (_observation is not { Status: VirtualMachineStatus.Running } seen) return TimeSpan.Zero;
        try
        {
            return await _host.Disks.Pass([.. seen.Disks.Select(chain => _host.PathOf(chain.Layers[^1]))], cancellationToken);
        }
        catch (IOException e)
        {
            throw QemuFaults.From(_spec.Name, e);
        }
    }

    /// <summary>Executes a command of a capture that blocks QEMU's main loop, and records the duration.</summary>
    private async Task<JsonElement> Hold(string command, JsonObject? arguments = null)
    {
        var since = _host.Time.GetTimestamp();
        try
        {
            return await Qmp.Execute(command, arguments);
        }
        finally
        {
            StoodStill(since);
        }
    }

    private void StoodStill(long since)
    {
        var stall = _host.Time.GetElapsedTime(since);
        if (stall > _longestStall) _longestStall = stall;
    }

    /// <summary>Runs within the consistency window. Here and in <see cref="Seal"/>, all work that can be done before or after is left out.</summary>
    public Task<CaptureMoment> Pause(OperationId operation) => Turn<CaptureMoment>(async () =>
    {
        var hold = RequireHold(operation);
        var at = _host.Time.GetUtcNow();
        if (_status != VirtualMachineStatus.Running) return new(at);
        if (!hold.WasRunning) KeepHold(hold with { WasRunning = true }, durable: false);
        _pausedSince = _host.Time.GetTimestamp();
        await Stop();
        return new(at);
    });

    public Task Resume(OperationId operation) => Turn(async () =>
    {
        if (_hold is { WasRunning: true } hold && hold.Operation == operation && _status == VirtualMachineStatus.Paused) await ResumePaused();
    });

    /// <summary>Resumes a guest that a capture has paused.</summary>
    private async Task ResumePaused()
    {
        await Continue();
        if (_pausedSince is { } since) StoodStill(since);
        _pausedSince = null;
    }

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
        // A guest that is not paused may already have written.
        if (_status == VirtualMachineStatus.Running) NoteSealed();
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
        // Do this first, because a full disk may fail the rest: a capture does not leave its guest paused. But a guest whose disk has failed waits for the disk or its user.
        if (hold.WasRunning && _status == VirtualMachineStatus.Paused && _trouble is null) await ResumePaused();

        // An unsealed capture will not be sealed any more: remove its layers from the machine's file, because they will be deleted.
        if (!hold.Sealed) await TakeBack(hold);

        // If the undo of a capture failed, the guest may still be frozen or shut down.
        if (_folder.MayBeFrozen && _lateThaw.IsCompleted) StartLateThaw();
        if (hold.ShutDown && _status is VirtualMachineStatus.Stopped && _stopReason is StopReason.Guest) CountAsDied();
        _hold = null;
        _folder.DeleteHold();
        (_writtenBefore, _writtenByAdding, _seal) = (null, 0, null);
    });

    /// <summary>Lets the host start the machine again: its guest shut down for a capture, and the capture could not start it.</summary>
    private void CountAsDied()
    {
        _stopReason = StopReason.Died;
        if ((_unwrittenEnd ?? _folder.ReadProcess()) is { } end) _unwrittenEnd = end with { ShutDownByGuest = false, StopReason = StopReason.Died };
        TryWriteEnd();
    }

    /// <summary>Switches all disks in one transaction. For one disk the shorter command does the same.</summary>
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
            // Create it again if the silo has restarted since the next layers were added. A JSON node has one parent, so that it can be sent only once.
            var seal = _seal ?? MakeSeal(hold);
            _seal = null;
            await Hold(seal.Command, seal.Arguments);
            _hold = hold with { Sealed = true };
            _chains = hold.Following();
        }
        catch (QmpException)
        {
            // The command may have been carried out although its answer was lost.
            await Refresh(CancellationToken.None);
            if (_hold is not { Sealed: true }) throw;
        }
    }

    /// <summary>Undoes what <see cref="AddNextLayers"/> did; the hold stays while something else must be undone.</summary>
    private async Task TakeBack(HoldRecord hold)
    {
        if (_process is not null && hold.Next.Count > 0) await RemoveNodes(hold);
        // Write the file before the caller deletes the layers that it names.
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
        foreach (var (chain, next) in hold.Previous.Zip(hold.Next))
        {
            var path = _host.PathOf(next);
            _identity.OwnLayer(path);
            foreach (var node in BlockNodes.Next(next, path, chain.VirtualSizeBytes)) await AddNode(node);
        }
    }

    private async Task RemoveNodes(HoldRecord hold)
    {
        foreach (var name in hold.Next.SelectMany(next => (string[])[BlockNodes.Format(next), BlockNodes.File(next)])) await RemoveNode(name);
    }

    /// <summary>Does nothing for a node that exists.</summary>
    /// <remarks>The existing nodes are not queried: with hundreds of layers the query would block QEMU's main loop and the guest for seconds.</remarks>
    private async Task AddNode(JsonObject node)
    {
        try
        {
            await Hold("blockdev-add", node);
        }
        catch (QmpException e) when (e.Message.Contains(BlockNodes.IsThere, StringComparison.Ordinal))
        {
            // An earlier call has added it.
        }
    }

    private async Task RemoveNode(string name)
    {
        try
        {
            await Hold("blockdev-del", Arguments("node-name", name));
        }
        catch (QmpException e) when (e.Message.Contains(BlockNodes.IsNotThere, StringComparison.Ordinal))
        {
            // An earlier call has removed it, or it was never added.
        }
    }

    private HoldRecord RequireHold(OperationId operation) =>
        _hold is { } hold && hold.Operation == operation ? hold : throw QemuFaults.HoldExpired(_spec.Name);

    private void KeepHold(HoldRecord hold, bool durable)
    {
        _folder.WriteHold(hold, durable);
        _hold = hold;
    }

    /// <summary>For a change that was already carried out: if it cannot be written, a restarted silo at most repeats it.</summary>
    private void TryKeepHold(HoldRecord hold)
    {
        _hold = hold;
        TryWrite(() => _folder.WriteHold(hold, durable: false));
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
        // A query that gets no answer closes the connection.
        await StopClock();
        await qmp.Execute("system_powerdown", null, cancellationToken);

        // The process is watched, not the connection: if only that is lost, the guest may be busy with its shutdown.
        if (!await process.WaitForEnd(bound, _host.Time, cancellationToken))
            return Outcome(ConsistencyLevel.Crash, $"The guest did not shut down within {bound.TotalSeconds:0} s.");

        // When the connection has closed, all that QEMU said is read.
        await Task.WhenAny(qmp.Closed, Task.Delay(_host.Options.StopBound, _host.Time, cancellationToken));
        await End(process, () => Task.CompletedTask, _host.Options.StopBound);
        return _stopReason is StopReason.Guest ? Outcome(ConsistencyLevel.Offline) : Outcome(ConsistencyLevel.Crash, "QEMU ended before the guest had shut down.");
    }

    private async Task<QuiesceOutcome> Freeze(HoldRecord hold, TimeSpan bound, CancellationToken cancellationToken)
    {
        await StopClock();
        await StopLateThaw();
        if (!await IsAgentThere(cancellationToken)) return Outcome(ConsistencyLevel.Crash, "No guest agent runs in the guest.");
        KeepHold(hold with { Freeze = FreezeState.Uncertain, WasRunning = true }, durable: false);
        _folder.MarkFrozen();
        using var linked = _host.Bound(bound, cancellationToken, out var timer);
        using var owned = timer;
        try
        {
            await using var agent = await GuestAgent.Connect(_folder.QemuPath, RunFolder.AgentSocket, linked.Token);
            var wasFrozen = await agent.IsFrozen(linked.Token);
            var isFrozen = wasFrozen || await agent.Freeze(linked.Token) > 0;
            KeepHold(_hold! with { Freeze = isFrozen ? FreezeState.Frozen : FreezeState.Thawed }, durable: false);
            if (!isFrozen) ForgetFreeze();
            return isFrozen ? Outcome(ConsistencyLevel.Application, wasFrozen ? WasFrozen : null) : Outcome(ConsistencyLevel.Crash, "The guest has no file system that can be frozen.");
        }
        catch (QmpException e)
        {
            StartLateThaw();
            return Outcome(ConsistencyLevel.Crash, e.Message);
        }
        catch (OperationCanceledException)
        {
            // The agent may still carry out the freeze.
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
        await StopClock();
        await StopLateThaw();
        for (var attempt = 1; ; attempt++)
        {
            if (await TryThaw(CancellationToken.None) is not { } failure) return;
            if (attempt < ThawTries) continue;
            // The capture ends all the same, because users cannot reset the machine before.
            _thawFailure = failure;
            LogStaysFrozen(_spec.Id);
            StartLateThaw();
            return;
        }
    }

    /// <returns>Why it failed; null if the guest is thawed.</returns>
    private async Task<string?> TryThaw(CancellationToken cancellationToken)
    {
        using var linked = _host.Bound(_host.Options.ThawBound, cancellationToken, out var timer);
        using var owned = timer;
        try
        {
            await using var agent = await GuestAgent.Connect(_folder.QemuPath, RunFolder.AgentSocket, linked.Token);
            await agent.Thaw(linked.Token);
            ForgetFreeze();
            return null;
        }
        catch (QmpException e)
        {
            return Failed(e.Message);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            return Failed("The guest agent did not answer in time.");
        }

        string Failed(string reason)
        {
            LogThawFailed(_spec.Id, reason);
            return reason;
        }
    }

    /// <summary>Undoes a freeze that may happen after its bound. Runs in parallel to other calls, and the guest may be paused meanwhile.</summary>
    private void StartLateThaw()
    {
        // The guest counts as frozen until a thaw succeeds.
        _isFrozen = true;
        _lateThawEnds = CancellationTokenSource.CreateLinkedTokenSource(_disposing.Token);
        _lateThaw = ThawLate(_lateThawEnds.Token);
    }

    private async Task ThawLate(CancellationToken cancellationToken)
    {
        try
        {
            for (var attempt = 1; attempt <= LateThawTries && _process is not null; attempt++)
            {
                if (await TryThaw(cancellationToken) is null)
                {
                    await Turn(
                        () =>
                        {
                            Report();
                            return Task.CompletedTask;
                        },
                        cancellationToken);
                    return;
                }

                await Task.Delay(LateThawPause, _host.Time, cancellationToken);
            }
        }
        catch (OperationCanceledException)
        {
            // From now on another task uses the agent.
        }
        catch (FaultException fault)
        {
            // The machine is removed, or busy with a call that updates the observation.
            LogWatchFailed(_spec.Id, fault.Message);
        }
    }

    private void ForgetFreeze()
    {
        _isFrozen = false;
        TryWrite(_folder.UnmarkFrozen);
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
