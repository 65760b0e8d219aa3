using Instances.Catalogue;
using Instances.Faults;
using Instances.Hosts;
using Instances.Storage;
using Microsoft.Extensions.Logging;
using Orleans.Runtime;

namespace Instances.Datacenters;

internal sealed record DatacenterState : IStoredState
{
    public int Schema { get; init; } = 1;

    public IReadOnlyList<HostId> Hosts { get; init; } = [];

    public CatalogueEntry? Catalogue => null;
}

internal sealed partial class DatacenterGrain(
    [PersistentState("datacenter", StorageNames.Grains)] IPersistentState<DatacenterState> stored,
    ICatalogue catalogue,
    IClusterMembershipService membership,
    TimeProvider time,
    ILogger<DatacenterGrain> logger)
    : StoredGrain<DatacenterState>(stored), IDatacenterGrain
{
    public async Task Register(HostId host)
    {
        await KeepWatching();
        if (!State.Hosts.Contains(host)) await Save(State with { Hosts = [.. State.Hosts, host] });
    }

    public async Task<IReadOnlyList<HostView>> Hosts()
    {
        return [.. (await Task.WhenAll(State.Hosts.Select(Find))).OfType<HostView>()];

        async Task<HostView?> Find(HostId host)
        {
            try
            {
                return await GrainFactory.Host(host).Get();
            }
            catch (FaultException exception) when (exception.Fault.Code == HostPlacementDirector.HostUnavailable)
            {
                return null;
            }
        }
    }

    /// <summary>Spreads: each machine goes where most memory is left, the largest machines first.</summary>
    public async Task<IReadOnlyList<Placement>> Place(IReadOnlyList<PlacementRequest> machines)
    {
        var hosts = await Hosts();
        var free = hosts.ToDictionary(host => host.Id, host => host.FreeMemoryBytes);
        var placements = new List<Placement>(machines.Count);
        foreach (var machine in machines.OrderByDescending(machine => machine.MemoryBytes))
        {
            var fitting = free.Where(host => host.Value >= machine.MemoryBytes).ToList();
            if (fitting.Count == 0)
            {
                throw FaultException.Capacity("no-capacity",
                    $"No host has room: {machines.Sum(request => request.MemoryBytes).Bytes()} of memory are asked for in all, {machine.MemoryBytes.Bytes()} by one machine, "
                    + $"and the hosts have {string.Join(", ", hosts.Select(host => $"{host.Id}: {host.FreeMemoryBytes.Bytes()}"))} left. Undeploy something, or give the machines less memory.");
            }

            var host = fitting.MaxBy(candidate => candidate.Value).Key;
            free[host] -= machine.MemoryBytes;
            placements.Add(new(machine.Machine, host));
        }

        return placements;
    }
}
