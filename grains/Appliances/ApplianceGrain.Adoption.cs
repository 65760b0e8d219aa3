using Instances.Catalogue;
using Instances.Faults;
using Instances.Hosts;
using Instances.Library;
using Instances.VirtualMachines;
using Orleans.Runtime;

namespace Instances.Appliances;

/// <summary>Creates the records of an appliance and its machines again from a host that runs them.</summary>
internal sealed partial class ApplianceGrain
{
    public async Task<IReadOnlyList<RecoveredMachine>> Adopt(HostId host, IReadOnlyList<FoundMachine> machines, bool dryRun)
    {
        var next = ApplianceLifecycle.Decide(State.Status, ApplianceCommand.Adopt).OrThrow() ?? State.Status;
        await Closed();
        var spec = machines.Select(machine => machine.Spec.Origin?.Appliance).FirstOrDefault(origin => origin is not null);
        var record = Exists ? State : new()
        {
            Name = spec?.Name ?? $"recovered-{Id.ToString()[^8..]}",
            Description = spec?.Description,
            Retention = spec?.Retention,
            Enterprise = spec?.Enterprise ?? default,
            CreatedAt = time.GetUtcNow(),
        };
        var images = await catalogue.ImageLayers();
        var held = images.SelectMany(image => image.Layers).ToHashSet();
        var (members, outcomes) = (record.VirtualMachines.ToList(), new List<RecoveredMachine>());
        foreach (var machine in machines)
        {
            var (outcome, wanted) = await Judge(host, machine, images);
            var name = wanted is null ? machine.Spec.Name : FreeName(wanted.Name, machine.Spec.Id, members);
            outcomes.Add(outcome with { ApplianceName = record.Name });
            if (outcome.Outcome is RecoveryOutcome.LeftOut) continue;
            members.RemoveAll(member => member.Id == machine.Spec.Id);
            members.Add(new(machine.Spec.Id, name));
            if (dryRun || wanted is null) continue;
            await GrainFactory.VirtualMachine(machine.Spec.Id).Adopt(
                Id, record.Enterprise, wanted with { Name = name }, host, machine, [.. machine.Seen.Disks.SelectMany(disk => disk.Layers).Where(layer => !held.Contains(layer))]);
        }

        // The machines' records are created first, as when machines are added. After a crash in between, the next call finds them.
        if (!dryRun && members.Count > 0 && outcomes.Any(outcome => outcome.Outcome is not RecoveryOutcome.LeftOut) && (State.Status != next || !members.SequenceEqual(State.VirtualMachines)))
            await SaveListed(record with { Status = next, VirtualMachines = members });
        return outcomes;
    }

    /// <returns>The outcome for a machine, and its specification if its record is to be created.</returns>
    private async Task<(RecoveredMachine Outcome, VirtualMachineSpec? Wanted)> Judge(HostId host, FoundMachine machine, IReadOnlyList<ImageLayers> images)
    {
        var (id, deployment) = (machine.Spec.Id, machine.Seen.Deployment);
        var grain = GrainFactory.VirtualMachine(id);
        if (await grain.IsDeployed(host, deployment)) return (Entry(RecoveryOutcome.Known), null);
        if (await Find(grain) is { } known)
        {
            if (known.Appliance != Id) return LeftOut($"Its record belongs to the appliance {known.Appliance}.");
            if (known.Host is { } other && await HasLaterDeployment(known, other, machine)) return LeftOut($"Its record has a later deployment, on the host {other}. This one is an earlier copy: discard it.");
        }

        return await FindSpec(machine, images) is { } wanted
            ? (Entry(RecoveryOutcome.Adopted), wanted)
            : LeftOut("No image of the library has its layers, so that it could not be captured. Save important data from inside its guest, then discard it.");

        (RecoveredMachine, VirtualMachineSpec?) LeftOut(string message) => (Entry(RecoveryOutcome.LeftOut, message), null);

        RecoveredMachine Entry(RecoveryOutcome outcome, string? message = null) => new(id, machine.Spec.Name, Id, machine.Spec.Origin?.Appliance.Name, outcome, message);
    }

    /// <summary>A database from a backup may be older than the machine's deployment. Then the record's deployment is the earlier one, unless its host still has that machine.</summary>
    private async Task<bool> HasLaterDeployment(VirtualMachineView known, HostId other, FoundMachine machine)
    {
        if (await GrainFactory.Operation(machine.Seen.Deployment).Find() is not null) return true;
        try
        {
            return await GrainFactory.Host(other).Observe(known.Id) is { } seen && seen.Deployment != machine.Seen.Deployment;
        }
        catch (Exception exception) when (exception is FaultException or TimeoutException or OrleansException)
        {
            return true;
        }
    }

    private static async Task<VirtualMachineView?> Find(IVirtualMachineGrain machine)
    {
        try
        {
            return await machine.Get();
        }
        catch (FaultException exception) when (exception.Fault.Kind is FaultKind.NotFound)
        {
            return null;
        }
    }

    /// <summary>The records as the host has kept them. For a machine of an earlier release: the newest image whose layers its disk is based on.</summary>
    private async Task<VirtualMachineSpec?> FindSpec(FoundMachine machine, IReadOnlyList<ImageLayers> images)
    {
        var spec = machine.Spec;
        if (spec.Origin is { VirtualMachine: var kept } && images.Any(image => image.Id == kept.Image && IsThere(image)))
            return kept with { SshAuthorizedKeys = spec.SshAuthorizedKeys, UserData = spec.UserData, UserDataBase64 = spec.UserDataBase64 };
        foreach (var layer in machine.Seen.Disks[0].Layers.Reverse())
        {
            foreach (var candidate in images.Where(image => IsThere(image) && image.Layers.Contains(layer)))
            {
                if (await catalogue.FindImage(candidate.Id) is not { } image || image.Disks[0].Layers[^1].Id != layer) continue;
                var blank = machine.Seen.Disks.Skip(image.Disks.Count).Select(disk => disk.VirtualSizeBytes).ToList();
                return new(spec.Name, image.Id, spec.Cpus, spec.MemoryBytes, blank.Count > 0 ? blank : null, spec.PortForwards, spec.SshAuthorizedKeys, spec.UserData, UserDataBase64: spec.UserDataBase64);
            }
        }

        return null;

        static bool IsThere(ImageLayers image) => image.Status is ImageStatus.Ready or ImageStatus.Retired or ImageStatus.Corrupt;
    }

    private static string FreeName(string name, VirtualMachineId id, IReadOnlyList<ApplianceMember> members)
    {
        var free = name;
        for (var number = 2; members.Any(member => member.Id != id && string.Equals(member.Name, free, StringComparison.OrdinalIgnoreCase)); number++) free = $"{name}-{number}";
        return free;
    }
}
