using System.Runtime.CompilerServices;
using Instances.Appliances;
using Instances.Catalogue;
using Instances.Datacenters;
using Instances.Doctor;
using Instances.Enterprises;
using Instances.Faults;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.Requests;
using Instances.VirtualMachines;
using Orleans;

namespace Instances.Fakes;

/// <summary>Only the calls of clients: the gateway does not use those of sagas and hosts.</summary>
internal sealed class FakeApplianceGrain(FakeDatacenter datacenter) : Grain, IApplianceGrain
{
    private ApplianceId Id => new(this.GetPrimaryKey());

    public Task<ApplianceView> Create(ApplianceSpec spec) => datacenter.Appliances.GetOrAdd(Id, spec) == spec
        ? Get()
        : throw FaultException.Conflict("appliance-exists", "There is another appliance of this id.");

    public Task<ApplianceView> Get() => datacenter.Appliances.TryGetValue(Id, out var spec)
        ? Task.FromResult(Views.Appliance(Id, spec))
        : throw FaultException.NotFound("appliance-not-found", "There is no such appliance.");

    public Task<ApplianceView> Change(ApplianceSpec spec)
    {
        datacenter.Appliances[Id] = spec;
        return Get();
    }

    public async Task<ApplianceView> Patch(PatchDocument patch, IReadOnlyList<long> ifVersions)
    {
        RequireFirst(ifVersions);
        return await Change(patch.ApplyTo(datacenter.Appliances[Id]));
    }

    public Task<VirtualMachineView> PatchVirtualMachine(VirtualMachineId id, PatchDocument patch, IReadOnlyList<long> ifVersions)
    {
        RequireFirst(ifVersions);
        return datacenter.Machines.TryGetValue(id, out var machine) && machine.Appliance == Id
            ? ChangeVirtualMachine(id, patch.ApplyTo(machine.Spec))
            : throw FaultException.NotFound("virtual-machine-not-found", "There is no such virtual machine in this appliance.");
    }

    /// <summary>Every version here is 1.</summary>
    private static void RequireFirst(IReadOnlyList<long>? versions)
    {
        if (versions is { Count: > 0 } && !versions.Contains(1)) throw new FaultException(new(FaultKind.Changed, "changed", "It has been changed since."));
    }

    public Task Delete(IReadOnlyList<long>? ifVersions)
    {
        RequireFirst(ifVersions);
        datacenter.Appliances.TryRemove(Id, out _);
        return Task.CompletedTask;
    }

    public Task<VirtualMachineView> AddVirtualMachine(VirtualMachineId id, VirtualMachineSpec spec)
    {
        var (appliance, added) = datacenter.Machines.GetOrAdd(id, (Id, spec));
        return appliance == Id && added.Name == spec.Name
            ? Task.FromResult(Views.Machine(id, Id, spec))
            : throw FaultException.Conflict("virtual-machine-exists", "There is another machine of this id.");
    }

    public Task<VirtualMachineView> ChangeVirtualMachine(VirtualMachineId id, VirtualMachineSpec spec)
    {
        datacenter.Machines[id] = (Id, spec);
        return Task.FromResult(Views.Machine(id, Id, spec));
    }

    public Task RemoveVirtualMachine(VirtualMachineId id, IReadOnlyList<long>? ifVersions)
    {
        RequireFirst(ifVersions);
        datacenter.Machines.TryRemove(id, out _);
        return Task.CompletedTask;
    }

    public Task<OperationView> Deploy(OperationId operation) => Task.FromResult(datacenter.Begin(operation, OperationKind.Deploy, Id));

    public Task<OperationView> Undeploy(OperationId operation, bool force) => Task.FromResult(datacenter.Begin(operation, OperationKind.Undeploy, Id, forced: force));

    public Task<OperationView> CreateInstance(OperationId operation, CreateInstanceCommand command)
    {
        datacenter.Commands[Id] = command;
        return Task.FromResult(datacenter.Begin(operation, OperationKind.CreateInstance, Id, command: command));
    }

    public Task Cancel(OperationId operation) => throw new NotSupportedException();

    public Task Force(OperationId operation) => throw new NotSupportedException();

    public Task Nudge(OperationId operation) => throw new NotSupportedException();

    public Task<IReadOnlyList<RecoveredMachine>> Adopt(HostId host, IReadOnlyList<FoundMachine> machines, bool dryRun) => throw new NotSupportedException();

