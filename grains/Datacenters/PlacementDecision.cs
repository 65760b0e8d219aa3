using Instances.Faults;
using Instances.Hosts;
using Instances.Library;
using Instances.VirtualMachines;

namespace Instances.Datacenters;

/// <summary>The capacity of a host for new machines.</summary>
/// <param name="Lacking">The layers that would have to be fetched: neither on the host nor reserved for it.</param>
/// <param name="MachineOverheadBytes">Memory that each machine takes besides its own.</param>
/// <param name="TakenPorts">Host ports that are in use or reserved.</param>
internal sealed record HostRoom(
    HostId Id,
    HostStatus Status,
    int FreeCpus,
    long FreeMemoryBytes,
    long FreeDiskBytes,
    IReadOnlySet<LayerId> Lacking,
    long MachineOverheadBytes = 0,
    IReadOnlyCollection<HostPort>? TakenPorts = null);

/// <summary>Places all machines, or none.</summary>
internal abstract record PlacementDecision
{
    /// <summary>How many hosts a refusal names.</summary>
    public const int NamedHosts = 20;

    private PlacementDecision()
    {
    }

    public sealed record Place(IReadOnlyList<Placement> Placements) : PlacementDecision;

    public sealed record Refuse(Fault Fault) : PlacementDecision;

    /// <summary>Machines that ask for host ports first, since the fewest hosts suit them; then the largest. Machines that cannot be spread may still fit closer together:
    /// they are packed before they are refused.</summary>
    public static PlacementDecision Decide(IReadOnlyList<HostRoom> hosts, IReadOnlyList<PlacementRequest> machines, PlacementPolicy policy)
    {
        var bySize = machines.OrderByDescending(machine => machine.MemoryBytes).ThenByDescending(machine => machine.Cpus).ToList();
        var portsFirst = bySize.OrderByDescending(machine => machine.HostPorts is { Count: > 0 }).ToList();
        Misfit? first = null;
        foreach (var tried in (PlacementPolicy[])[policy, PlacementPolicy.Packed])
        {
            foreach (var ordered in (List<PlacementRequest>[])[portsFirst, bySize])
            {
                if (Try(hosts, ordered, tried, out var misfit) is { } placements) return new Place(placements);
                first ??= misfit;
            }
        }

        return new Refuse(PortConflict(hosts, first!) ?? new(FaultKind.Capacity, "no-capacity", Sentence(hosts, machines, first!.Machine)));
    }

    private static List<Placement>? Try(IReadOnlyList<HostRoom> hosts, IReadOnlyList<PlacementRequest> machines, PlacementPolicy policy, out Misfit? misfit)
    {
        var ledgers = hosts.Where(host => host.Status is HostStatus.Available).OrderBy(host => host.Id.Name, StringComparer.Ordinal).Select(host => new Ledger(host)).ToList();
        var placements = new List<Placement>(machines.Count);
        foreach (var machine in machines)
        {
            // Equal hosts are chosen by name: the first wins.
            var fitting = ledgers.Where(host => host.Fits(machine));
            var chosen = policy switch
            {
                PlacementPolicy.Spread => fitting.MinBy(host => (-host.FreeMemoryBytes, host.Count)),
                PlacementPolicy.Packed => fitting.MinBy(host => (host.FreeMemoryBytes, -host.Count)),
            };
            if (chosen is null)
            {
                misfit = new(machine, ledgers);
                return null;
            }

            chosen.Take(machine);
            placements.Add(new(machine.Machine, chosen.Id));
        }

        misfit = null;
        return placements;
    }

    /// <summary>Null unless hosts have room for the machine, and each of them has one of its ports in use.</summary>
    private static Fault? PortConflict(IReadOnlyList<HostRoom> hosts, Misfit misfit)
    {
        var machine = misfit.Machine;
        var fitting = hosts.Where(host => host.Status is HostStatus.Available && new Ledger(host).HasRoom(machine)).Select(host => host.Id).ToHashSet();
        var taken = misfit.Ledgers.Where(host => fitting.Contains(host.Id)).Select(host => host.Taken(machine.HostPorts)).ToList();
        return taken.Count == 0 || taken.Any(ports => ports.Count == 0) ? null : new(
            FaultKind.Conflict, "port-in-use",
            $"The virtual machine '{machine.Name}' asks for the host port {string.Join(", ", taken.SelectMany(ports => ports).Select(port => port.Port).Distinct())}, which is in use on every host that has room for it: choose another hostPort, or 0 to have a free one chosen.");
    }

