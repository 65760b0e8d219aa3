using Instances.Faults;
using Instances.Hosts;
using Instances.Operations;
using Instances.VirtualMachines;

namespace Instances.Qemu;

internal sealed partial class QemuMachine
{
    /// <summary>How often a start is attempted if a chosen port is taken before QEMU opens it.</summary>
    private const int PortTries = 5;

    private const long MaxQemuLogBytes = 1 << 20;

    /// <summary>How much of QEMU's output is examined.</summary>
    private const int MaxLogBytes = 4096;

    public Task<MachineObservation> Start(MachineSpec spec, CancellationToken cancellationToken) => Turn(
        async () =>
        {
            if (spec.Deployment != _spec.Deployment)
            {
                throw FaultException.Conflict(
                    "virtual-machine-on-host", $"The virtual machine '{_spec.Name}' is on this host with another deployment: remove it before it is deployed again.");
            }

            if (_status is not VirtualMachineStatus.Stopped) return Observe();
            _folder.Create();
            if (_folder.ReadMachine() is null) KeepMachine(_spec with { MachineType = _host.MachineType });
            await StartQemu(cancellationToken);
            return Observe();
        },
        cancellationToken);

    /// <summary>Ends a machine whose first start failed so early that the host has nothing of it.</summary>
    /// <returns>Whether the machine is such a one.</returns>
    public async Task<bool> EndIfNothingIsKept() => !_folder.Exists && await Turn(() => Task.FromResult(_removed = !_folder.Exists));

    /// <returns>Whether it was removed; false if the host has it from another deployment.</returns>
    public Task<bool> Remove(OperationId deployment) => Turn(async () =>
    {
        if (_spec.Deployment != deployment) return false;
        await StopClock();
        await StopLateThaw();
        _startAgainUntil = null;
        if (_process is { } process) await End(process, () => Task.CompletedTask, TimeSpan.Zero);
        _host.Users.Delete(_folder, _host.PathOf);
        _host.Groups.Remove(_spec.Id);
        return _removed = true;
    });

    public Task<MachineObservation> Power(PowerAction action) => Turn(async () =>
    {
        switch (PowerDecision.Decide(_status, action))
        {
            case PowerDecision.Nothing:
                return Observe();
            case PowerDecision.Refuse refusal:
                throw FaultException.Conflict("power-conflict", $"The virtual machine '{_spec.Name}' {refusal.Reason}.");
        }

        _startAgainUntil = null;
        await Act(action);
        await SetClockIfBehind();
        if (_hold is { } hold && hold.WasRunning != (_status == VirtualMachineStatus.Running)) TryKeepHold(hold with { WasRunning = !hold.WasRunning });
        return Observe();
    });

    /// <summary>Takes no turn, because only QEMU writes the log.</summary>
    public Task<string> ReadConsole(int maxBytes) => Task.FromResult(ConsoleTail.Read(_folder.ConsolePath, maxBytes));

    public void TrimLogs()
    {
        ConsoleTail.Trim(_folder.ConsolePath);
        ConsoleTail.Trim(_folder.LogPath, MaxQemuLogBytes);
    }

    private Task Act(PowerAction action) => action switch
    {
        PowerAction.On => StartQemu(CancellationToken.None),
        PowerAction.Off => Quit(),
        PowerAction.Shutdown => Qmp.Execute("system_powerdown"),
        PowerAction.Reset => Reset(),
        PowerAction.Pause => Stop(),
        PowerAction.Resume => Continue(),
    };

    private async Task Reset()
    {
        BeginBoot();
        await Qmp.Execute("system_reset");
        ForgetFreeze();
    }

    /// <summary>The status is set before the command is sent, so that the following event is recognised as requested.</summary>
    private async Task Stop()
    {
        SetRunState(VirtualMachineStatus.Paused);
        try
        {
            await Qmp.Execute("stop");
        }
        catch (QmpException e) when (e.IsLost)
        {
            // QEMU may still carry it out. Until QEMU is asked on a new connection, the guest counts as paused, so that an undo resumes it.
            _isPauseLost = true;
            throw;
        }
        catch (QmpException)
        {
            SetRunState(VirtualMachineStatus.Running);
            throw;
        }
    }

    /// <summary>Called before the guest may write to its new tops: after any crash, the machine must start from them.</summary>
    private void NoteSealed()
    {
        if (_hold is not { Sealed: true } hold || TryWrite(() => _folder.WriteHold(hold, durable: true))) return;

        // Delete the file: a deletion needs no space, and the guest must not wait for space. Without the file the machine starts from machine.json, which names the new tops. If the silo restarts, the capture fails.
        TryWrite(_folder.DeleteHold);
    }

    private async Task Continue()
    {
        NoteSealed();
        var before = (_trouble, _awaitsDisk);
        _resumedAt = _awaitsDisk ? _host.Time.GetTimestamp() : null;
        SetRunState(VirtualMachineStatus.Running);
        (_trouble, _awaitsDisk) = (null, false);
        try
        {
            await Qmp.Execute("cont");
            _isPauseLost = false;
        }
        catch (QmpException)
        {
            SetRunState(VirtualMachineStatus.Paused);
            (_trouble, _awaitsDisk) = before;
            _resumedAt = null;
            throw;
        }
    }