    public Task<HoldVerdict> ReleaseHold(OperationId operation) => throw new NotSupportedException();
}

internal sealed class FakeVirtualMachineGrain(FakeDatacenter datacenter) : Grain, IVirtualMachineGrain
{
    private VirtualMachineId Id => new(this.GetPrimaryKey());

    public Task<VirtualMachineView> Get() => datacenter.Machines.TryGetValue(Id, out var machine)
        ? Task.FromResult(Views.Machine(Id, machine.Appliance, machine.Spec))
        : throw FaultException.NotFound("virtual-machine-not-found", "There is no such virtual machine.");

    public Task<VirtualMachineSpec> GetSpec() => Task.FromResult(datacenter.Machines[Id].Spec);

    public async Task<VirtualMachineView> Power(PowerAction action, RequestId? request)
    {
        datacenter.PowerActions.AddOrUpdate(Id, 1, (_, count) => count + 1);
        return await Get() with { Status = action is PowerAction.Off ? VirtualMachineStatus.Stopped : VirtualMachineStatus.Running };
    }

    public Task<string> ReadConsole(int maxBytes) => Task.FromResult($"äöü, the last {maxBytes} bytes");

    public Task<VirtualMachineView> Create(ApplianceId appliance, EnterpriseId enterprise, VirtualMachineSpec spec) => throw new NotSupportedException();

    public Task<VirtualMachineView> Change(VirtualMachineSpec spec) => throw new NotSupportedException();

    public Task Delete() => throw new NotSupportedException();

    public Task<VirtualMachineView> Deploy(OperationId operation, HostId host, CancellationToken cancellationToken) => throw new NotSupportedException();

    public Task<bool> Undeploy(CaptureEnd end, bool force) => throw new NotSupportedException();

    public Task<CaptureTarget> BeginCapture(OperationId operation, IReadOnlyList<LayerId> next) => throw new NotSupportedException();

    public Task EndCapture(OperationId operation, CaptureEnd end, bool force) => throw new NotSupportedException();

    public Task<bool> BeginMerge(HostId host, OperationId deployment, IReadOnlyList<LayerId> made) => throw new NotSupportedException();

    public Task<MergeVerdict> CompleteMerge(HostId host, OperationId deployment, LayerMerge merge) => throw new NotSupportedException();

    public Task<ObserveVerdict> Observe(HostId host, MachineObservation observation) => throw new NotSupportedException();

    public Task Adopt(ApplianceId appliance, EnterpriseId enterprise, VirtualMachineSpec spec, HostId host, FoundMachine found, IReadOnlyList<LayerId> ownLayers) => throw new NotSupportedException();

    public Task LoseSight(HostId host) => throw new NotSupportedException();

    public Task<bool> IsDeployed(HostId host, OperationId deployment) => throw new NotSupportedException();
}

internal sealed class FakeImageGrain(FakeDatacenter datacenter) : Grain, IImageGrain
{
    private ImageId Id => new(this.GetPrimaryKey());

    public async Task<bool> Supersede(OperationId operation)
    {
        if (!datacenter.Operations.TryGetValue(operation, out var script)) return false;
        if (script.Newest.IsFinished) return script.Newest.Status is OperationStatus.Succeeded;
        await GrainFactory.GetGrain<IOperationGrain>(operation.Value).Cancel();
        return false;
    }

    public Task<UploadTicket> BeginImport(OperationId operation, ImportCommand command)
    {
        if (!datacenter.Imports.TryAdd(Id, (operation, command))) throw FaultException.Conflict("image-exists", "Its bytes are on their way already.");
        datacenter.Begin(operation, OperationKind.Import, image: Id);
        return Task.FromResult(new UploadTicket(new Uri(datacenter.DataPlane!, $"uploads/{command.Name}"), FakeDatacenter.Secret));
    }

    public Task<ImageView> Get()
    {
        if (datacenter.Images.TryGetValue(Id, out var image))
        {
            var (name, details, pinned, retention, sharing) = image.Spec;
            return Task.FromResult(Views.Image(Id, name) with { Details = details ?? ImageDetails.None, Pinned = pinned, Retention = retention, Sharing = sharing, Version = image.Version });
        }

        return datacenter.Imports.TryGetValue(Id, out var import)
            ? Task.FromResult(Views.Image(Id, import.Command.Name, ImageStatus.Importing))
            : throw FaultException.NotFound("image-not-found", "There is no such image.");
    }