    private static string Sentence(IReadOnlyList<HostRoom> hosts, IReadOnlyList<PlacementRequest> machines, PlacementRequest misfit)
    {
        var layers = machines.SelectMany(machine => machine.Layers).DistinctBy(layer => layer.Layer).Sum(layer => layer.Bytes);
        var asked = $"{(machines.Count == 1 ? "one virtual machine asks" : $"{machines.Count} virtual machines ask")} for {Cpus(machines.Sum(machine => machine.Cpus))} and {machines.Sum(machine => machine.MemoryBytes).Bytes()} of memory, on images of {layers.Bytes()}";
        if (hosts.Count == 0) return $"There is no host: {asked}. Start a silo on a host.";
        var rooms = string.Join("; ", hosts.OrderBy(host => host.Id.Name, StringComparer.Ordinal).Take(NamedHosts).Select(Room));
        var more = hosts.Count > NamedHosts ? $"; and {hosts.Count - NamedHosts} more hosts" : "";
        return $"No host has room for one that asks for {Cpus(misfit.Cpus)} and {misfit.MemoryBytes.Bytes()} of memory: {asked}. {rooms}{more}. "
            + "Undeploy something, give the machines less, or add a host.";
    }

    private static string Room(HostRoom host) => host.Status switch
    {
        HostStatus.Available => $"{host.Id} has {Cpus(host.FreeCpus)}, {host.FreeMemoryBytes.Bytes()} of memory and {host.FreeDiskBytes.Bytes()} of disk free",
        HostStatus.Maintenance => $"{host.Id} has {Cpus(host.FreeCpus)}, {host.FreeMemoryBytes.Bytes()} of memory and {host.FreeDiskBytes.Bytes()} of disk free, and is left out: it is in maintenance",
        HostStatus.Away => $"{host.Id} is left out: it is unreachable",
        HostStatus.Blocked => $"{host.Id} is left out: its machines belong to another database, and the operator has to adopt or discard them",
    };

    private static string Cpus(int count) => count == 1 ? "1 CPU" : $"{count} CPUs";

    /// <summary>The machine that fits on no host.</summary>
    /// <param name="Ledgers">The hosts with the machines that were placed before it.</param>
    private sealed record Misfit(PlacementRequest Machine, IReadOnlyList<Ledger> Ledgers);

    /// <summary>A host during the placement. A layer that several of its machines share is counted once.</summary>
    private sealed class Ledger(HostRoom room)
    {
        private readonly HashSet<LayerId> _lacking = [.. room.Lacking];
        private readonly HashSet<HostPort> _takenPorts = [.. room.TakenPorts ?? []];
        private int _freeCpus = room.FreeCpus;
        private long _freeDiskBytes = room.FreeDiskBytes;

        public HostId Id => room.Id;

        public long FreeMemoryBytes { get; private set; } = room.FreeMemoryBytes;

        /// <summary>How many machines of this call it has.</summary>
        public int Count { get; private set; }

        public bool Fits(PlacementRequest machine) => HasRoom(machine) && Taken(machine.HostPorts).Count == 0;

        /// <summary>Those of the ports that are in use, also by machines of this call.</summary>
        public IReadOnlyList<HostPort> Taken(IReadOnlyList<HostPort>? ports) => [.. (ports ?? []).Where(_takenPorts.Contains)];

        public bool HasRoom(PlacementRequest machine) =>
            machine.Cpus <= _freeCpus && machine.MemoryBytes + room.MachineOverheadBytes <= FreeMemoryBytes && Fetched(machine) <= _freeDiskBytes;

        public void Take(PlacementRequest machine)
        {
            _freeCpus -= machine.Cpus;
            FreeMemoryBytes -= machine.MemoryBytes + room.MachineOverheadBytes;
            _freeDiskBytes -= Fetched(machine);
            _lacking.ExceptWith(machine.Layers.Select(layer => layer.Layer));
            _takenPorts.UnionWith(machine.HostPorts ?? []);
            Count++;
        }

        private long Fetched(PlacementRequest machine) => machine.Layers.Where(layer => _lacking.Contains(layer.Layer)).Sum(layer => layer.Bytes);
    }
}
