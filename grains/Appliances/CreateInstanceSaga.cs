using Instances.Faults;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.Sagas;
using Instances.VirtualMachines;
using Orleans.Runtime;

namespace Instances.Appliances;

/// <summary>Create instance: captures the chosen machines at one instant, each as a slave image of its master.</summary>
/// <remarks>
/// A capture copies no disk data on the host: each disk continues with an empty next layer, and its old top becomes part of the image. The library gets the top by a hard link
/// if possible. Otherwise only the changes are moved there, while the machines are held.
/// A run that was interrupted before the commit point is undone and never continued: the hosts may have released the machines since,
/// and the captures would not be of one instant.
/// </remarks>
internal sealed class CreateInstanceSaga(ISagaContext appliance)
{
    private IReadOnlyList<CaptureTarget> _targets = [];
    private IReadOnlyDictionary<VirtualMachineId, QuiesceOutcome> _quiesced = new Dictionary<VirtualMachineId, QuiesceOutcome>();
    private IReadOnlyDictionary<VirtualMachineId, CaptureHold> _effects = new Dictionary<VirtualMachineId, CaptureHold>();
    private bool _isOnOneHost;
    private DateTimeOffset _firstPause;
    private DateTimeOffset _lastSeal;
    private long _bytesWritten;
    private long _bytesMoved;
    private IReadOnlyList<ImageManifest> _manifests = [];
    private IReadOnlyList<KeptImage> _kept = [];

    // Guests are paused while some of this code runs for the first time, so compile it before.
    static CreateInstanceSaga() => CompiledAhead.Type(typeof(CreateInstanceSaga));

    public Saga Saga => new("create-instance",
    [
        SagaStep.Undoable("prepare", Prepare, Unprepare, appliance.RestartPatience),
        SagaStep.Undoable("quiesce", Quiesce, () => UndoOnEachHost(ResumeAndThaw)),
        SagaStep.Undoable("pause", Pause, () => UndoOnEachHost(ResumeAndThaw)),
        SagaStep.WithoutUndo("seal", Seal, why: "the machines continue on their next layers"),
        SagaStep.Undoable("publish", Publish, Unpublish, appliance.RestartPatience),
        SagaStep.Commit("commit", Commit),
        SagaStep.Forward("register", _ => Register()),
        SagaStep.Forward("undeploy", _ => Command.Undeploy ? Undeploy() : LetGo()),
        SagaStep.Forward("update", _ => Update()),
        SagaStep.Forward("finish", _ => Finish()),
    ]);

    private RunningOperation Operation => appliance.State.Operation!;

    private CapturePlan Plan => Operation.Capture!;

    private CreateInstanceCommand Command => Plan.Command;

    private CommittedCapture Committed => Operation.Committed!;

    private async Task Prepare(CancellationToken cancellationToken)
    {
        var targets = new CaptureTarget[Plan.Instances.Count];
        await FanOut.Each(Plan.Instances.Index(), item => ForInstance("prepare", item.Item, "preparing", async () =>
            targets[item.Index] = await appliance.Grains.VirtualMachine(item.Item.Machine).BeginCapture(Operation.Id, item.Item.NextLayers)), cancellationToken);
        _targets = targets;
        _isOnOneHost = targets.All(target => target.Host == targets[0].Host);

        var next = Plan.Instances.ToDictionary(instance => instance.Machine, instance => new NextLayers(instance.Machine, instance.NextLayers));
        await OnEachHost((host, machines) => host.PrepareNextLayers(Operation.Id, [.. machines.Select(machine => next[machine])]));
        Activity("prepared");
    }

    /// <summary>Each host's calls run in sequence: a machine is released only after its guest was resumed and thawed.</summary>
    private Task Unprepare() => ForEachHost(async (host, machines) =>
    {
        await Undo(async () =>
        {
            var grain = appliance.Grains.Host(host);
            await ResumeAndThaw(grain, machines);
            await grain.DiscardNextLayers(Operation.Id, machines);
        });
        await FanOut.All(machines, async machine =>
        {
            await appliance.Grains.VirtualMachine(machine).EndCapture(Operation.Id, CaptureEnd.None, Operation.Forced);
            appliance.Activity(machine, "continues as before");
        });
    });

    /// <summary>A machine that cannot be resumed keeps no other guest frozen.</summary>
    private Task ResumeAndThaw(IHostGrain host, IReadOnlyList<VirtualMachineId> machines) =>
        FanOut.AllInOrder(() => host.Resume(Operation.Id, machines), () => host.Unquiesce(Operation.Id, machines));