    public Task<ImageView> Change(ImageSpec spec, long? ifVersion)
    {
        var (_, version) = datacenter.Images[Id];
        if (ifVersion != version) throw new FaultException(new(FaultKind.Changed, "image-changed", "The image has been changed since."));
        datacenter.Images[Id] = (spec, version + 1);
        return Get();
    }

    public async Task<ImageDeletion> DeleteWith(bool cascade, bool dryRun)
    {
        var image = await Get();
        if (!dryRun) datacenter.Images.TryRemove(Id, out _);
        return new(dryRun, [new(Id, image.Name, image.Kind, cascade ? 1 : 0)], Views.At);
    }

    public async Task<ImageView> Restore() => await Get() with { RestoredAt = Views.At };

    public async Task<ExportTicket> Export() => new(new Uri(datacenter.DataPlane!, $"exports/{Uri.EscapeDataString((await Get()).Name)}"), FakeDatacenter.Secret);

    public Task<ImageView> AcceptExport() => throw new NotSupportedException();

    public Task Retire(RetirementReason reason) => throw new NotSupportedException();

    public Task RetireWith(ImageId master) => throw new NotSupportedException();

    public Task TakeBack(ImageId master) => throw new NotSupportedException();

    public Task WriteManifest() => throw new NotSupportedException();

    public Task<bool> Rebuild(IReadOnlyList<LayerId> corrupt, bool takeLayers) => throw new NotSupportedException();

    public Task BeginUpload(OperationId operation, ImportCommand command)
    {
        if (datacenter.Imports.TryAdd(Id, (operation, command))) datacenter.Begin(operation, OperationKind.Import, image: Id);
        return Task.CompletedTask;
    }

    public Task BeginImportFromPath(OperationId operation, ImportCommand command, string path)
    {
        datacenter.Paths[Id] = path;
        return BeginUpload(operation, command);
    }

    public Task<UploadView> GetUpload()
    {
        var (operation, command) = RequireUpload();
        return Task.FromResult(new UploadView(Id, operation, datacenter.Offsets.GetValueOrDefault(command.Name), command.Bytes!.Value, Views.At));
    }

    public Task<UploadTicket> ContinueUpload() =>
        Task.FromResult(new UploadTicket(new Uri(datacenter.DataPlane!, $"uploads/{RequireUpload().Command.Name}"), FakeDatacenter.Secret));

    public async Task CancelUpload()
    {
        await GrainFactory.GetGrain<IOperationGrain>(RequireUpload().Operation.Value).Cancel();
        datacenter.Imports.TryRemove(Id, out _);
    }

    public Task<UploadPlan> AcceptPart(string ticket) => throw new NotSupportedException();

    public Task CompleteUpload(OperationId operation) => throw new NotSupportedException();

    private (OperationId Operation, ImportCommand Command) RequireUpload() => datacenter.Imports.TryGetValue(Id, out var import)
        ? import
        : throw FaultException.NotFound("upload-not-found", "There is no such upload.");

    public Task Delete()
    {
        datacenter.Imports.TryRemove(Id, out _);
        return Task.CompletedTask;
    }

    public Task<UploadPlan> AcceptUpload(string ticket) => throw new NotSupportedException();

    public Task<bool> ReportImport(OperationId operation, ImportStage stage, long bytes) => throw new NotSupportedException();

    public Task<bool> AcceptDisk(OperationId operation, long virtualSizeBytes) => throw new NotSupportedException();

    public Task<ImageView> CompleteImport(OperationId operation, ImageManifest manifest) => throw new NotSupportedException();

    public Task FailImport(OperationId operation, Fault fault) => throw new NotSupportedException();

    public Task CancelImport(OperationId operation) => throw new NotSupportedException();

    public Task ResumeImport() => throw new NotSupportedException();

    public Task Judge(IReadOnlyList<LayerId> corrupt) => throw new NotSupportedException();

    public Task RecordDigest(LayerId layer, string sha256) => throw new NotSupportedException();

    public Task BeginPromotion(OperationId operation, ImageId source, string? name)
    {
        datacenter.Promotions[Id] = (source, name);
        datacenter.Begin(operation, OperationKind.Promote, image: Id);
        return Task.CompletedTask;
    }

