using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;

namespace Instances.Doctor;

/// <summary>Finds what is wrong in a snapshot. Pure: it makes no calls.</summary>
internal static partial class Checkup
{
    public static IReadOnlyList<Symptom> Examine(Snapshot snapshot, DateTimeOffset now, TimeSpan stallBound) =>
    [
        .. Hosts(snapshot),
        .. Machines(snapshot),
        .. HostMachines(snapshot),
        .. Leftovers(snapshot),
        .. Images(snapshot),
        .. Layers(snapshot),
        .. Reservations(snapshot),
        .. Operations(snapshot),
        .. Appliances(snapshot, now, stallBound),
        .. Reminders(snapshot),
    ];

    private static IEnumerable<Symptom> Hosts(Snapshot snapshot)
    {
        foreach (var host in snapshot.Hosts.Where(host => !snapshot.Inventories.ContainsKey(host.Id)))
        {
            yield return new("host-away", FindingSeverity.Info, $"host {host.Id}",
                $"The host {host.Id} does not answer: the virtual machines that should be there, {host.VirtualMachines}, could not be examined. Start its silo, or forget the host if it will not come back.");
        }

        foreach (var host in snapshot.Hosts.Where(host => host.Problem is not null))
        {
            yield return new(host.Status is HostStatus.Blocked ? "host-unknown-to-database" : "host-removal-held", FindingSeverity.Critical, $"host {host.Id}", $"Host {host.Id}: {host.Problem}");
        }

        foreach (var name in snapshot.HostSilos.GroupBy(silo => silo.Name, silo => silo.Address).Where(name => name.Distinct().Count() > 1))
        {
            yield return new("host-name-twice", FindingSeverity.Critical, $"host {name.Key}",
                $"Two silos run as the host {name.Key}, at {string.Join(" and ", name.Distinct().Order(StringComparer.Ordinal))}: the machines of one of them cannot be seen, and may be deployed a second time. "
                + "Stop the one that does not belong there, and give it a name of its own (Host:Name).");
        }

        if (snapshot.Library is null)
            yield return new("library-away", FindingSeverity.Warning, "library", "The library does not answer and could not be examined: start the library's silo.");
    }

