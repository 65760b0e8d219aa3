using System.ComponentModel;
using System.Text.Json;
using System.Text.Json.Nodes;
using CliWrap.Exceptions;
using Instances.Faults;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;

namespace Instances.Qemu;

/// <summary>One machine. Calls run one at a time; its state is read without waiting.</summary>
/// <remarks>
/// <para>The current disks are: while QEMU runs, its block graph; otherwise <c>machine.json</c>; or, while a capture holds the machine
/// and has not sealed it, the chains in the hold's record.</para>
/// <para><c>machine.json</c> names the next layers as soon as QEMU has them, long before the guest is paused. An empty layer over the old top has the
/// same content. So after a crash at any moment, a machine that starts from this file neither loses a write nor writes to a sealed layer.</para>
/// </remarks>
internal sealed partial class QemuMachine : IAsyncDisposable
{
    // The longest call is a shutdown for a capture, of 60 s.
    private static readonly TimeSpan TurnBound = TimeSpan.FromSeconds(120);

    // For each layer QEMU repeatedly writes the names of all layers below it: the time of its start grows with the cube of the chain's length.
    private static readonly TimeSpan StartBoundOfALayer = TimeSpan.FromMilliseconds(500);
    private static readonly TimeSpan ReconnectEvery = TimeSpan.FromSeconds(2);

    private const string Silent =
        "QEMU is running but does not answer on its control socket, so that the machine can be neither reset nor captured. Its host tries again every few seconds. If that does not help, power it off and on.";

    private readonly QemuHost _host;
    private readonly RunFolder _folder;
    private readonly SemaphoreSlim _turn = new(1);
    private readonly CancellationTokenSource _disposing = new();

    private MachineSpec _spec;
    private QemuIdentity _identity;
    private IReadOnlyList<DiskChain> _chains;
    private IReadOnlyList<PortForward> _ports;
    private VirtualMachineStatus _status = VirtualMachineStatus.Stopped;
    private HoldRecord? _hold;
    private QemuProcess? _process;
    private QmpClient? _qmp;

    /// <summary>Why it is stopped. For a running machine: the reason to report if its process is found gone.</summary>
    private StopReason _stopReason = StopReason.Died;

    /// <summary>Why QEMU has stopped the guest without a request, or null.</summary>
    private string? _trouble;
    private bool _removed;

    /// <summary>How QEMU ended, until that is written. Otherwise a restarted silo would start a machine that was powered off.</summary>
    private ProcessRecord? _unwrittenEnd;

    /// <summary>The answer to a pause was lost, and QEMU has not been asked since.</summary>
    private bool _isPauseLost;
    private volatile MachineObservation _observation;
    private Task _watching = Task.CompletedTask;

    public QemuMachine(QemuHost host, MachineSpec spec)
    {
        _host = host;
        _folder = RunFolder.For(host.Options.RunFolder, spec.Id);
        _spec = spec;
        _identity = host.Users.Of(_folder);
        _chains = spec.Disks;
        _ports = spec.PortForwards;
        _observation = Observe();
    }

    public MachineObservation Observation => _observation;

    public MachineSpec Spec => _spec;

    public Task Describe(OperationId deployment, MachineOrigin origin) => Turn(() =>
    {
        if (_spec.Deployment == deployment) _folder.WriteMachine(_spec = _spec with { Origin = origin });
        return Task.CompletedTask;
    });

    private QmpClient Qmp => _qmp ?? throw new QmpException("QEMU is running but does not answer on its control socket.", isLost: true);

    /// <summary>Adopts a machine of an earlier silo process: its run folder and, if it is running, its QEMU.</summary>
    public Task Adopt(QemuProcess? process, CancellationToken cancellationToken) => Turn(async () =>
    {
        var record = _folder.ReadProcess();
        _hold = _folder.ReadHold();
        _process = process;
        if (record is not null) (_ports, _stopReason) = (record.PortForwards, record.EndedBy);
        if (process is null)
        {
            // A read-only top was sealed, although the silo died before it recorded that.
            if (_hold is { Sealed: false } hold && hold.Next.Count > 0 && hold.Previous.Any(chain => IsReadOnly(chain.Layers[^1]))) _hold = hold with { Sealed = true };
            ForgetFreeze();
            _chains = ChainsToStart();
            await RepairParents();
            return;
        }

        _status = VirtualMachineStatus.Running;
        _chains = ChainsToStart();
        BeginBoot();
        try
        {
            await Connect(process.Value, cancellationToken);
            await RepairParents();
        }
        catch (FaultException fault) when (process.Value.IsAlive)
        {
            // QEMU may be too busy to answer. Its disks must not be used otherwise meanwhile.
            LogUnreachable(_spec.Id, fault.Message);
            _trouble = Silent;
            _watching = Watch(null);
        }
        catch (FaultException)
        {
            MarkStopped(StopReason.Died);
        }

        // A capture that is under way thaws what it has frozen.
        if (_folder.MayBeFrozen && _hold is not { Freeze: not FreezeState.Thawed }) StartLateThaw();
    }, cancellationToken);

