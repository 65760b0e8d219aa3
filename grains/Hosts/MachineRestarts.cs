using Instances.VirtualMachines;
using Microsoft.Extensions.Options;

namespace Instances.Hosts;

/// <summary>How an attempt to start a machine ended.</summary>
internal enum StartOutcome
{
    Started,

    /// <summary>It failed by itself.</summary>
    Failed,

    /// <summary>It took too long, as when the host is overloaded. That is no fault of the machine.</summary>
    TimedOut,
}

/// <summary>What the restarts of a host's machines need of the host.</summary>
internal interface IRestartedHost
{
    /// <summary>Whether the machine is dead and is to run. Much may have happened in the pause: a power action, a capture, an undeployment.</summary>
    Task<bool> IsToRun(VirtualMachineId machine);

    Task<StartOutcome> Start(VirtualMachineId machine);

    /// <summary>The bound is reached: <see cref="MachineRestarts.GivenUp"/> says why.</summary>
    Task GiveUp(VirtualMachineId machine, int starts);
}

/// <summary>Starts machines again that have died, each after a pause that grows with its deaths and up to a bound, and only some at a time: after the host's own
/// restart all of them are dead.</summary>
/// <remarks>Forgotten with the silo: its restart is a reason to try again, and rare. Runs on the scheduler of its host's grain.</remarks>
internal sealed class MachineRestarts(IRestartedHost host, IOptions<HostOptions> options, TimeProvider time)
{
    /// <summary>The factor from each pause to the next.</summary>
    private const int PauseGrowth = 4;

    private readonly Dictionary<VirtualMachineId, Deaths> _deaths = [];
    private readonly SemaphoreSlim _gate = new(FanOut.PerHost);

    /// <returns>Why a machine is not started any more, or null.</returns>
    public string? GivenUp(VirtualMachineId machine) => _deaths.GetValueOrDefault(machine)?.GivenUp;

    /// <summary>Its deaths count no more, and a start that waits is dropped: a person acts on it, or it is gone.</summary>
    public void Forget(VirtualMachineId machine) => _deaths.Remove(machine);

    /// <returns>False if it is being started again already, which may be just about to end.</returns>
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
                    deaths.GivenUp = $"It ended by itself {deaths.Starts.Count + 1} times within {options.Value.RestartWindow.TotalMinutes:0.#} min and is not started again: "
                        + "look at its console and at the log of its host, then power it on.";
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

    /// <returns>Null if it is not to be started any more.</returns>
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
        /// <summary>Timestamps of the starts of late.</summary>
        public List<long> Starts { get; } = [];

        public string? GivenUp { get; set; }

        public Task Restarting { get; set; } = Task.CompletedTask;
    }
}