    private static IEnumerable<Symptom> Images(Snapshot snapshot)
    {
        if (snapshot.Library is not { } library) yield break;
        var (layers, manifests) = (library.Layers.ToHashSet(), library.Manifests.ToDictionary(manifest => manifest.Image));
        foreach (var image in snapshot.Images)
        {
            var missing = image.Disks.SelectMany(disk => disk.Layers).Select(layer => layer.Id).Distinct().Where(layer => !layers.Contains(layer)).ToList();
            if (missing.Count > 0)
            {
                yield return new("image-layer-missing", FindingSeverity.Critical, $"image {image.Id}",
                    $"The image '{image.Name}' needs layers that are not in the library: {string.Join(", ", missing)}. It cannot be deployed: restore their files from a backup, or delete the image.");
            }

            if (image.CorruptLayers.Count > 0)
            {
                yield return new("image-corrupt", FindingSeverity.Critical, $"image {image.Id}",
                    $"The image '{image.Name}' needs layers that are corrupt: {string.Join(", ", image.CorruptLayers)}. They are repaired as soon as a host, or a datacenter of Library:Peers, has a good copy. Otherwise restore their files from a backup, or delete the image.");
            }

            if (manifests.TryGetValue(image.Id, out var found) && found.Spec is { } spec && spec != image.ToSpec())
            {
                yield return new("image-manifest-differs", FindingSeverity.Warning, $"image {image.Id}",
                    $"The manifest of the image '{image.Name}' differs from its record: a change was interrupted. The manifest can be written again.",
                    library.Stranger is null ? new Remedy.WriteManifest(image.Id) : null);
            }

            if (image.Status is ImageStatus.Ready or ImageStatus.Corrupt && found is null)
            {
                yield return new("image-manifest-missing", FindingSeverity.Warning, $"image {image.Id}",
                    $"The image '{image.Name}' has no manifest beside its layers: a library that is rebuilt from its files would not have it. Restore the file {image.Id}.json from a backup.");
            }
        }

        foreach (var image in (library.Unreadable ?? []).Where(image => !snapshot.KnownImages.Contains(image)))
        {
            yield return new("manifest-unreadable", FindingSeverity.Critical, $"manifest {image}",
                $"The manifest of the image {image}, which has no record, cannot be read: the silo's log says why. Until the file {image}.json is restored from a backup or deleted, no layer is removed from the library.");
        }

        if (library.Stranger is { } stranger)
        {
            yield return new("library-unknown-to-database", FindingSeverity.Critical, "library",
                $"{stranger} Nothing is removed from the library. Run 'silo library rebuild': it gives every image of the library its record again.");
            yield break;
        }

        if (library.Held is { } held)
            yield return new("library-sweep-held", FindingSeverity.Warning, "library", $"No layer is removed from the library. {held}");

        foreach (var manifest in library.Manifests.Where(manifest => !snapshot.KnownImages.Contains(manifest.Image) && !(manifest.Operation is { } maker && snapshot.Runs(maker))))
        {
            yield return manifest.Operation is { } operation && snapshot.FailedOperations.Contains(operation)
                ? new("manifest-orphan", FindingSeverity.Warning, $"manifest {manifest.Image}",
                    $"The library has a manifest of the image {manifest.Image}, whose operation {operation} has failed. A sweep removes it.", new Remedy.Sweep())
                : new("manifest-without-record", FindingSeverity.Critical, $"manifest {manifest.Image}",
                    $"The library has a manifest of the image '{manifest.Spec?.Name}' ({manifest.Image}), which has no record, as after a loss of the database. Its layers are kept. Run 'silo library rebuild' to restore it, or delete the file {manifest.Image}.json to give it up.");
        }
    }

    /// <summary>Layers that are unreferenced: no record, and no machine that a host has. Those that the library shares with a host are the library's.</summary>
    private static IEnumerable<Symptom> Layers(Snapshot snapshot)
    {
        var used = snapshot.Inventories.Values.SelectMany(host => host.Machines).SelectMany(machine => machine.Disks).SelectMany(disk => disk.Layers).Concat(snapshot.Referenced)
            .Concat(snapshot.Inventories.Values.SelectMany(host => host.Used ?? [])).ToHashSet();
        var library = snapshot.Library?.Layers ?? [];
        used.UnionWith(snapshot.Library?.Manifests.SelectMany(manifest => manifest.Layers) ?? []);
        foreach (var layer in library.Where(layer => snapshot.Library is { Stranger: null, Held: null } && !used.Contains(layer)))
            yield return new("layer-orphan", FindingSeverity.Warning, $"layer {layer}", $"The library has the layer {layer}, which is unreferenced. A sweep removes it.", new Remedy.Sweep());
        used.UnionWith(library);
        foreach (var (host, inventory) in snapshot.Inventories)
        {
            foreach (var layer in inventory.Layers.Where(layer => !used.Contains(layer)))
            {
                yield return new("host-layer-orphan", FindingSeverity.Warning, $"layer {layer} on host {host}",
                    $"The host {host} has a file of the layer {layer}, complete or partial, which no record and no machine refers to. A sweep of the host removes it.", snapshot.MayRemove(host) ? new Remedy.RemoveLayer(host, layer) : null);
            }

            foreach (var layer in inventory.Corrupt ?? [])
            {
                yield return new("host-layer-corrupt", FindingSeverity.Critical, $"layer {layer} on host {host}",
                    $"The copy of the layer {layer} on the host {host} is corrupt. Nothing is started on it. The host replaces it as soon as the library has a good copy: see 'silo library verify'.");
            }
        }
    }

