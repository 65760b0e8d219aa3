using Instances.Faults;
using Instances.Hosts;
using Microsoft.Extensions.Logging;
using Orleans.Runtime;

namespace Instances.Datacenters;

/// <summary>Looks which hosts have a silo in the cluster. The machines of a host that has none are Unknown until it is back, when it tells each of them itself.</summary>
/// <remarks>The membership is known in every silo: nobody is asked, and no machine is, as long as all hosts are there.</remarks>
internal sealed partial class DatacenterGrain : IRemindable
{
    private const string WatchReminder = "watch";

    /// <summary>How soon the watch continues after its silo has gone, which may be the very one whose host is unreachable.</summary>
    private static readonly TimeSpan ReminderPeriod = TimeSpan.FromSeconds(10);

    private static readonly TimeSpan WatchPeriod = TimeSpan.FromSeconds(1);

    /// <summary>A silo that is started again at once is not away.</summary>
    private static readonly TimeSpan AwayPatience = TimeSpan.FromSeconds(5);

    /// <summary>Since when each host has been without a silo, as timestamps.</summary>
    private readonly Dictionary<HostId, long> _awaySince = [];

    /// <summary>Hosts that are unreachable and whose machines have all been told.</summary>
    private readonly HashSet<HostId> _told = [];

    /// <remarks>Interleaves: placing does not wait until all machines of a host were told. Nothing here is durable, and a second look does not begin before the first has ended.</remarks>
    public override Task OnActivateAsync(CancellationToken cancellationToken)
    {
        this.RegisterGrainTimer(Look, new GrainTimerCreationOptions(WatchPeriod, WatchPeriod) { KeepAlive = true, Interleave = true });
        return Task.CompletedTask;
    }

    /// <summary>It has woken the grain, which is all that it is for.</summary>
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

    /// <returns>Whether all of its machines have been told; otherwise they are told again.</returns>
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

    [LoggerMessage(Level = LogLevel.Warning, Message = "Host {Host} is away: what its {Count} virtual machines do is not known.")]
    private partial void LogSightLost(string host, int count);

    [LoggerMessage(Level = LogLevel.Information, Message = "Host {Host} is back.")]
    private partial void LogHostBack(string host);

    [LoggerMessage(Level = LogLevel.Warning, Message = "Host {Host} is away, and not all of its virtual machines could be told; they are told again: {Reason}")]
    private partial void LogNotTold(string host, string reason);
}
