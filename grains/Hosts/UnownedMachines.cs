using Instances.VirtualMachines;

namespace Instances.Hosts;

/// <summary>The machines of a host whose records do not place them there, and the removals that <see cref="RemovalRule"/> counts.</summary>
internal sealed class UnownedMachines(TimeProvider time)
{
    private readonly Dictionary<VirtualMachineId, MachineObservation> _waiting = [];

    /// <summary>When each removal began. A removal that fails still counts, because it may have removed the machine.</summary>
    private readonly Dictionary<VirtualMachineId, long> _removals = [];

    public int Count => _waiting.Count;

    /// <summary>Whether the machines wait for the operator. They wait until the operator has decided about all of them.</summary>
    public bool IsHeld { get; private set; }

    public void Add(MachineObservation machine) => _waiting[machine.Id] = machine;

    /// <summary>The machine has a record, or the host has removed it.</summary>
    public void Drop(VirtualMachineId machine)
    {
        _waiting.Remove(machine);
        if (_waiting.Count == 0) IsHeld = false;
    }

    public void Clear()
    {
        _waiting.Clear();
        IsHeld = false;
    }

    /// <summary>Judges all machines that wait. Those that it returns count as removed from now on: calls that come during the removal see them.</summary>
    /// <param name="present">The machines on the host.</param>
    /// <returns>The machines to remove; none if they are too many.</returns>
    public IReadOnlyList<MachineObservation> Take(IReadOnlyList<MachineObservation> present)
    {
        var deployments = present.ToDictionary(machine => machine.Id, machine => machine.Deployment);
        foreach (var gone in _waiting.Values.Where(machine => !deployments.TryGetValue(machine.Id, out var deployment) || deployment != machine.Deployment).ToList()) Drop(gone.Id);
        IsHeld = _waiting.Count > 0 && (IsHeld || IsTooMany(_waiting.Keys, present));
        if (IsHeld) return [];
        IReadOnlyList<MachineObservation> taken = [.. _waiting.Values];
        _waiting.Clear();
        foreach (var machine in taken) Begin(machine.Id);
        return taken;
    }

    /// <summary>As <see cref="Take"/>, for one machine that the caller names.</summary>
    /// <returns>False if it must wait for the operator.</returns>
    public bool TryBegin(VirtualMachineId machine, IReadOnlyList<MachineObservation> present)
    {
        if (IsHeld || IsTooMany([.. _waiting.Keys, machine], present)) return false;
        Begin(machine);
        return true;
    }

    private void Begin(VirtualMachineId machine) => _removals[machine] = time.GetTimestamp();

    private bool IsTooMany(IEnumerable<VirtualMachineId> wanted, IReadOnlyList<MachineObservation> present)
    {
        foreach (var old in _removals.Where(removal => time.GetElapsedTime(removal.Value) > RemovalRule.Window).ToList()) _removals.Remove(old.Key);
        return RemovalRule.IsTooMany(wanted.Union(_removals.Keys).Count(), present.Select(machine => machine.Id).Union(_removals.Keys).Count());
    }
}