    private async Task Quiesce(CancellationToken cancellationToken)
    {
        Activity("quiescing");
        var outcomes = await OnEachHost((host, machines) => host.Quiesce(Operation.Id, machines, Command.Quiesce, cancellationToken));
        _quiesced = outcomes.SelectMany(outcome => outcome).ToDictionary(outcome => outcome.Machine);
    }

    /// <summary>A barrier: when this returns, no chosen machine runs.</summary>
    private async Task Pause(CancellationToken cancellationToken)
    {
        Activity("pausing");

        // The clocks of several hosts differ. So this silo's clock is read around their answers, and the window is an upper bound.
        var before = appliance.Time.GetUtcNow();
        var paused = await OnEachHost((host, machines) => host.Pause(Operation.Id, machines));
        _firstPause = _isOnOneHost ? paused.Min(moment => moment.At) : before;
    }

    private async Task Seal(CancellationToken cancellationToken)
    {
        var outcomes = await OnEachHost((host, machines) => host.Seal(Operation.Id, machines));
        _lastSeal = _isOnOneHost ? outcomes.Max(outcome => outcome.SealedAt) : appliance.Time.GetUtcNow();
        _bytesWritten = outcomes.Sum(outcome => outcome.BytesWritten);
        Activity("sealed");
        if (!Command.Undeploy)
        {
            await OnEachHost((host, machines) => host.Resume(Operation.Id, machines));
            await OnEachHost((host, machines) => host.Unquiesce(Operation.Id, machines));
            Activity("continues");
        }

        _effects = await EffectsOnGuests();
    }

    /// <summary>The capture's effects on its guests, as the hosts recorded them. Asked when the guests run again.</summary>
    private async Task<IReadOnlyDictionary<VirtualMachineId, CaptureHold>> EffectsOnGuests()
    {
        var seen = await OnEachHost((host, machines) => Task.WhenAll(machines.Select(host.Observe)));
        return seen.SelectMany(machines => machines).OfType<MachineObservation>().Where(machine => machine.Hold?.Operation == Operation.Id)
            .ToDictionary(machine => machine.Id, machine => machine.Hold!);
    }

    private async Task Publish(CancellationToken cancellationToken)
    {
        var parents = (await ViewsOf(Plan.Instances.Select(instance => instance.Parent))).ToDictionary(view => view.Id);
        var known = LayersOf(parents.Values);

        // If a machine was captured before and not undeployed since, its chain has layers of those captures.
        var again = _targets.Where(target => target.Disks.Any(disk => disk.Layers.Count(layer => !known.ContainsKey(layer)) > 1));
        var earlier = await FanOut.Results(again, target => appliance.Catalogue.CapturedFrom(target.Id));
        foreach (var (id, layer) in LayersOf(await ViewsOf(earlier.SelectMany(images => images)))) known[id] = layer;

        var drafts = Plan.Instances.Select(instance =>
            Draft(instance, _targets.Single(target => target.Id == instance.Machine), known) with { Details = parents[instance.Parent].Details, Enterprise = appliance.State.Enterprise }).ToList();
        var moved = (await Task.WhenAll((await Hosts()).Select(host => Receive(host, drafts, cancellationToken)).ToList())).SelectMany(layers => layers).ToDictionary(layer => layer.Id);
        _bytesMoved = moved.Values.Sum(layer => layer.BytesMoved);
        _manifests = [.. drafts.Select(draft => draft with { Disks = [.. draft.Disks.Select(disk => disk with { Layers = [.. disk.Layers.Select(Filled)] })] })];
        await appliance.Grains.Library().Publish(_manifests);
        Activity("published");

        LayerManifest Filled(LayerManifest layer) =>
            moved.TryGetValue(layer.Id, out var transfer) ? layer with { Bytes = transfer.Bytes, Sha256 = transfer.Sha256 ?? layer.Sha256 } : layer;
    }

    /// <summary>The guests do not wait for the library. A sweep removes what a forced operation leaves there.</summary>
    private Task Unpublish() => Task.WhenAll(UndoOnEachHost(ResumeAndThaw), Undo(async () =>
    {
        // Keep images that have a record: a database from a backup may know less about this operation than the library does.
        var known = new HashSet<ImageId>();
        await FanOut.All(Plan.Instances, async instance =>
        {
            if (await appliance.Catalogue.FindImage(instance.Image) is not null) known.Add(instance.Image);
        });
        await appliance.Grains.Library().Unpublish([.. Plan.Instances.Select(instance => instance.Image).Where(image => !known.Contains(image))]);
    }));

