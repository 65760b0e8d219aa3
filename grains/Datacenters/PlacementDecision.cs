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

    /// <summary>The largest machines first. Machines that cannot be spread may still fit closer together: they are packed before they are refused.</summary>
    public static PlacementDecision Decide(IReadOnlyList<HostRoom> hosts, IReadOnlyList<PlacementRequest> machines, PlacementPolicy policy)
    {
        var ordered = machines.OrderByDescending(machine => machine.MemoryBytes).ThenByDescending(machine => machine.Cpus).ToList();
        if (Try(hosts, ordered, policy, out var misfit) is { } placements) return new Place(placements);
        if (policy is not PlacementPolicy.Packed && Try(hosts, ordered, PlacementPolicy.Packed, out _) is { } packed) return new Place(packed);
        if (PortConflict(hosts, machines, misfit!) is { } conflict) return new Refuse(conflict);
        return new Refuse(new(FaultKind.Capacity, "no-capacity", Sentence(hosts, machines, misfit!)));
    }

    private static List<Placement>? Try(IReadOnlyList<HostRoom> hosts, IReadOnlyList<PlacementRequest> machines, PlacementPolicy policy, out PlacementRequest? misfit)
    {
        var ledgers = hosts.Where(host => host.Status is HostStatus.Available).OrderBy(host => host.Id.Name, StringComparer.Ordinal).Select(host => new Ledger(host)).ToList();
        var placements = new List<Placement>(machines.Count);
        foreach (var machine in machines)
        {
            // Equal hosts are chosen by name: the first wins.
            var fitting = ledgers.Where(host => host.Fits(machine));
            var chosen = policy switch
            {
                PlacementPolicy.Spread => fitting.MinBy(host => (-host.FreeMemoryBytes, host.Taken)),
                PlacementPolicy.Packed => fitting.MinBy(host => (host.FreeMemoryBytes, -host.Taken)),
            };
            if (chosen is null)
            {
                misfit = machine;
                return null;
            }

            chosen.Take(machine);
            placements.Add(new(machine.Machine, chosen.Id));
        }

        misfit = null;
        return placements;
    }

    /// <summary>Null unless a host would have room for the machine if its ports were free.</summary>
    private static Fault? PortConflict(IReadOnlyList<HostRoom> hosts, IReadOnlyList<PlacementRequest> machines, PlacementRequest misfit)
    {
        if (misfit.HostPorts is not { Count: > 0 } wanted) return null;
        var fitting = hosts.Where(host => host.Status is HostStatus.Available && new Ledger(host).HasRoom(misfit)).ToList();
        if (fitting.Count == 0) return null;
        var others = machines.Where(machine => machine.Machine != misfit.Machine).SelectMany(machine => machine.HostPorts ?? []);
        var taken = wanted.Where(port => others.Contains(port) || fitting.Any(host => host.TakenPorts?.Contains(port) is true)).Select(port => port.Port).Distinct().ToList();
        return taken.Count == 0 ? null : new(
            FaultKind.Conflict, "port-in-use",
            $"The virtual machine '{misfit.Name}' asks for the host port {string.Join(", ", taken)}, which is in use on every host that has room for it: choose another hostPort, or 0 to have a free one chosen.");
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
        public int Taken { get; private set; }

        public bool Fits(PlacementRequest machine) => HasRoom(machine) && machine.HostPorts?.Any(_takenPorts.Contains) is not true;

        public bool HasRoom(PlacementRequest machine) =>
            machine.Cpus <= _freeCpus && machine.MemoryBytes + room.MachineOverheadBytes <= FreeMemoryBytes && Fetched(machine) <= _freeDiskBytes;

        public void Take(PlacementRequest machine)
        {
            _freeCpus -= machine.Cpus;
            FreeMemoryBytes -= machine.MemoryBytes + room.MachineOverheadBytes;
            _freeDiskBytes -= Fetched(machine);
            _lacking.ExceptWith(machine.Layers.Select(layer => layer.Layer));
            _takenPorts.UnionWith(machine.HostPorts ?? []);
            Taken++;
        }

        private long Fetched(PlacementRequest machine) => machine.Layers.Where(layer => _lacking.Contains(layer.Layer)).Sum(layer => layer.Bytes);
    }
}
