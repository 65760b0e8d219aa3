using Instances.Appliances;
using Instances.Catalogue;
using Instances.Faults;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.Storage;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.Metadata;
using Orleans.Runtime;

namespace Instances.Datacenters;

/// <remarks>
/// Calls that change something run one after the other, so that each call sees the reservations of the call before. The hosts are asked before the decision, and
/// no reservation is released in between: so each machine is counted by its host or by its reservation.
/// </remarks>
internal sealed partial class DatacenterGrain(
    [PersistentState("datacenter", StorageNames.Grains)] IPersistentState<DatacenterState> stored,
    ICatalogue catalogue,
    IClusterMembershipService membership,
    IClusterManifestProvider manifests,
    IOptions<PlacementOptions> options,
    TimeProvider time,
    ILogger<DatacenterGrain> logger)
    : StoredGrain<DatacenterState>(stored), IDatacenterGrain
{
    /// <summary>How many hosts are asked in parallel.</summary>
    private const int HostsAtOnce = 64;

    /// <summary>How long a host that did not answer within the bound is not asked again, because other calls would wait for it.</summary>
    private static readonly TimeSpan SilencePause = TimeSpan.FromSeconds(10);

    private readonly Dictionary<HostId, long> _silentSince = [];

    public async Task Register(HostView host)
    {
        await KeepWatching();
        var known = State.RegisteredHosts.SingleOrDefault(registered => registered.Id == host.Id);
        var next = RegisteredHost.Of(host, known?.Maintenance ?? false);
        _silentSince.Remove(host.Id);
        if (next != known) await Save(State with { RegisteredHosts = [.. Others(host.Id), next] });
    }

    public async Task<IReadOnlyList<HostView>> Hosts() =>
        await Task.WhenAll((await Look(State.RegisteredHosts, [])).OrderBy(look => look.Host.Id.Name, StringComparer.Ordinal).Select(look => look.View(Recorded)));

    public async Task<HostView> Host(HostId host) => await (await Look([Require(host)], []))[0].View(Recorded);

    public async Task<HostView> SetMaintenance(HostId host, bool maintenance)
    {
        var known = Require(host);
        if (known.Maintenance != maintenance) await Save(State with { RegisteredHosts = [.. Others(host), known with { Maintenance = maintenance }] });
        return await Host(host);
    }

    public async Task Forget(HostId host)
    {
        if (State.RegisteredHosts.All(registered => registered.Id != host))
        {
            // A host from before the database was recreated: only the library still knows it.
            if (!await GrainFactory.Library().ForgetHost(host)) Require(host);
            return;
        }

        var view = await Host(host);
        if (view.Status is not HostStatus.Away)
            throw FaultException.Conflict("host-not-away", $"The host {host} is {view.Status}: stop its silo first, or set it to maintenance, where it takes no new machines.");
        if (view.VirtualMachines > 0)
        {
            throw FaultException.Conflict("host-has-machines",
                $"The host {host} is unreachable and has {view.VirtualMachines} virtual machines: undeploy them, or wait until the host is back.");
        }

        await DropEnded(except: null);
        if (State.Reservations.Any(reservation => reservation.Host == host))
            throw FaultException.Conflict("host-has-machines", $"An operation that has not ended has placed virtual machines on the host {host}: wait for it, or cancel it.");
        await GrainFactory.Library().ForgetHost(host);
        await Save(State with { RegisteredHosts = [.. Others(host)] });
    }

    public async Task<IReadOnlyList<Placement>> Place(OperationId operation, ApplianceId appliance, IReadOnlyList<PlacementRequest> machines)
    {
        var reserved = State.Reservations
            .Where(reservation => reservation.Operation == operation)
            .SelectMany(reservation => reservation.Machines, (reservation, machine) => (machine.Id, reservation.Host))
            .ToDictionary(pair => pair.Id, pair => pair.Host);
        var open = machines.Where(machine => !reserved.ContainsKey(machine.Machine)).ToList();
        var known = machines.Where(machine => reserved.ContainsKey(machine.Machine)).Select(machine => new Placement(machine.Machine, reserved[machine.Machine]));
        return [.. known, .. open.Count == 0 ? [] : await PlaceOpen(operation, appliance, open)];
    }

    public async Task Release(OperationId operation)
    {
        if (State.Reservations.Any(reservation => reservation.Operation == operation))
            await Save(State with { Reservations = [.. State.Reservations.Where(reservation => reservation.Operation != operation)] });
    }

    public Task<IReadOnlyList<ReservationView>> Reservations() => Task.FromResult<IReadOnlyList<ReservationView>>(
        [.. State.Reservations.Select(reservation => new ReservationView(reservation.Operation, reservation.Appliance, reservation.Host, reservation.Machines.Count))]);

    private async Task<IReadOnlyList<Placement>> PlaceOpen(OperationId operation, ApplianceId appliance, IReadOnlyList<PlacementRequest> machines)
    {
        // Before the hosts are asked: the machines of an ended operation are on their hosts now, or never will be.
        await DropEnded(except: operation);
        var rooms = (await Look(State.RegisteredHosts, [.. machines.SelectMany(machine => machine.Layers).Select(need => need.Layer).Distinct()])).ConvertAll(look => look.Room());
        var placements = PlacementDecision.Decide(rooms, machines, options.Value.Policy) switch
        {
            PlacementDecision.Place place => place.Placements,
            PlacementDecision.Refuse refuse => throw new FaultException(refuse.Fault),
            _ => throw new System.Diagnostics.UnreachableException(),
        };

        var requests = machines.ToDictionary(machine => machine.Machine);
        var lacking = rooms.ToDictionary(room => room.Id, room => room.Lacking);
        var reservations = placements.GroupBy(placement => placement.Host, placement => requests[placement.Machine]).Select(group => new Reservation(
            operation, appliance, group.Key,
            [.. group.Select(machine => new ReservedMachine(machine.Machine, machine.Cpus, machine.MemoryBytes, machine.HostPorts))],
            [.. group.SelectMany(machine => machine.Layers).DistinctBy(need => need.Layer).Where(need => lacking[group.Key].Contains(need.Layer))]));
        await Save(State with { Reservations = [.. State.Reservations, .. reservations] });
        return placements;
    }

    /// <summary>Repairs a lost release.</summary>
    private async Task DropEnded(OperationId? except)
    {
        var operations = State.Reservations.Select(reservation => reservation.Operation).Distinct().Where(operation => operation != except).ToList();
        var ended = new HashSet<OperationId>();
        await FanOut.Each(operations, async operation =>
        {
            if (await HasEnded(operation)) ended.Add(operation);
        });
        if (ended.Count > 0) await Save(State with { Reservations = [.. State.Reservations.Where(reservation => !ended.Contains(reservation.Operation))] });
    }

    /// <returns>False also if that is not known.</returns>
    private async Task<bool> HasEnded(OperationId operation)
    {
        try
        {
            return await GrainFactory.Operation(operation).Find().WaitAsync(IDatacenterGrain.HostBound, time) is not { IsFinished: false };
        }
        catch (Exception exception) when (exception is FaultException or TimeoutException or OrleansException)
        {
            LogOperationNotAsked(operation.Value, exception.Message);
            return false;
        }
    }

    /// <summary>Asks hosts in parallel, each within the bound.</summary>
    private async Task<List<HostLook>> Look(IReadOnlyList<RegisteredHost> hosts, IReadOnlyList<LayerId> layers)
    {
        var looks = new List<HostLook>(hosts.Count);
        foreach (var some in hosts.Chunk(HostsAtOnce)) looks.AddRange(await Task.WhenAll(some.Select(One)));
        return looks;

        async Task<HostLook> One(RegisteredHost host)
        {
            var reserved = State.Reservations.Where(reservation => reservation.Host == host.Id).ToList();
            var asked = layers.Union(reserved.SelectMany(reservation => reservation.Layers).Select(need => need.Layer)).ToList();
            return new(host, await Ask(host.Id, asked), reserved);
        }
    }

    private async Task<HostCapacity?> Ask(HostId host, IReadOnlyList<LayerId> layers)
    {
        if (_silentSince.TryGetValue(host, out var since) && time.GetElapsedTime(since) < SilencePause) return null;
        try
        {
            return await GrainFactory.Host(host).Capacity(layers).WaitAsync(IDatacenterGrain.HostBound, time);
        }
        catch (TimeoutException)
        {
            _silentSince[host] = time.GetTimestamp();
            LogHostSilent(host.Name, IDatacenterGrain.HostBound);
            return null;
        }
        catch (Exception exception) when (exception is FaultException or OrleansException)
        {
            LogHostAway(host.Name, exception.Message);
            return null;
        }
    }

    private async Task<int> Recorded(HostId host) => (await catalogue.MachinesOn(host)).Count;

    private RegisteredHost Require(HostId host) => State.RegisteredHosts.SingleOrDefault(registered => registered.Id == host)
        ?? throw FaultException.NotFound("host-not-found", $"There is no host {host}: hosts register when their silos start.");

    private IEnumerable<RegisteredHost> Others(HostId host) => State.RegisteredHosts.Where(registered => registered.Id != host);
}