    private static IEnumerable<Symptom> Reservations(Snapshot snapshot) =>
        snapshot.Reservations.Where(reservation => !snapshot.Runs(reservation.Operation)).DistinctBy(reservation => reservation.Operation).Select(reservation => new Symptom(
            "reservation-stale", FindingSeverity.Warning, $"operation {reservation.Operation}",
            $"The operation {reservation.Operation} does not run and still has capacity reserved on the host {reservation.Host}. It can be released.", new Remedy.Release(reservation.Operation)));

    /// <summary>Operations that no owner runs.</summary>
    private static IEnumerable<Symptom> Operations(Snapshot snapshot)
    {
        foreach (var operation in snapshot.Operations.Values.Where(operation => operation.Image is { } image ? !snapshot.Importing.Contains(image) : !snapshot.IsRunByAnAppliance(operation.Id)))
        {
            var owner = operation.Appliance is { } appliance ? $"appliance {appliance}" : $"image {operation.Image}";
            yield return new("operation-orphan", FindingSeverity.Warning, $"operation {operation.Id}",
                $"The operation {operation.Id} ({operation.Kind}) is recorded as {operation.Status}, and the {owner} does not run it. Its record can be closed.", new Remedy.Close(operation));
        }
    }

    /// <summary>Appliances that are neither Deployed nor Undeployed and make no progress.</summary>
    private static IEnumerable<Symptom> Appliances(Snapshot snapshot, DateTimeOffset now, TimeSpan stallBound)
    {
        foreach (var appliance in snapshot.Appliances)
        {
            var subject = $"appliance {appliance.Id}";
            if (appliance.Operation is not { } id)
            {
                yield return new("appliance-stuck", FindingSeverity.Critical, subject,
                    $"The appliance '{appliance.Name}' is {appliance.Status} and runs no operation: this is a defect. Keep the server's log, and report it.");
            }
            else if (!snapshot.Operations.TryGetValue(id, out var operation))
            {
                yield return new("appliance-stuck", FindingSeverity.Critical, subject,
                    $"The appliance '{appliance.Name}' is {appliance.Status} by an operation {id} that has no running record. --fix makes it continue.", new Remedy.Nudge(appliance.Id, id));
            }
            else if (operation.Status is OperationStatus.Stuck || operation.Steps.Any(step => step.Problem is not null))
            {
                var reason = operation.Status is OperationStatus.Stuck ? operation.Fault?.Message : operation.Steps.First(step => step.Problem is not null).Problem;
                yield return new("operation-stuck", FindingSeverity.Critical, subject,
                    $"The appliance '{appliance.Name}' is {appliance.Status}, and its operation {id} makes no progress: {reason} Repair the cause, or {(operation.Cancellable ? "cancel" : "force")} the operation. "
                    + "--fix retries it now.",
                    new Remedy.Nudge(appliance.Id, id));
            }
            else if (now - DateTimeOffset.FromUnixTimeMilliseconds(operation.Version) is var idle && idle > stallBound)
            {
                yield return new("operation-stalled", FindingSeverity.Warning, subject,
                    $"The appliance '{appliance.Name}' is {appliance.Status} and its operation {id} has shown no progress for {idle:d\\.hh\\:mm\\:ss} in the step '{operation.Step}'. --fix makes it continue.",
                    new Remedy.Nudge(appliance.Id, id));
            }
        }
    }

    private static IEnumerable<Symptom> Reminders(Snapshot snapshot) =>
        snapshot.Reminders.Where(reminder => !snapshot.ReminderOwners.Contains(reminder.GrainId)).Select(reminder => new Symptom(
            "reminder-orphan", FindingSeverity.Warning, $"reminder {reminder.ReminderName} of {reminder.GrainId}",
            $"The reminder '{reminder.ReminderName}' of {reminder.GrainId} wakes a grain that runs no operation. It can be unregistered.",
            new Remedy.RemoveReminder(reminder.GrainId, reminder.ReminderName, reminder.ETag!)));
}