    public Task<bool> BeginMerge(LayerMerge merge) => throw new NotSupportedException();

    public Task<bool> CompleteMerge(LayerMerge merge, long bytes) => throw new NotSupportedException();

    public Task AbandonMerge(LayerId merged) => throw new NotSupportedException();

    public Task Nudge(OperationId operation) => throw new NotSupportedException();

    public Task Expire() => throw new NotSupportedException();

    public Task<ImageView> Publish(ImageManifest manifest) => throw new NotSupportedException();
}

internal sealed class FakeOperationGrain(FakeDatacenter datacenter) : Grain, IOperationGrain
{
    private ScriptedOperation? Script => datacenter.Operations.GetValueOrDefault(new(this.GetPrimaryKey()));

    public Task<OperationView?> Find() => Task.FromResult(Script?.Newest);

    public async IAsyncEnumerable<OperationView> Watch(long afterVersion, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        for (var seen = afterVersion; ;)
        {
            var (changed, newest) = (Script!.Changed, Script.Newest);
            if (newest.Version > seen)
            {
                seen = newest.Version;
                yield return newest;
            }

            if (newest.IsFinished) yield break;
            await changed.WaitAsync(cancellationToken);
        }
    }

    public Task<OperationView> Cancel()
    {
        if (Script is not { } script) throw FaultException.NotFound("operation-not-found", "There is no such operation.");
        if (script.Newest.IsFinished) throw FaultException.Conflict("operation-finished", "The operation has finished.");
        if (script.Newest.Kind is OperationKind.Import) script.Publish(script.Newest.Version + 1, OperationStatus.Cancelled);
        else script.Publish(script.Newest.Version + 1, OperationStatus.Unwinding);
        return Task.FromResult(script.Newest);
    }

    public Task<OperationView> Force()
    {
        if (Script is not { } script) throw FaultException.NotFound("operation-not-found", "There is no such operation.");
        script.Publish(script.Newest.Version + 1, OperationStatus.Running);
        return Task.FromResult(script.Newest);
    }

    public Task<OperationView> Begin(OperationStart start) => throw new NotSupportedException();

    public Task Report(OperationProgress progress) => throw new NotSupportedException();

    public Task Finish(OperationOutcome outcome) => throw new NotSupportedException();
}

/// <summary>Answers with its arguments.</summary>
internal sealed class FakeCatalogueGrain(FakeDatacenter datacenter) : Grain, ICatalogueGrain
{
    public Task<Page<ApplianceView>> Appliances(EnterpriseId? enterprise, PageRequest page) => Task.FromResult(new Page<ApplianceView>(
        [.. datacenter.Appliances.Where(pair => enterprise is null || pair.Value.Enterprise == enterprise).Take(page.Limit).Select(pair => Views.Appliance(pair.Key, pair.Value))], Echo(page)));

    public Task<Page<EnterpriseView>> Enterprises(PageRequest page) => Task.FromResult(
        new Page<EnterpriseView>([.. datacenter.Enterprises.Select(pair => Views.Enterprise(pair.Key, pair.Value.Spec, pair.Value.Version))], Echo(page)));

    public Task<Page<VirtualMachineView>> VirtualMachines(ApplianceId appliance, PageRequest page) => Task.FromResult(new Page<VirtualMachineView>(
        [.. datacenter.Machines.Where(pair => pair.Value.Appliance == appliance).Select(pair => Views.Machine(pair.Key, appliance, pair.Value.Spec))], Echo(page)));

    public Task<Page<ImageView>> Images(ImageFilter filter, PageRequest page)
    {
        if (filter.Search is { } search) datacenter.Filters[search] = filter;
        var echo = Views.Image(ImageId.New(), filter.Name ?? "", filter.Status ?? ImageStatus.Ready) with { Kind = filter.Kind ?? ImageKind.Master, Master = filter.Master };
        return Task.FromResult(new Page<ImageView>([echo], Echo(page)));
    }

    public Task<ImageLineage> Lineage(ImageId image, PageRequest page)
    {
        var node = new LineageNode(image, "debian", ImageKind.Master, ImageStatus.Ready, null, Views.At, 1, 2, 3, null, null, null);
        return Task.FromResult(new ImageLineage(node, Master: null, Parent: null, new([node with { Id = ImageId.New(), Kind = ImageKind.Slave, Parent = image }], Echo(page))));
    }