    public async ValueTask DisposeAsync()
    {
        await _disposing.CancelAsync();
        await StopClock();
        await StopLateThaw();
        if (_qmp is { } qmp) await qmp.DisposeAsync();
        await _watching;
    }

    private async Task<T> Turn<T>(Func<Task<T>> act, CancellationToken cancellationToken = default)
    {
        if (!await _turn.WaitAsync(TurnBound, cancellationToken)) throw QemuFaults.Busy(_spec.Name);
        try
        {
            if (_removed) throw QemuFaults.NotOnHost(_spec.Id);

            // Run on the thread pool: this writes and synchronizes files, and the caller's thread belongs to a grain.
            return await Task.Run(act, CancellationToken.None);
        }
        catch (Exception e) when (e is QmpException or IOException or UnauthorizedAccessException or Win32Exception or JsonException or CliWrapException)
        {
            throw QemuFaults.From(_spec.Name, e);
        }
        finally
        {
            _observation = Observe();
            _turn.Release();
        }
    }

    private Task Turn(Func<Task> act, CancellationToken cancellationToken = default) => Turn(
        async () =>
        {
            await act();
            return true;
        },
        cancellationToken);

    private MachineObservation Observe() =>
        new(_spec.Id, _spec.Appliance, _status, _chains, _ports, _spec.MemoryBytes, _spec.Cpus, _hold is { } hold ? new(hold.Operation, hold.Since, _longestStall.TotalMilliseconds, _thawFailure) : null,
            _spec.Deployment, _status is VirtualMachineStatus.Stopped ? _stopReason : null, _trouble ?? (_isFrozen && _status is VirtualMachineStatus.Running ? StaysFrozen : null),
            AwaitsDisk: _awaitsDisk, Hint: _status is VirtualMachineStatus.Running ? _hint : null);

    private void Report()
    {
        _observation = Observe();
        _host.Changes.TryWrite(_observation);
    }

    private IReadOnlyList<DiskChain> ChainsToStart() => _hold is { Sealed: false } hold ? hold.Previous : _spec.Disks;

    private bool IsReadOnly(LayerId layer)
    {
        try
        {
            return (File.GetUnixFileMode(_host.PathOf(layer)) & UnixFileMode.UserWrite) == 0;
        }
        catch (FileNotFoundException)
        {
            return false;
        }
    }

    // --- The connection to QEMU -------------------------------------------------------------------------------------------------------------------

    /// <summary>Connects to a running or starting QEMU, and reads the machine's state from it.</summary>
    /// <exception cref="FaultException">QEMU ended, or does not answer.</exception>
    private async Task Connect(QemuProcess process, CancellationToken cancellationToken)
    {
        var startBound = _host.Options.StartBound + (_chains.Sum(chain => chain.Layers.Count) * StartBoundOfALayer);
        using var bound = _host.Bound(startBound, cancellationToken, out var timer);
        using var owned = timer;
        while (true)
        {
            try
            {
                _qmp = await QmpClient.Connect(_folder.QemuPath, RunFolder.QmpSocket, _host.Options.CommandBound, _host.Time, bound.Token);
                break;
            }
            catch (QmpException e) when (!process.IsAlive)
            {
                throw QemuFaults.Failed($"QEMU ended: {e.Message}", e);
            }
            catch (QmpException)
            {
                // QEMU does not listen yet.
                await DelayOrTimeout(TimeSpan.FromMilliseconds(10));
            }
            catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
            {
                throw Silent();
            }
        }

        try
        {
            await Refresh(cancellationToken);
        }
        catch (QmpException e)
        {
            await _qmp.DisposeAsync();
            _qmp = null;
            throw QemuFaults.From(_spec.Name, e);
        }

        _watching = Watch(_qmp);
        await SetClockIfBehind();

        FaultException Silent() => QemuFaults.TimedOut($"QEMU did not answer within {startBound.TotalSeconds:0} s for the virtual machine '{_spec.Name}'.");

        async Task DelayOrTimeout(TimeSpan delay)
        {
            try
            {
                await Task.Delay(delay, _host.Time, bound.Token);
            }
            catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
            {
                throw Silent();
            }
        }
    }

