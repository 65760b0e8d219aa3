using Instances.VirtualMachines;
using Microsoft.Extensions.Options;

namespace Instances.Hosts;

/// <summary>How an attempt to start a machine ended.</summary>
internal enum StartOutcome
{
    Started,

    /// <summary>It failed.</summary>
    Failed,

    /// <summary>It took too long, as when the host is overloaded. This does not count against the machine.</summary>
    TimedOut,
}

/// <summary>The host's part in the restarts of its machines.</summary>
internal interface IRestartedHost
{
    /// <summary>Whether the machine is dead and should run. During the pause there may have been a power action, a capture or an undeployment.</summary>
    Task<bool> IsToRun(VirtualMachineId machine);

    Task<StartOutcome> Start(VirtualMachineId machine);

    /// <summary>The bound is reached: <see cref="MachineRestarts.GivenUp"/> says why.</summary>
    Task GiveUp(VirtualMachineId machine, int starts);
}

/// <summary>Restarts machines that have died, each after a pause that grows with its deaths, up to a bound. Only some start at a time, because after a reboot of the host
/// all of them are dead.</summary>
/// <remarks>Kept in memory: after a restart of the silo, which is rare, all are tried again. Runs on the scheduler of its host's grain.</remarks>
internal sealed class MachineRestarts(IRestartedHost host, IOptions<HostOptions> options, TimeProvider time)
{
    /// <summary>The factor from each pause to the next.</summary>
    private const int PauseGrowth = 4;

    private readonly Dictionary<VirtualMachineId, Deaths> _deaths = [];
    private readonly SemaphoreSlim _gate = new(FanOut.PerHost);

    /// <returns>Why a machine is not started any more, or null.</returns>
    public string? GivenUp(VirtualMachineId machine) => _deaths.GetValueOrDefault(machine)?.GivenUp;

    /// <summary>Resets the count of deaths and drops a waiting start, because a user acts on the machine or it was removed.</summary>
    public void Forget(VirtualMachineId machine) => _deaths.Remove(machine);

    /// <returns>False if a restart of the machine is under way, which may be about to end.</returns>
    public bool Begin(VirtualMachineId machine, CancellationToken stop)
    {
        if (!_deaths.TryGetValue(machine, out var deaths)) _deaths[machine] = deaths = new();
        if (!deaths.Restarting.IsCompleted) return false;
        deaths.Restarting = Restart(machine, deaths, stop);
        return true;
    }

    /// <summary>Waits for all restarts, after their token was cancelled.</summary>
    public Task Ended() => Task.WhenAll(_deaths.Values.Select(deaths => deaths.Restarting));

    private async Task Restart(VirtualMachineId machine, Deaths deaths, CancellationToken stop)
    {
        try
        {
            for (var timeouts = 0; ;)
            {
                deaths.Starts.RemoveAll(start => time.GetElapsedTime(start) > options.Value.RestartWindow);
                if (deaths.Starts.Count >= options.Value.MaxRestarts)
                {
                    deaths.GivenUp = $"It ended without a request {deaths.Starts.Count + 1} times within {options.Value.RestartWindow.TotalMinutes:0.#} min and is not restarted: "
                        + "check its console and the log of its host, then power it on.";
                    await host.GiveUp(machine, deaths.Starts.Count);
                    return;
                }

                await Task.Delay(options.Value.RestartPause * Math.Pow(PauseGrowth, Math.Min(deaths.Starts.Count + timeouts, options.Value.MaxRestarts)), time, stop);
                switch (await Start(machine, deaths, stop))
                {
                    case null:
                        return;
                    case StartOutcome.Started:
                        deaths.Starts.Add(time.GetTimestamp());
                        return;
                    case StartOutcome.Failed:
                        deaths.Starts.Add(time.GetTimestamp());
                        break;
                    case StartOutcome.TimedOut:
                        timeouts++;
                        break;
                }
            }
        }
        catch (OperationCanceledException) when (stop.IsCancellationRequested)
        {
            // The grain goes.
        }
    }

    /// <returns>Null if it must not be started any more.</returns>
    private async Task<StartOutcome?> Start(VirtualMachineId machine, Deaths deaths, CancellationToken stop)
    {
        await _gate.WaitAsync(stop);
        try
        {
            return IsCurrent() && await host.IsToRun(machine) && IsCurrent() ? await host.Start(machine) : null;
        }
        finally
        {
            _gate.Release();
        }

        bool IsCurrent() => _deaths.GetValueOrDefault(machine) == deaths;
    }

    private sealed class Deaths
    {
        /// <summary>Timestamps of the recent starts.</summary>
        public List<long> Starts { get; } = [];

        public string? GivenUp { get; set; }

        public Task Restarting { get; set; } = Task.CompletedTask;
    }
}