    public Task<Page<VirtualMachineView>> UsersOf(ImageId image, PageRequest page) => Task.FromResult(new Page<VirtualMachineView>(
        [.. datacenter.Machines.Where(pair => pair.Value.Spec.Image == image).Select(pair => Views.Machine(pair.Key, pair.Value.Appliance, pair.Value.Spec))], Echo(page)));

    public Task<Page<OperationView>> Operations(ApplianceId? appliance, PageRequest page) => Task.FromResult(new Page<OperationView>(
        [.. datacenter.Operations.Values.Select(operation => operation.Newest).Where(operation => appliance is null || operation.Appliance == appliance)], Echo(page)));

    public Task<Page<OperationView>> FindOperations(OperationFilter filter, PageRequest page) => Task.FromResult(new Page<OperationView>(
        [
            .. datacenter.Operations.Values.Select(operation => operation.Newest).Where(operation =>
                (filter.Appliance is null || operation.Appliance == filter.Appliance) && (filter.Image is null || operation.Image == filter.Image)
                && (filter.Kind is null || operation.Kind == filter.Kind) && (filter.Status is null || operation.Status == filter.Status)),
        ],
        Echo(page)));

    public Task<IReadOnlyList<VirtualMachineId>> MachinesOn(HostId host) => throw new NotSupportedException();

    private static string? Echo(PageRequest page) => page.Cursor switch
    {
        "bad" => throw FaultException.Invalid("cursor-invalid", "The cursor is not one that a list has given: begin with the first page."),
        "last" => null,
        null when page.Limit == PageRequest.DefaultLimit => null,
        _ => $"limit {page.Limit} cursor {page.Cursor}",
    };
}

internal sealed class FakeEnterpriseGrain(FakeDatacenter datacenter) : Grain, IEnterpriseGrain
{
    private EnterpriseId Id => new(this.GetPrimaryKey());

    public async Task<EnterpriseView> Create(EnterpriseSpec spec) => datacenter.Enterprises.GetOrAdd(Id, (spec, 1)).Spec == spec
        ? await Get() with { Usage = null }
        : throw FaultException.Conflict("enterprise-exists", "There is another enterprise of this id.");

    public Task<EnterpriseView> Get() => datacenter.Enterprises.TryGetValue(Id, out var found)
        ? Task.FromResult(Views.Enterprise(Id, found.Spec, found.Version) with { Usage = new(Images: 7, VirtualBytes: 70) })
        : throw FaultException.NotFound("enterprise-not-found", "There is no such enterprise.");

    public async Task<EnterpriseView> Change(EnterpriseSpec spec, long? ifVersion)
    {
        var (_, version) = datacenter.Enterprises[Id];
        if (ifVersion != version) throw new FaultException(new(FaultKind.Changed, "enterprise-changed", "The enterprise has been changed since."));
        datacenter.Enterprises[Id] = (spec, version + 1);
        return await Get() with { Usage = null };
    }

    public async Task Delete()
    {
        await Get();
        datacenter.Enterprises.TryRemove(Id, out _);
    }

    public Task Admit(Guid claimant, EnterpriseUsage demand, EnterpriseUsage? held) => throw new NotSupportedException();

    public Task<bool> Admitted(Guid claimant) => throw new NotSupportedException();
}

/// <summary>One host with its maintenance state, and one that is unreachable.</summary>
internal sealed class FakeDatacenterGrain(FakeDatacenter datacenter) : Grain, IDatacenterGrain
{
    private IReadOnlyList<HostView> Views =>
    [
        new(new("host-1"), "QEMU", "tcg", 2, 1L << 30, 1L << 29, 1L << 34, 1, 32, 31, datacenter.Maintenance ? HostStatus.Maintenance : HostStatus.Available),
        new(new("host-2"), "QEMU", "tcg", 2, 1L << 30, 0, 0, 0, 32, 0, HostStatus.Away),
    ];

    public Task<IReadOnlyList<HostView>> Hosts() => Task.FromResult(Views);

    public Task<HostView> Host(HostId host) => Views.SingleOrDefault(view => view.Id == host) is { } view
        ? Task.FromResult(view)
        : throw FaultException.NotFound("host-not-found", "There is no such host.");

    public async Task<HostView> SetMaintenance(HostId host, bool maintenance)
    {
        await Host(host);
        datacenter.Maintenance = maintenance;
        return await Host(host);
    }