    private async Task Refresh(CancellationToken cancellationToken)
    {
        SetRunState(await QueryStatus(cancellationToken), isSeen: false);
        var tops = await QueryTops(cancellationToken);
        if (_hold is { Next.Count: > 0 } hold)
        {
            var isSealed = Matches(hold.Following(), tops);
            _hold = hold with { Sealed = isSealed };
            _chains = isSealed ? hold.Following() : hold.Previous;
        }
        else
        {
            _chains = _spec.Disks;
        }

        if (!Matches(_chains, tops)) LogUnknownTops(_spec.Id, string.Join(", ", tops));
    }

    private async Task<VirtualMachineStatus> QueryStatus(CancellationToken cancellationToken)
    {
        var status = await Qmp.Execute("query-status", null, cancellationToken);
        var word = status.GetProperty("status").GetString();
        _awaitsDisk = false;
        _trouble = word switch
        {
            "io-error" => SeeDiskError(),
            "internal-error" => "QEMU has paused it after an error of its own: check its log on the host, then reset it or power it off and on.",
            _ => null,
        };
        // A sleeping or panicked guest is powered on. Any other guest that is not running waits for a resume.
        return word is "running" or "suspended" or "guest-panicked" ? VirtualMachineStatus.Running : VirtualMachineStatus.Paused;
    }

    /// <summary>The top nodes of the data disks, in their order.</summary>
    /// <remarks>Each disk is queried separately. <c>query-block</c> nests every layer of a chain in the one above it, and creating that answer blocks QEMU:
    /// with hundreds of layers, the guest would stall for seconds.</remarks>
    private async Task<IReadOnlyList<string>> QueryTops(CancellationToken cancellationToken)
    {
        var tops = new List<string>(_spec.Disks.Count);
        for (var index = 0; index < _spec.Disks.Count; index++)
        {
            var drive = new JsonObject { ["path"] = QemuArguments.DiskPath(index), ["property"] = "drive" };
            tops.Add((await Qmp.Execute("qom-get", drive, cancellationToken)).GetString() ?? "");
        }

        return tops;
    }

    private static bool Matches(IReadOnlyList<DiskChain> chains, IReadOnlyList<string> tops) =>
        chains.Select(chain => BlockNodes.Format(chain.Layers[^1])).SequenceEqual(tops);

    private static JsonObject Arguments(string name, JsonNode value) => new() { [name] = value };

    // --- Events without a request -------------------------------------------------------------------------------------------------------------------

    /// <summary>Follows QEMU's events until it is gone, across lost connections.</summary>
    private async Task Watch(QmpClient? qmp)
    {
        try
        {
            if (qmp is not null)
            {
                await foreach (var happened in qmp.Events.ReadAllAsync(_disposing.Token)) await TryWatch(() => OnEvent(qmp, happened));
            }

            while (await TryWatch(() => IsUnreachable(qmp))) await Task.Delay(ReconnectEvery, _host.Time, _disposing.Token);
        }
        catch (OperationCanceledException) when (_disposing.IsCancellationRequested)
        {
            // The silo ends; the machine keeps running.
        }
    }

    /// <returns>Whether the watch must continue.</returns>
    private async Task<bool> TryWatch(Func<Task<bool>> watch)
    {
        try
        {
            return await watch();
        }
        catch (FaultException) when (_removed)
        {
            return false;
        }
        catch (FaultException fault)
        {
            // The machine may be busy, or the disk full. Both are temporary.
            LogWatchFailed(_spec.Id, fault.Message);
            return true;
        }
    }