    /// <summary>Moves the sealed layers of a host to the library: only the new layers, because the library has those of earlier images.</summary>
    private async Task<IReadOnlyList<LayerTransfer>> Receive(IGrouping<HostId, PlacedMachine> host, IReadOnlyList<ImageManifest> drafts, CancellationToken cancellationToken)
    {
        var own = drafts.Where(draft => host.Any(machine => machine.Machine == draft.Capture!.VirtualMachine)).ToDictionary(
            draft => draft.Capture!.VirtualMachine,
            draft => draft.Disks.SelectMany(disk => disk.Layers).Where(layer => layer.Image == draft.Id).Select(layer => layer.Id).ToList());
        IReadOnlyList<LayerId> layers = [.. own.Values.SelectMany(layers => layers)];
        await appliance.Grains.Host(host.Key).MakeDurable(Operation.Id, layers);
        return (await Transfers.Watch(() => appliance.Grains.Library().Receive(host.Key, layers), Show, appliance.Moved, appliance.Time, cancellationToken)).Layers;

        void Show(TransferProgress progress)
        {
            var bytes = progress.Layers.ToDictionary(layer => layer.Id, layer => layer.BytesMoved);
            foreach (var (machine, brought) in own) appliance.Activity(machine, Transfers.Describe("publishing", progress), brought.Sum(layer => bytes[layer]));
        }
    }

    private Task<IReadOnlyList<ImageView>> ViewsOf(IEnumerable<ImageId> images) => FanOut.Results(images.Distinct(), image => appliance.Grains.Image(image).Get());

    private static Dictionary<LayerId, LayerManifest> LayersOf(IEnumerable<ImageView> images) =>
        images.SelectMany(view => view.Disks).SelectMany(disk => disk.Layers).DistinctBy(layer => layer.Id).ToDictionary(layer => layer.Id);

    private async Task Commit(CancellationToken cancellationToken)
    {
        var previous = Command.UpdateImages
            ? await FanOut.Results(Plan.Instances, instance => appliance.Catalogue.CapturedFrom(instance.Machine))
            : [];
        var committed = new CommittedCapture(_manifests, Window.TotalMilliseconds, _bytesWritten, [.. previous.SelectMany(images => images)], _bytesMoved);
        cancellationToken.ThrowIfCancellationRequested();
        await appliance.Commit(state => state with
        {
            Status = Command.Undeploy
                ? ApplianceLifecycle.Decide(state.Status, ApplianceCommand.CommitToUndeploy).OrThrow() ?? state.Status
                : state.Status,
            Operation = state.Operation! with { Phase = SagaPhase.Committed, Committed = committed },
        });
    }

    /// <summary>No image is visible before the commit point. So an image that was seen Ready is never undone.</summary>
    private Task Register() => FanOut.All(Committed.Manifests, manifest => appliance.Grains.Image(manifest.Id).Publish(manifest));

    private Task Undeploy() => appliance.RemoveMachines("undeploy", appliance.State.VirtualMachines, EndOf, "captured");

    private async Task LetGo() => await FanOut.AllByHost(
        (await Hosts()).SelectMany(host => host),
        machine => machine.Host,
        machine => ForInstance("undeploy", Plan.Instances.Single(instance => instance.Machine == machine.Machine), "captured", () =>
            appliance.Grains.VirtualMachine(machine.Machine).EndCapture(Operation.Id, EndOf(machine.Machine), Operation.Forced)));

    /// <summary>Retires the previous versions. The machines already use their new images, so that only other users of an image can prevent its retirement.</summary>
    private async Task Update()
    {
        var kept = new List<KeptImage>();
        await FanOut.All(Committed.Previous, async image =>
        {
            try
            {
                await appliance.Grains.Image(image).Retire(RetirementReason.Updated);
            }
            catch (FaultException exception) when (exception.Fault.Kind is FaultKind.Conflict)
            {
                kept.Add(new(image, exception.Fault.Message));
            }
            catch (FaultException exception) when (exception.Fault.Kind is FaultKind.NotFound)
            {
                // The previous run retired it.
            }
        });
        _kept = kept;
    }