    public async Task Forget(HostId host)
    {
        if ((await Host(host)).Status is not HostStatus.Away) throw FaultException.Conflict("host-not-away", "The host is not away.");
    }

    public Task Register(HostView host) => throw new NotSupportedException();

    public Task<IReadOnlyList<Placement>> Place(OperationId operation, ApplianceId appliance, IReadOnlyList<PlacementRequest> machines) => throw new NotSupportedException();

    public Task Release(OperationId operation) => throw new NotSupportedException();

    public Task<IReadOnlyList<ReservationView>> Reservations() => throw new NotSupportedException();
}

/// <summary>Finds one layer, and repairs it if requested.</summary>
internal sealed class FakeDoctorGrain : Grain, IDoctorGrain
{
    public Task<DoctorReport> Examine(bool fix) => Task.FromResult(new DoctorReport(
        [new("layer-orphan", FindingSeverity.Warning, "layer 1", "It is unreferenced.", Fixable: true, Fixed: fix)], 0, new(1, 0, 2, 2, 3, 4, 5, 6, 0, 0, 0, 0), Views.At));
}

internal sealed class FakeScrubGrain : Grain, IScrubGrain
{
    public Task<LibraryHealth> Get() => Task.FromResult(Health(read: 1));

    public Task<LibraryHealth> Verify() => Task.FromResult(Health(read: 0));

    public Task Report(HostId host, IReadOnlyList<LayerId> corrupt) => throw new NotSupportedException();

    private static LibraryHealth Health(int read) => new(
        DateTimeOffset.UnixEpoch, Layers: 2, Bytes: 20, read, read * 10, Reading: null, BytesPerSecond: 5, OldestRead: null,
        [new(LayerId.Parse("00000000-0000-8000-8000-000000000001"), "aa", "bb", DateTimeOffset.UnixEpoch, [])],
        new(LayerId.Parse("00000000-0000-8000-8000-000000000002"), "https://gateway.example/api/v1/datacenters/west", DateTimeOffset.UnixEpoch));
}

/// <summary>Merges two layers after a request to scan.</summary>
internal sealed class FakeCompactionGrain : Grain, ICompactionGrain
{
    public Task<LibraryCompaction> Get() => Task.FromResult(View(running: null));

    public Task<LibraryCompaction> Compact() => Task.FromResult(View(new(
        ImageId.Parse("00000000-0000-8000-8000-000000000001"), LayerId.Parse("00000000-0000-8000-8000-000000000002"), Layers: 2, BytesBefore: 20, BytesWritten: 5, DateTimeOffset.UnixEpoch)));

    private static LibraryCompaction View(RunningMerge? running) => new(
        MaxChainDepth: 8, BytesPerSecond: 5, TooDeep: 1, running, Since: DateTimeOffset.UnixEpoch, Merges: 3, LayersMerged: 12, BytesBefore: 100, BytesAfter: 40, LastFailure: null, LastLook: null);
}

/// <summary>Only the calls of clients. A dry run would rebuild two images; no rebuild was begun.</summary>
internal sealed class FakeLibraryGrain(FakeDatacenter datacenter) : Grain, ILibraryGrain
{
    public Task<LayerOffer> OfferLayer(LayerId layer) => datacenter.LayerDigests.TryGetValue(layer, out var sha256)
        ? Task.FromResult(new LayerOffer(layer, Bytes: 4096, LengthBytes: 65_536, sha256, $"/layers/{layer}.qcow2", new(datacenter.DataPlane!, $"layers/{layer}"), FakeDatacenter.Secret))
        : throw FaultException.NotFound("layer-not-found", "There is no such layer.");

    public Task<LibraryRebuild> Rebuild(bool dryRun) => Task.FromResult(new LibraryRebuild(Views.At, dryRun, FinishedAt: null, 3, Rebuilt: 2, Known: 0, LeftOut: 1, []));

    public Task<LibraryRebuild> GetRebuild() => throw FaultException.NotFound("rebuild-not-found", "The library was not rebuilt.");

    public Task<LibraryUsage> Usage(int limit) => Task.FromResult(
        new LibraryUsage(3, 30, 10, 5, 5, 10, 100, [new(ImageStatus.Ready, limit, 10, 10)], [new(ImageId.New(), "debian", ImageStatus.Ready, 6, 4, 10)], new(Views.At, 1, 2), [new(EnterpriseId.Default, limit, 6, 10)], new(Views.At, 3, 4)));

