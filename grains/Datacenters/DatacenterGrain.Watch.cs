using Instances.Faults;
using Instances.Hosts;
using Microsoft.Extensions.Logging;
using Orleans.Runtime;

namespace Instances.Datacenters;

/// <summary>Watches which hosts have a silo in the cluster. The machines of a host without one become Unknown. When the host is back, it reports the status of each machine.</summary>
/// <remarks>Every silo knows the membership: no host and no machine is called while all hosts have a silo.</remarks>
internal sealed partial class DatacenterGrain : IRemindable
{
    private const string WatchReminder = "watch";

    /// <summary>How soon the watch continues after its silo died. That silo may be the one whose host is unreachable.</summary>
    private static readonly TimeSpan ReminderPeriod = TimeSpan.FromSeconds(10);

    private static readonly TimeSpan WatchPeriod = TimeSpan.FromSeconds(1);

    /// <summary>How long a host may be without a silo, so that a restart does not count as unreachable.</summary>
    private static readonly TimeSpan AwayPatience = TimeSpan.FromSeconds(5);

    /// <summary>Since when each host has been without a silo, as timestamps.</summary>
    private readonly Dictionary<HostId, long> _awaySince = [];

    /// <summary>Unreachable hosts whose machines have all been notified.</summary>
    private readonly HashSet<HostId> _told = [];

    /// <remarks>Interleaves: placement does not wait until all machines of a host were notified. Nothing here is durable, and a second check does not begin before the first has ended.</remarks>
    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        this.RegisterGrainTimer(Look, new GrainTimerCreationOptions(WatchPeriod, WatchPeriod) { KeepAlive = true, Interleave = true });
        return Task.CompletedTask;
    }

    /// <summary>The reminder only activates the grain.</summary>
    public Task ReceiveReminder(string reminderName, TickStatus status) => Task.CompletedTask;

    private Task KeepWatching() => this.RegisterOrUpdateReminder(WatchReminder, ReminderPeriod, ReminderPeriod);

    private async Task Look(CancellationToken cancellationToken)
    {
        var present = manifests.HostSilos(membership, GrainFactory).Select(member => member.Name).ToHashSet();
        foreach (var host in State.RegisteredHosts.Select(registered => registered.Id).ToList())
        {
            if (present.Contains(host.Name))
            {
                _awaySince.Remove(host);
                if (_told.Remove(host)) LogHostBack(host.Name);
                continue;
            }

            var since = _awaySince.TryGetValue(host, out var known) ? known : _awaySince[host] = time.GetTimestamp();
            if (time.GetElapsedTime(since) >= AwayPatience && !_told.Contains(host) && await TellAway(host)) _told.Add(host);
        }
    }

    /// <returns>Whether all of its machines were notified; otherwise they are notified again.</returns>
    private async Task<bool> TellAway(HostId host)
    {
        try
        {
            var machines = await catalogue.MachinesOn(host);
            LogSightLost(host.Name, machines.Count);
            await FanOut.All(machines, machine => GrainFactory.VirtualMachine(machine).LoseSight(host));
            return true;
        }
        catch (Exception exception) when (exception is FaultException or TimeoutException or OrleansException or System.Data.Common.DbException)
        {
            LogNotTold(host.Name, exception.Message);
            return false;
        }
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "Host {Host} is unreachable: the state of its {Count} virtual machines is not known.")]
    private partial void LogSightLost(string host, int count);

    [LoggerMessage(Level = LogLevel.Information, Message = "Host {Host} is back.")]
    private partial void LogHostBack(string host);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Host {Host} is unreachable, and not all of its virtual machines could be notified; they will be notified again: {Reason}")]
    private partial void LogNotTold(string host, string reason);
}