    private Task Finish() => appliance.State.Operation is null ? Task.CompletedTask : appliance.End(Command.Undeploy ? ApplianceStatus.Undeployed : ApplianceStatus.Deployed, new OperationResult(
        [.. Committed.Manifests.Select(manifest => new CapturedInstance(manifest.Capture!.VirtualMachine, manifest.Id, manifest.Name, manifest.Capture.Consistency))],
        Committed.ConsistencyWindowMs,
        Committed.DiskBytesWritten,
        [.. Committed.Previous.Except(_kept.Select(image => image.Image))],
        _kept,
        Committed.BytesMoved,
        Committed.Manifests.Max(manifest => manifest.Capture!.LongestStallMs)));

    private TimeSpan Window => _lastSeal - _firstPause;

    private CaptureEnd EndOf(VirtualMachineId machine) => Plan.Instances.SingleOrDefault(instance => instance.Machine == machine) is { } instance
        ? new(Captured: true, Command.UpdateImages ? instance.Image : null)
        : CaptureEnd.None;

    /// <summary>The image's manifest. The sizes of its new layers are not known yet.</summary>
    private ImageManifest Draft(PlannedInstance instance, CaptureTarget target, Dictionary<LayerId, LayerManifest> known)
    {
        var quiesced = _quiesced[instance.Machine];
        var effects = _effects.GetValueOrDefault(instance.Machine);
        var facts = new CaptureFacts(
            Operation.Id, appliance.Id, instance.Machine, instance.MachineName, _lastSeal, quiesced.Consistency, Window.TotalMilliseconds, quiesced.Detail,
            effects?.LongestStallMs, effects?.ThawFailure);
        return new(instance.Image, instance.ImageName, ImageKind.Slave, instance.Master, instance.Parent, [.. target.Disks.Select(ToManifest)], _lastSeal, Import: null, facts)
        {
            Identity = target.InstanceId is { } identity ? new(instance.Machine, identity) : null,
        };

        DiskManifest ToManifest(DiskChain disk) => new(
            [.. disk.Layers.Index().Select(layer => known.GetValueOrDefault(layer.Item) ?? new LayerManifest(layer.Item, layer.Index == 0 ? null : disk.Layers[layer.Index - 1], Bytes: 0, instance.Image))],
            disk.VirtualSizeBytes);
    }

    private Task ForInstance(string step, PlannedInstance instance, string activity, Func<Task> action) => appliance.ForMachine(step, instance.MachineName, () =>
    {
        appliance.Activity(instance.Machine, activity);
        return action();
    });

    private void Activity(string activity)
    {
        foreach (var instance in Plan.Instances) appliance.Activity(instance.Machine, activity);
    }

    private async Task<T[]> OnEachHost<T>(Func<IHostGrain, IReadOnlyList<VirtualMachineId>, Task<T>> call) => await Task.WhenAll(
        (await Hosts()).Select(async host => await call(appliance.Grains.Host(host.Key), [.. host.Select(machine => machine.Machine)])).ToList());

    private Task OnEachHost(Func<IHostGrain, IReadOnlyList<VirtualMachineId>, Task> call) => ForEachHost((host, machines) => call(appliance.Grains.Host(host), machines));

    private Task UndoOnEachHost(Func<IHostGrain, IReadOnlyList<VirtualMachineId>, Task> call) => ForEachHost((host, machines) => Undo(() => call(appliance.Grains.Host(host), machines)));

    /// <summary>Calls all hosts in parallel. A failing host does not prevent the calls to others.</summary>
    private async Task ForEachHost(Func<HostId, IReadOnlyList<VirtualMachineId>, Task> call) =>
        await Task.WhenAll((await Hosts()).Select(async host => await call(host.Key, [.. host.Select(machine => machine.Machine)])).ToList());

    /// <summary>A forced operation ignores failures: the host releases the machines of an ended capture as soon as it can.</summary>
    private async Task Undo(Func<Task> call)
    {
        try
        {
            await call();
        }
        catch (Exception exception) when (Operation.Forced && exception is FaultException or TimeoutException or OrleansException)
        {
            // The reason was shown as the operation's problem before it was forced.
        }
    }

    /// <summary>The chosen machines by host. An undo after a restart has no targets in memory and asks the machines.</summary>
    private async Task<ILookup<HostId, PlacedMachine>> Hosts()
    {
        if (_targets.Count > 0) return _targets.Select(target => new PlacedMachine(target.Id, target.Host)).ToLookup(machine => machine.Host);
        var views = await appliance.Views(Operation.Targets);
        return views.Where(view => view.Host is not null).Select(view => new PlacedMachine(view.Id, view.Host!.Value)).ToLookup(machine => machine.Host);
    }

    private readonly record struct PlacedMachine(VirtualMachineId Machine, HostId Host);
}
