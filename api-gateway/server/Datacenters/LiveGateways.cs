using System.Net;
using Orleans.Messaging;

namespace Instances.Datacenters;

/// <summary>The configured Orleans gateways of a datacenter, without those whose silos are dead according to the membership. The connection to a silo that is frozen, or whose machine is gone, stays
/// open: every call through that silo would time out until it is back.</summary>
/// <remarks>Reads the membership only for a while after a call has timed out, and while a gateway is left out: a few reads each time that Orleans refreshes its list. If no silo answers,
/// or all would be left out, the configured list is used.</remarks>
internal sealed class LiveGateways(IReadOnlyList<IPEndPoint> configured, TimeSpan refreshPeriod, IServiceProvider services, TimeProvider clock)
    : IGatewayListProvider, IOutgoingGrainCallFilter
{
    /// <summary>Longer than a call's time-out and the detection of a frozen silo together.</summary>
    private static readonly TimeSpan SuspicionBound = TimeSpan.FromSeconds(30);

    private static readonly TimeSpan AnswerBound = TimeSpan.FromSeconds(2);

    /// <summary>Several grains that give the same answer. The gateway of a call depends on its grain, so that one of the calls takes a gateway that works.</summary>
    private const int Questions = 6;

    private long _suspectedAt;
    private bool _isSuspected;
    private IReadOnlyList<IPEndPoint> _dead = [];

    public TimeSpan MaxStaleness => refreshPeriod;

    public bool IsUpdatable => true;

    /// <summary>Notices calls that time out.</summary>
    public async Task Invoke(IOutgoingGrainCallContext context)
    {
        try
        {
            await context.Invoke();
        }
        catch (TimeoutException) when (context.InterfaceMethod.DeclaringType != typeof(IManagementGrain))
        {
            (_suspectedAt, _isSuspected) = (clock.GetTimestamp(), true);
            throw;
        }
    }

    public Task InitializeGatewayListProvider() => Task.CompletedTask;

    public async Task<IList<Uri>> GetGateways()
    {
        if (_isSuspected && clock.GetElapsedTime(_suspectedAt) > SuspicionBound) _isSuspected = false;
        if (_isSuspected || _dead.Count > 0) _dead = await FindDead() ?? _dead;
        var live = configured.Except(_dead).ToList();
        return [.. (live.Count > 0 ? live : configured).Select(endPoint => endPoint.ToGatewayUri())];
    }

    /// <returns>Null if no silo answers.</returns>
    private async Task<IReadOnlyList<IPEndPoint>?> FindDead()
    {
        var grains = services.GetRequiredService<IGrainFactory>();
        var questions = Enumerable.Range(0, Questions).Select(key => Ask(grains, key)).ToList();
        while (questions.Count > 0)
        {
            var answered = await Task.WhenAny(questions);
            if (await answered is { } members) return [.. configured.Where(endPoint => IsDead(endPoint, members))];
            questions.Remove(answered);
        }

        return null;
    }

    private static bool IsDead(IPEndPoint endPoint, IReadOnlyList<MembershipEntry> members)
    {
        var silos = members.Where(member => member.SiloAddress.Endpoint.Address.Equals(endPoint.Address) && member.ProxyPort == endPoint.Port).ToList();
        return silos.Count > 0 && silos.All(silo => silo.Status is SiloStatus.Dead);
    }

    private async Task<IReadOnlyList<MembershipEntry>?> Ask(IGrainFactory grains, int key)
    {
        try
        {
            return await grains.GetGrain<IManagementGrain>(key).GetDetailedHosts().WaitAsync(AnswerBound, clock);
        }
        catch (Exception exception) when (exception is TimeoutException or OrleansException or InvalidOperationException or ArgumentException)
        {
            return null;
        }
    }
}
