using Instances.VirtualMachines;

namespace Instances.Qemu;

/// <summary>The guest's clock, which stands still while the guest is paused.</summary>
/// <remarks>
/// The clock is set in parallel to other calls, so that no operation waits for the agent or fails with it. The agent has one connection at a time: a freeze or a thaw cancels the attempt, and the thaw
/// starts it again.
/// </remarks>
internal sealed partial class QemuMachine
{
    private const int ClockTries = 3;

    /// <summary>When the guest was paused; null if it is not paused, or if the pause was not observed.</summary>
    private long? _stoppedSince;
    private bool _isClockBehind;
    private CancellationTokenSource? _clockEnds;
    private Task _clock = Task.CompletedTask;

    /// <summary>Called at every change between Running and Paused.</summary>
    /// <param name="isSeen">Whether the change has just happened; false if it may be long ago.</param>
    private void SetRunState(VirtualMachineStatus status, bool isSeen = true)
    {
        if (status == _status) return;
        if (status is VirtualMachineStatus.Paused) _stoppedSince = isSeen ? _host.Time.GetTimestamp() : null;
        // If a pause began before this silo, its length is not known. Setting a correct clock does no harm.
        else if (_status is VirtualMachineStatus.Paused && (_stoppedSince is not { } since || _host.Time.GetElapsedTime(since) >= _host.Options.SetClockAfter)) _isClockBehind = true;
        _status = status;
    }

    /// <summary>Called when the guest runs and is not frozen.</summary>
    private async Task SetClockIfBehind()
    {
        if (!_isClockBehind || _status is not VirtualMachineStatus.Running) return;
        await StopClock();
        _clockEnds = CancellationTokenSource.CreateLinkedTokenSource(_disposing.Token);
        _clock = SetClock(_clockEnds.Token);
    }

    private async Task SetClock(CancellationToken cancellationToken)
    {
        try
        {
            // A late thaw uses the agent first, because a frozen guest refuses to set its clock.
            await _lateThaw.WaitAsync(cancellationToken);
            for (var attempt = 1; attempt <= ClockTries; attempt++)
            {
                if (_process is null || !await IsAgentThere(cancellationToken) || await TrySetClock(cancellationToken)) break;
                await Task.Delay(LateThawPause, _host.Time, cancellationToken);
            }

            _isClockBehind = false;
        }
        catch (Exception e) when (e is QmpException or KeyNotFoundException or InvalidOperationException)
        {
            // QEMU is gone, or does not report whether there is an agent.
        }
        catch (OperationCanceledException)
        {
            // From now on another task uses the agent.
        }
    }

    private async Task<bool> TrySetClock(CancellationToken cancellationToken)
    {
        using var linked = _host.Bound(_host.Options.ThawBound, cancellationToken, out var timer);
        using var owned = timer;
        try
        {
            await using var agent = await GuestAgent.Connect(_folder.QemuPath, RunFolder.AgentSocket, linked.Token);
            await agent.SetTime(_host.Time.GetUtcNow(), linked.Token);
            return true;
        }
        catch (QmpException e)
        {
            LogClockNotSet(_spec.Id, e.Message);
            return !e.IsLost;
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            LogClockNotSet(_spec.Id, "The guest agent did not answer in time.");
            return false;
        }
    }

    private async Task StopClock()
    {
        if (_clockEnds is not { } ends) return;
        await ends.CancelAsync();
        await _clock;
        ends.Dispose();
        _clockEnds = null;
    }
}
