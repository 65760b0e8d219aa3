using Instances.Hosts;
using Instances.Library;
using Instances.VirtualMachines;

namespace Instances.Doctor;

/// <summary>Compares the records of machines with the machines on hosts.</summary>
internal static partial class Checkup
{
    private static IEnumerable<Symptom> Machines(Snapshot snapshot)
    {
        var busy = snapshot.Appliances.Select(appliance => appliance.Id).ToHashSet();
        foreach (var machine in snapshot.Machines.Where(machine => !busy.Contains(machine.Appliance)))
        {
            var subject = $"virtual machine {machine.Id}";
            if (machine.Status is VirtualMachineStatus.Deploying or VirtualMachineStatus.Capturing or VirtualMachineStatus.Undeploying)
            {
                yield return new("virtual-machine-stuck", FindingSeverity.Critical, subject,
                    $"The virtual machine '{machine.Name}' is {machine.Status} although its appliance runs no operation: undeploy the appliance, and force the undeployment if it does not end.");
            }

            if (machine.Host is not { } id || !snapshot.Inventories.TryGetValue(id, out var host)) continue;
            if (host.Machines.FirstOrDefault(observed => observed.Id == machine.Id) is { } seen)
            {
                if (seen.Trouble is { } trouble)
                    yield return new("virtual-machine-trouble", FindingSeverity.Warning, subject, $"The virtual machine '{machine.Name}' is {seen.Status} on the host {id}. {trouble}");

                if (seen is { Status: VirtualMachineStatus.Paused, Hold: null, Trouble: null } && machine.WishedStatus is VirtualMachineStatus.Running)
                {
                    yield return new("virtual-machine-paused", FindingSeverity.Critical, subject,
                        $"The virtual machine '{machine.Name}' is paused on the host {id} without a request. Its host resumes it automatically as soon as it can; --fix resumes it now.",
                        new Remedy.Resume(id, machine.Id));
                }

                if (seen.Hold is null && !SameChains(machine.Disks, seen.Disks))
                {
                    yield return new("chain-differs", FindingSeverity.Critical, subject,
                        $"The virtual machine '{machine.Name}' runs on {Text(seen.Disks)}, and its record says {Text(machine.Disks)}. Do not create an instance of it: save important data from inside the guest, and undeploy it.");
                }
            }
            else if (host.Leftovers.Any(leftover => leftover.Machine == machine.Id))
            {
                yield return new("virtual-machine-not-adopted", FindingSeverity.Critical, subject,
                    $"The host {id} has the run folder or the process of the virtual machine '{machine.Name}' and could not adopt it: its silo's log says why. Repair that, and restart the silo.");
            }
            else
            {
                yield return new("virtual-machine-missing", FindingSeverity.Critical, subject,
                    $"The virtual machine '{machine.Name}' is {machine.Status} on the host {id}, which does not have it. {WhatIsLeft(snapshot, host, machine)}");
            }
        }
    }

