using System.Net;
using Orleans.Messaging;

namespace Instances.Datacenters;

/// <summary>The configured Orleans gateways of a datacenter, without those whose silos its membership says are dead. A silo that is frozen, or whose machine has gone, keeps its connection
/// open: every call to a grain that goes that way would wait for nothing until it is back.</summary>
/// <remarks>Asks only for a while after a call has timed out, and as long as one is left out: a few readings of the membership table each time that Orleans refreshes its list. Where nobody answers,
/// or all would be left out, the list stays as it was configured.</remarks>
internal sealed class LiveGateways(IReadOnlyList<IPEndPoint> configured, TimeSpan refreshPeriod, IServiceProvider services, TimeProvider clock)
    : IGatewayListProvider, IOutgoingGrainCallFilter
{
    /// <summary>Longer than the detection of a frozen silo, with a call's time-out before it.</summary>
    private static readonly TimeSpan SuspicionBound = TimeSpan.FromSeconds(30);

    private static readonly TimeSpan AnswerBound = TimeSpan.FromSeconds(2);

    /// <summary>Grains that answer the same. Which gateway a call takes depends on its grain: of several, one has a way that is open.</summary>
    private const int Questions = 6;

    private long _suspectedAt;
    private bool _isSuspected;
    private IReadOnlyList<IPEndPoint> _dead = [];

    public TimeSpan MaxStaleness => refreshPeriod;

    public bool IsUpdatable => true;

    /// <summary>Sees which calls time out.</summary>
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

    /// <returns>Null if nobody answers.</returns>
    private async Task<IReadOnlyList<IPEndPoint>?> FindDead()
    {
        var grains = services.GetRequiredService<IGrainFactory>();
        var questions = Enumerable.Range(0, Questions).Select(key => Ask(grains.GetGrain<IManagementGrain>(key))).ToList();
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

    private async Task<IReadOnlyList<MembershipEntry>?> Ask(IManagementGrain grain)
    {
        try
        {
            return await grain.GetDetailedHosts().WaitAsync(AnswerBound, clock);
        }
        catch (Exception exception) when (exception is TimeoutException or OrleansException or InvalidOperationException)
        {
            return null;
        }
    }
}
