using Instances.Catalogue;
using Instances.Datacenters;
using Instances.Faults;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.Metadata;
using Orleans.Runtime;

namespace Instances.Doctor;

/// <summary>Takes snapshots and carries out remedies. <see cref="Checkup"/> decides what is wrong in a snapshot.</summary>
internal sealed partial class DoctorGrain(
    ICatalogue catalogue,
    IReminderTable reminders,
    IClusterMembershipService membership,
    IClusterManifestProvider manifests,
    IOptions<DoctorOptions> options,
    TimeProvider time,
    ILogger<DoctorGrain> logger)
    : Grain, IDoctorGrain
{
    /// <summary>How long a host or the library may take for its inventory.</summary>
    private static readonly TimeSpan InventoryBound = TimeSpan.FromSeconds(10);

    public async Task<DoctorReport> Examine(bool fix)
    {
        var (snapshot, symptoms) = await LookTwice();
        HashSet<(string, string)> remaining = [.. symptoms.Select(symptom => symptom.Key)];
        if (fix && symptoms.Any(symptom => symptom.Remedy is not null))
        {
            await Carry(symptoms);
            remaining = [.. (await LookTwice()).Symptoms.Select(symptom => symptom.Key)];
        }

        var findings = symptoms.OrderByDescending(symptom => symptom.Severity).ThenBy(symptom => symptom.Code, StringComparer.Ordinal).ThenBy(symptom => symptom.Subject, StringComparer.Ordinal)
            .Select(symptom => symptom.ToFinding(isFixed: !remaining.Contains(symptom.Key))).ToList();
        LogExamined(findings.Count, findings.Count(finding => finding.Fixed));
        return new([.. findings.Take(DoctorReport.MaxFindings)], Math.Max(0, findings.Count - DoctorReport.MaxFindings), snapshot.Count(), time.GetUtcNow());
    }

    /// <summary>Findings that both snapshots show, as in the second one. If the first shows none, no second one is taken.</summary>
    private async Task<(Snapshot Snapshot, IReadOnlyList<Symptom> Symptoms)> LookTwice()
    {
        var (first, symptoms) = await Look();
        if (symptoms.Count == 0) return (first, symptoms);
        await Task.Delay(options.Value.Grace, time);
        var (second, again) = await Look();
        var keys = symptoms.Select(symptom => symptom.Key).ToHashSet();
        return (second, [.. again.Where(symptom => keys.Contains(symptom.Key)).DistinctBy(symptom => symptom.Key)]);
    }

    private async Task<(Snapshot Snapshot, IReadOnlyList<Symptom> Symptoms)> Look()
    {
        var snapshot = await TakeSnapshot();
        return (snapshot, Checkup.Examine(snapshot, time.GetUtcNow(), options.Value.StallBound));
    }

    private async Task<Snapshot> TakeSnapshot()
    {
        var hosts = await GrainFactory.Datacenter().Hosts();
        var inventories = new Dictionary<HostId, HostInventory>();
        await FanOut.Each(hosts.Where(host => host.Status is not HostStatus.Away), async host =>
        {
            if (await Ask($"host {host.Id}", GrainFactory.Host(host.Id).Inventory()) is { } inventory) inventories[host.Id] = inventory;
        });
        var library = await Ask("library", GrainFactory.Library().Inventory());
        var reservations = await GrainFactory.Datacenter().Reservations();
        var (applianceType, imageType) = (GrainFactory.Appliance(default).GetGrainId().Type, GrainFactory.Image(default).GetGrainId().Type);
        var entries = (await reminders.ReadRows(0, 0)).Reminders.Where(entry => entry.GrainId.Type == applianceType || entry.GrainId.Type == imageType).ToList();

        // Records are read after everything that they refer to.
        var images = await ImagesIn(ImageStatus.Ready);
        images.AddRange(await ImagesIn(ImageStatus.Retired));
        images.AddRange(await ImagesIn(ImageStatus.Corrupt));
        var operations = await OpenOperations();
        var (importing, appliances) = ((await catalogue.ImagesIn(ImageStatus.Importing)).ToHashSet(), await catalogue.BusyAppliances());
        var owners = appliances.Select(appliance => GrainFactory.Appliance(appliance.Id).GetGrainId())
            .Concat(importing.Select(image => GrainFactory.Image(image).GetGrainId()))
            .Concat(operations.Values.Select(operation => operation.Appliance is { } appliance
                ? GrainFactory.Appliance(appliance).GetGrainId()
                : GrainFactory.Image(operation.Image!.Value).GetGrainId())).ToHashSet();
        var known = await catalogue.KnownImages();
        return new(
            hosts, inventories, library, reservations, entries, await catalogue.DeployedMachines(), images, known, importing,
            await catalogue.ReferencedLayers(), appliances, operations, owners, await FailedOperations(library, known))
        {
            HostSilos = [.. manifests.HostSilos(membership, GrainFactory).Select(silo => new HostSilo(silo.Name, $"{silo.SiloAddress.Endpoint}"))],
        };
    }

    private async Task<HashSet<OperationId>> FailedOperations(LibraryInventory? library, IReadOnlySet<ImageId> known)
    {
        var failed = new HashSet<OperationId>();
        if (library is not { Stranger: null }) return failed;
        foreach (var operation in library.Manifests.Where(manifest => !known.Contains(manifest.Image)).Select(manifest => manifest.Operation).OfType<OperationId>().Distinct())
        {
            if (await GrainFactory.Operation(operation).Find() is { Status: OperationStatus.Failed or OperationStatus.Cancelled }) failed.Add(operation);
        }

        return failed;
    }

    private async Task<List<ImageView>> ImagesIn(ImageStatus status)
    {
        var images = new List<ImageView>();
        string? cursor = null;
        do
        {
            var page = await catalogue.Images(new(Status: status), new(PageRequest.MaxLimit, cursor));
            images.AddRange(page.Items);
            cursor = page.NextCursor;
        }
        while (cursor is not null);
        return images;
    }

    /// <summary>Reads them from their grains, because progress is not in the catalogue.</summary>
    private async Task<Dictionary<OperationId, OperationView>> OpenOperations()
    {
        var operations = new Dictionary<OperationId, OperationView>();
        await FanOut.Each(await catalogue.OpenOperations(), async row =>
        {
            if (await GrainFactory.Operation(row.Id).Find() is { IsFinished: false } view) operations[view.Id] = view;
        });
        return operations;
    }

    private async Task<T?> Ask<T>(string who, Task<T> inventory)
        where T : class
    {
        try
        {
            return await inventory.WaitAsync(InventoryBound, time);
        }
        catch (Exception exception) when (exception is FaultException or TimeoutException or OrleansException)
        {
            LogNotAsked(who, exception.Message);
            return null;
        }
    }
}