    private async Task<bool> OnEvent(QmpClient qmp, QmpEvent happened)
    {
        var isRestart = happened.Name == "RESET" && happened.Data.TryGetProperty("guest", out var byGuest) && byGuest.ValueKind == JsonValueKind.True;
        VirtualMachineStatus? hint = happened.Name switch
        {
            "STOP" => VirtualMachineStatus.Paused,
            "RESUME" => VirtualMachineStatus.Running,
            _ => null,
        };
        if (happened.Name == "BLOCK_IO_ERROR")
        {
            _diskError = DiskErrorOf(happened) ?? _diskError;
            LogDiskError(_spec.Id, happened.Data.ToString());
        }

        // The status contains requested changes before the request is sent. An event is only a hint, because it may have waited here for long.
        if (!isRestart && (hint is null || hint == _status)) return true;
        return await Turn(
            async () =>
            {
                if (_qmp != qmp || qmp.Closed.IsCompleted) return true;
                if (isRestart) ForgetFreeze();
                var status = await QueryStatus(_disposing.Token);
                if (status == _status && !isRestart) return true;
                SetRunState(status);
                if (isRestart) BeginBoot();
                Report();
                await SetClockIfBehind();
                return true;
            },
            _disposing.Token);
    }

    /// <summary>Called when the connection is lost.</summary>
    /// <returns>Whether QEMU still runs and does not answer.</returns>
    private Task<bool> IsUnreachable(QmpClient? lost) => Turn(
        async () =>
        {
            // A newer connection has its own watch. If there is none, this watch connects again.
            if ((_qmp is { } other && other != lost) || _process is not { } process) return false;
            if (await process.WaitForEnd(_qmp is null ? TimeSpan.Zero : _host.Options.StopBound, _host.Time, _disposing.Token))
            {
                try
                {
                    var startsAgain = ReasonOf(lost) is StopReason.Guest && _host.Time.GetUtcNow() < _startAgainUntil;

                    // If its start fails, the host starts it again, like a machine that died.
                    MarkStopped(startsAgain ? StopReason.Died : ReasonOf(lost));
                    if (startsAgain) await StartQemu(_disposing.Token);
                }
                finally
                {
                    Report();
                }

                return false;
            }

            try
            {
                await Connect(process, _disposing.Token);

                // A pause whose answer was lost may have been carried out since, although its capture has ended.
                if (_isPauseLost && _hold is { WasRunning: true } && _status == VirtualMachineStatus.Paused && _trouble is null) await ResumePaused();
                _isPauseLost = false;
                await SetClockIfBehind();
                Report();
                return false;
            }
            catch (FaultException fault)
            {
                LogUnreachable(_spec.Id, fault.Message);
                _qmp = null;
                if (_trouble == Silent) return true;
                _trouble = Silent;
                Report();
                return true;
            }
        },
        _disposing.Token);

    /// <summary>Why QEMU ended without a request.</summary>
    private static StopReason ReasonOf(QmpClient? qmp) => qmp?.ShutdownReason == "guest-shutdown" ? StopReason.Guest : StopReason.Died;

    private void MarkStopped(StopReason reason)
    {
        _status = VirtualMachineStatus.Stopped;
        (_stopReason, _trouble, _awaitsDisk, _isClockBehind, _bootingSince) = (reason, null, false, false, null);
        _chains = ChainsToStart();
        var ended = _process;
        // The machine has ended, even if that cannot be written.
        (_process, _qmp, _isPauseLost) = (null, null, false);
        ForgetFreeze();
        if (ended is { } process) _unwrittenEnd = new(process.Pid, process.StartTime, QemuProcess.BootId, _ports, reason is StopReason.Guest, reason);
        TryWriteEnd();
        if (_hold is { } hold) TryWrite(() => _folder.WriteHold(hold, durable: true));
    }

    /// <summary>Writes how QEMU ended if that was not possible before, for example because of a full disk. Called regularly.</summary>
    public async Task WriteEndLate()
    {
        // A busy machine is checked the next time.
        if (_unwrittenEnd is null || !await _turn.WaitAsync(TimeSpan.Zero)) return;
        try
        {
            if (!_removed) TryWriteEnd();
        }
        finally
        {
            _turn.Release();
        }
    }

    private void TryWriteEnd()
    {
        if (_unwrittenEnd is { } end && TryWrite(() => _folder.WriteProcess(end))) _unwrittenEnd = null;
    }

    private bool TryWrite(Action write)
    {
        try
        {
            write();
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            LogNotWritten(_spec.Id, e.Message);
            return false;
        }
    }
}