    private static IEnumerable<Symptom> HostMachines(Snapshot snapshot)
    {
        var placed = snapshot.Machines.ToDictionary(machine => machine.Id, machine => machine.Host);
        var seen = snapshot.Inventories.SelectMany(host => host.Value.Machines, (host, machine) => (Host: host.Key, Machine: machine)).ToList();
        foreach (var places in seen.GroupBy(place => place.Machine.Id))
        {
            var home = placed.GetValueOrDefault(places.Key);
            var strays = places.Where(place => place.Host != home).ToList();
            var isTwice = places.Count() > 1;
            if (isTwice)
            {
                yield return new("virtual-machine-twice", FindingSeverity.Critical, $"virtual machine {places.Key}",
                    $"The virtual machine {places.Key} is on {string.Join(" and ", places.Select(place => place.Host))}: "
                    + (strays.Count < places.Count() ? $"its record places it on {home}, and the other is to be removed." : "no record places it on any of them."),
                    Remove(snapshot, strays[0].Host, strays[0].Machine));
            }

            // A machine that its record places elsewhere is in the finding above.
            foreach (var stray in isTwice ? strays.Skip(1) : strays)
            {
                yield return new("virtual-machine-orphan", FindingSeverity.Warning, $"virtual machine {places.Key} on host {stray.Host}",
                    $"The host {stray.Host} has the virtual machine {places.Key}, which no record places there. {(snapshot.MayRemove(stray.Host) ? "It can be removed." : "The operator has to decide about it.")}",
                    Remove(snapshot, stray.Host, stray.Machine));
            }
        }

        foreach (var (host, machine) in seen.Where(place => place.Machine.Hold is { } hold && !snapshot.Runs(hold.Operation)))
        {
            yield return new("hold-orphan", FindingSeverity.Warning, $"virtual machine {machine.Id} on host {host}",
                $"The virtual machine {machine.Id} is held on the host {host} for the operation {machine.Hold!.Operation}, which does not run. It can be released.",
                new Remedy.LetGo(host, machine.Hold.Operation, machine.Id));
        }
    }

    private static IEnumerable<Symptom> Leftovers(Snapshot snapshot)
    {
        var placed = snapshot.Machines.Select(machine => (machine.Host, machine.Id)).ToHashSet();
        foreach (var (host, leftover) in snapshot.Inventories.SelectMany(host => host.Value.Leftovers, (host, leftover) => (host.Key, leftover)))
        {
            // A machine that its record places here is reported with its record.
            if (placed.Contains((host, leftover.Machine))) continue;
            var (code, what) = leftover.ProcessId is { } process ? ("process-orphan", $"runs the process {process}") : ("run-folder-orphan", "has the run folder");
            yield return new(code, FindingSeverity.Warning, $"virtual machine {leftover.Machine} on host {host}",
                $"The host {host} {what} of the virtual machine {leftover.Machine}, which no record places there. It can be removed.",
                snapshot.MayRemove(host) ? new Remedy.RemoveOrphan(host, leftover.Machine, []) : null);
        }
    }

    private static string WhatIsLeft(Snapshot snapshot, HostInventory host, VirtualMachineView machine)
    {
        var stored = host.Layers.Concat(snapshot.Library?.Layers ?? []).ToHashSet();
        var gone = machine.Disks.SelectMany(disk => disk.Layers).Where(layer => !stored.Contains(layer)).Distinct().ToList();
        return gone.Count == 0
            ? "The files of its layers are still there: undeploy its appliance only if you do not need them."
            : $"The files of these layers are missing too: {string.Join(", ", gone)}. Restore them from a backup, or undeploy its appliance: changes that were not captured are lost.";
    }

    /// <summary>Null if the operator has to decide.</summary>
    private static Remedy.RemoveOrphan? Remove(Snapshot snapshot, HostId host, MachineObservation machine) =>
        snapshot.MayRemove(host) ? new(host, machine.Id, OwnLayers(snapshot, machine)) : null;

    /// <summary>Layers that no record refers to and no other machine uses.</summary>
    private static IReadOnlyList<LayerId> OwnLayers(Snapshot snapshot, MachineObservation machine)
    {
        var others = snapshot.Inventories.Values.SelectMany(host => host.Machines).Where(other => !ReferenceEquals(other, machine)).SelectMany(other => other.Disks).SelectMany(disk => disk.Layers);
        var kept = snapshot.Referenced.Union(others).ToHashSet();
        return [.. machine.Disks.SelectMany(disk => disk.Layers).Distinct().Where(layer => !kept.Contains(layer))];
    }

    private static bool SameChains(IReadOnlyList<DiskChain> one, IReadOnlyList<DiskChain> other) =>
        one.Count == other.Count && one.Zip(other).All(pair => pair.First.Layers.SequenceEqual(pair.Second.Layers));

    private static string Text(IReadOnlyList<DiskChain> disks) => string.Join(" and ", disks.Select(disk => string.Join(" < ", disk.Layers)));
}