    private async Task StartQemu(CancellationToken cancellationToken)
    {
        // A failed start may have left its QEMU.
        if (_process is { } left) await End(left, () => Task.CompletedTask, TimeSpan.Zero);
        _startAgainUntil = null;
        (_failedResumes, _resumedAt, _diskError) = (0, null, null);
        BeginBoot();
        NoteSealed();
        _identity = _host.Users.Take(_folder);
        await NoCloudSeed.Write(_spec, _folder, cancellationToken);
        _identity.Read(_folder.SeedPath);
        var chains = ChainsToStart();
        foreach (var chain in chains) _identity.OwnLayer(_host.PathOf(chain.Layers[^1]));
        for (var attempt = 1; ; attempt++)
        {
            var ports = HostPorts.Choose(_spec.Name, _spec.PortForwards, _ports);
            if (await TryStartQemu(chains, ports, isLastAttempt: attempt == PortTries, cancellationToken)) break;
            _ports = _spec.PortForwards;
        }

        if (_hold is { Sealed: false, Next.Count: > 0 }) await AddNodes(_hold);
    }

    /// <returns>False if a port that was chosen was taken meanwhile.</returns>
    private async Task<bool> TryStartQemu(IReadOnlyList<DiskChain> chains, IReadOnlyList<PortForward> ports, bool isLastAttempt, CancellationToken cancellationToken)
    {
        var options = _host.Options;
        var arguments = QemuArguments.Build(_spec with { Disks = chains }, ports, _host.Accelerator, options.GuestsReachNetwork, _host.PathOf);
        var logged = File.Exists(_folder.LogPath) ? new FileInfo(_folder.LogPath).Length : 0;
        var group = _host.Groups.Prepare(_spec.Id, _spec.MemoryBytes, _spec.Cpus, chains.Sum(chain => chain.Layers.Count));
        var process = QemuProcess.Start(_folder, _identity, group, options.Binary, arguments);
        (_process, _ports, _unwrittenEnd) = (process, ports, null);
        try
        {
            _folder.WriteProcess(new(process.Pid, process.StartTime, QemuProcess.BootId, ports));
            await Connect(process, cancellationToken);
            LogStarted(_spec.Id, process.Pid);
            return true;
        }
        catch (Exception e)
        {
            // Whatever failed, a QEMU without a watch must not run.
            var hasEnded = !process.IsAlive;
            await End(process, () => Task.CompletedTask, TimeSpan.Zero);
            if (e is not (FaultException or QmpException) || !hasEnded) throw;
            var said = ReadLog(logged);
            var taken = ports.Zip(_spec.PortForwards).FirstOrDefault(pair => said.Contains($"'{QemuArguments.ForwardRule(pair.First)}'", StringComparison.Ordinal));
            if (taken.First is null) throw QemuFaults.NotStarted(_spec, said, LastLine(said));
            if (taken.Second.HostPort != 0 || isLastAttempt) throw HostPorts.InUse(_spec.Name, taken.First);
            return false;
        }
    }

    /// <summary>Ends QEMU with its quit command, so that it writes its tables to the disks.</summary>
    private Task Quit()
    {
        return _process is { } process ? End(process, Ask, _host.Options.StopBound, isAsked: true) : Task.CompletedTask;

        async Task Ask()
        {
            using var timer = new CancellationTokenSource(_host.Options.StopBound, _host.Time);
            await Qmp.Execute("quit", null, timer.Token);
        }
    }

    /// <param name="isAsked">Whether a power action ends it.</param>
    private async Task End(QemuProcess process, Func<Task> ask, TimeSpan bound, bool isAsked = false)
    {
        var qmp = _qmp;
        try
        {
            await ask();
        }
        catch (Exception e) when (e is QmpException or OperationCanceledException)
        {
            // It may have ended before it answered. If it has not, kill it.
        }

        if (!await process.WaitForEnd(bound, _host.Time, CancellationToken.None))
        {
            process.Kill();
            if (!await process.WaitForEnd(_host.Options.StopBound, _host.Time, CancellationToken.None))
                throw QemuFaults.Failed($"QEMU of the virtual machine '{_spec.Name}' was killed and does not end: check the host's disks.");
        }

        var reason = ReasonOf(qmp);
        MarkStopped(isAsked && reason is StopReason.Died ? StopReason.Power : reason);
        if (qmp is not null) await qmp.DisposeAsync();
    }

    /// <summary>QEMU's output since its start.</summary>
    private string ReadLog(long from)
    {
        using var file = new FileStream(_folder.LogPath, FileMode.OpenOrCreate, FileAccess.Read, FileShare.ReadWrite);
        file.Position = Math.Max(from, file.Length - MaxLogBytes);
        using var reader = new StreamReader(file);
        return reader.ReadToEnd();
    }

    private static string LastLine(string text) =>
        text.Split('\n', StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries).LastOrDefault() ?? "it ended without a message.";
}
