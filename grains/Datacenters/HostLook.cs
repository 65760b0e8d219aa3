using Instances.Hosts;
using Instances.Library;

namespace Instances.Datacenters;

/// <summary>A registered host with its answer and its reservations.</summary>
/// <param name="Capacity">Null if the host did not answer.</param>
/// <param name="Reservations">The reservations on this host.</param>
internal sealed record HostLook(RegisteredHost Host, HostCapacity? Capacity, IReadOnlyList<Reservation> Reservations)
{
    /// <summary>The free capacity without the reservations. A machine that the host already counts is not counted twice, nor is a layer that it already has.</summary>
    public HostRoom Room()
    {
        if (Capacity is not { } capacity) return new(Host.Id, HostStatus.Away, 0, 0, 0, new HashSet<LayerId>());
        var counted = capacity.Machines.ToHashSet();
        var machines = Reservations.SelectMany(reservation => reservation.Machines).Where(machine => !counted.Contains(machine.Id)).ToList();
        var lacking = capacity.Lacking.ToHashSet();
        var layers = Reservations.SelectMany(reservation => reservation.Layers).DistinctBy(need => need.Layer).Where(need => lacking.Contains(need.Layer)).ToList();
        lacking.ExceptWith(layers.Select(need => need.Layer));
        return new(
            Host.Id,
            capacity.View.Status is HostStatus.Blocked ? HostStatus.Blocked : Host.Maintenance ? HostStatus.Maintenance : HostStatus.Available,
            Math.Max(0, capacity.View.FreeCpus - machines.Sum(machine => machine.Cpus)),
            Math.Max(0, capacity.View.FreeMemoryBytes - machines.Sum(machine => machine.MemoryBytes + capacity.MachineOverheadBytes)),
            Math.Max(0, capacity.View.FreeDiskBytes - layers.Sum(need => need.Bytes)),
            lacking,
            capacity.MachineOverheadBytes,
            [.. capacity.TakenPorts ?? [], .. machines.SelectMany(machine => machine.HostPorts ?? [])]);
    }

    /// <param name="recorded">The number of machines according to the records; called only if the host is unreachable.</param>
    public async Task<HostView> View(Func<HostId, Task<int>> recorded)
    {
        if (Capacity is not { } capacity) return Host.Away(await recorded(Host.Id));
        var room = Room();
        return capacity.View with { Status = room.Status, FreeCpus = room.FreeCpus, FreeMemoryBytes = room.FreeMemoryBytes, FreeDiskBytes = room.FreeDiskBytes };
    }
}