    public Task<bool> ForgetHost(HostId host) => throw new NotSupportedException();

    public Task<SweepReport> Sweep() => throw new NotSupportedException();

    public Task SweepSoon() => throw new NotSupportedException();

    public Task<LibraryView> Get() => Task.FromResult(new LibraryView("store", FreeBytes: 1 << 30, MaxUploadBytes: 1 << 20));

    public Task<Uri> UploadAddress(ImageId image) => throw new NotSupportedException();

    public Task Admit(ImageId image) => throw new NotSupportedException();

    public Task Admitted(ImageId image) => throw new NotSupportedException();

    public Task<long> ReceivedBytes(LayerId layer) => throw new NotSupportedException();

    public Task<bool> IsImporting(ImageId image) => throw new NotSupportedException();

    public Task<bool> TakeUpUpload(ImageId image, UploadPlan plan) => throw new NotSupportedException();

    public Task<MeasuredFile> MeasureFile(string path) => throw new NotSupportedException();

    public Task TakeFile(ImageId image, UploadPlan plan, string path) => throw new NotSupportedException();

    public Task TakePromotion(ImageId image, UploadPlan plan) => throw new NotSupportedException();

    public Task<ExportTicket> OfferExport(ImageId image) => throw new NotSupportedException();

    public Task<IReadOnlyList<LayerOffer>> Offer(IReadOnlyList<LayerId> layers) => throw new NotSupportedException();

    public Task<TransferProgress> Receive(HostId host, IReadOnlyList<LayerId> layers) => throw new NotSupportedException();

    public Task Publish(IReadOnlyList<ImageManifest> manifests) => throw new NotSupportedException();

    public Task Unpublish(IReadOnlyList<ImageId> images) => throw new NotSupportedException();

    public Task<LayerJudgement> Judge(IReadOnlyList<LayerId> layers) => throw new NotSupportedException();

    public Task<IReadOnlyList<KnownLayer>> Know(IReadOnlyList<LayerId> layers) => throw new NotSupportedException();

    public Task<LibraryInventory> Inventory() => throw new NotSupportedException();

    public Task<ImageManifest?> FindManifest(ImageId image) => throw new NotSupportedException();
}

/// <summary>Like the real one, in memory. A test ends leases.</summary>
internal sealed class FakeRequestGrain(FakeDatacenter datacenter) : Grain, IRequestGrain
{
    private (Guid Attempt, string Fingerprint)? _running;
    private string? _fingerprint;
    private RequestAnswer? _answer;
    private int _attempts;

    public Task<RequestTurn> Begin(string fingerprint, Guid attempt, bool isUpload)
    {
        if (_fingerprint is not null && _fingerprint != fingerprint) return Turn(RequestTurnKind.Reused);
        if (_answer is not null) return Turn(RequestTurnKind.Answered);
        if (_running is { } running && running.Attempt != attempt && !datacenter.EndedLeases.TryRemove(this.GetPrimaryKey(), out _))
            return Turn(running.Fingerprint == fingerprint ? RequestTurnKind.Wait : RequestTurnKind.Reused);
        if (isUpload) _fingerprint = fingerprint;
        _running = (attempt, fingerprint);
        _attempts++;
        return Turn(RequestTurnKind.Run);
    }

    public Task<bool> Touch(Guid attempt) => Task.FromResult(_answer is null && _running?.Attempt == attempt);

    public Task<RequestAnswer?> Answer(Guid attempt, string fingerprint, RequestAnswer answer)
    {
        if (_running?.Attempt != attempt && _answer is null) return Task.FromResult<RequestAnswer?>(null);
        (_fingerprint, _answer) = (fingerprint, _answer ?? answer);
        return Task.FromResult<RequestAnswer?>(_answer);
    }

    public Task Release(Guid attempt)
    {
        if (_running?.Attempt == attempt) _running = null;
        return Task.CompletedTask;
    }

    public Task Expire(DateTimeOffset before) => throw new NotSupportedException();

    private Task<RequestTurn> Turn(RequestTurnKind kind) => Task.FromResult(new RequestTurn(kind, kind is RequestTurnKind.Run ? _attempts : 0, kind is RequestTurnKind.Answered ? _answer : null));
}
