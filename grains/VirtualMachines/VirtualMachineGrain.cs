using Instances.Appliances;
using Instances.Enterprises;
using Instances.Faults;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.Requests;
using Instances.Storage;
using Orleans.Runtime;

namespace Instances.VirtualMachines;

/// <remarks>
/// <para>No machine runs twice. Only a deployment or a power action starts it, and both go to the host of its deployment. A deployment begins only
/// if there is none: the previous one has ended when its host has removed the machine, or when a user has forced the undeployment because the unreachable host will
/// not come back. If that host comes back all the same, it asks about each machine that it finds, by the operation that deployed it, before it starts any. It removes machines
/// that have another deployment now, or none. A verdict names its deployment, so that it is never applied to a later one.</para>
/// <para>If a host is only cut off, its machines keep running until then, because it cannot be reached. They have their own writable layers, and share none with
/// the later deployment.</para>
/// </remarks>
internal sealed partial class VirtualMachineGrain(
    [PersistentState("virtual-machine", StorageNames.Grains)] IPersistentState<VirtualMachineState> stored, TimeProvider time)
    : StoredGrain<VirtualMachineState>(stored), IVirtualMachineGrain
{
    /// <summary>How long a forced call waits for a host that is reachable and does not answer.</summary>
    private static readonly TimeSpan ForcedPatience = TimeSpan.FromSeconds(20);

    /// <summary>Shown while the machine is being removed. Not durable, because the durable saga that removes the machine sets it again.</summary>
    private bool _removing;

    private VirtualMachineId Id => new(this.GetPrimaryKey());

    private VirtualMachineStatus Status => _removing ? VirtualMachineStatus.Undeploying : State.Status;

    public async Task<VirtualMachineView> Create(ApplianceId appliance, EnterpriseId enterprise, VirtualMachineSpec spec)
    {
        spec = VirtualMachineSpecRules.Require(spec);
        if (!Exists)
        {
            await GrainFactory.RequireNotDeleted(Id.Value, "virtual-machine-deleted", "a virtual machine");
            await SaveListed(await Sized(new() { Appliance = appliance, Enterprise = enterprise, Spec = spec, CreatedAt = time.GetUtcNow() }));
            await RequireImageOr(spec.Image, Forget);
        }
        else if (State.Appliance != appliance || !VirtualMachineSpecRules.AreSame(State.Spec!, spec))
        {
            throw FaultException.Conflict("virtual-machine-exists", "A virtual machine with this id and another specification exists.");
        }

        return View();
    }

    public Task<VirtualMachineView> Get()
    {
        RequireExists();
        return Task.FromResult(View());
    }

    public Task<VirtualMachineSpec> GetSpec()
    {
        RequireExists();
        return Task.FromResult(State.Spec!);
    }

    public async Task<VirtualMachineView> Change(VirtualMachineSpec spec)
    {
        Allow(VirtualMachineCommand.Edit);
        spec = VirtualMachineSpecRules.Require(spec);
        if (VirtualMachineSpecRules.AreSame(State.Spec!, spec)) return View();
        var before = State;
        await SaveListed(await Sized(State with { Spec = spec }));
        await RequireImageOr(spec.Image, () => SaveListed(before));
        return View();
    }

    public async Task Delete()
    {
        if (!Exists) return;
        Allow(VirtualMachineCommand.Delete);
        await GrainFactory.KeepDeleted(Id.Value);
        await Forget();
        DeactivateOnIdle();
    }

    public async Task<VirtualMachineView> Power(PowerAction action, RequestId? request)
    {
        RequireExists();
        if (request is not null && State.Deployment?.LastPower is { } last && last.Request == request)
        {
            if (last.IsDone) return View();
            throw FaultException.Conflict(
                "power-uncertain", "The outcome of this reset is unknown: its host did not confirm it, and it may have happened. Check the machine's console. If it was not reset, repeat the reset with a new Idempotency-Key.");
        }

        var wished = WishedBy(action);
        if (VirtualMachineLifecycle.DecidePower(Status, action).OrThrow() is null)
        {
            // The machine is already in this state, but perhaps not by request.
            if (State.WishedStatus != wished) await SaveListed(State with { Deployment = State.Deployment! with { Wished = wished, Problem = null } });
            return View();
        }

        // All other actions are idempotent, because each sets a status. A reset is recorded before it is carried out.
        if (action is PowerAction.Reset && request is { } reset) await SaveListed(State with { Deployment = State.Deployment! with { LastPower = new(reset, IsDone: false) } });
        try
        {
            await Rest(await Host.Power(Id, action), wished, request);
        }
        catch (Exception exception) when (exception is FaultException or TimeoutException)
        {
            // If the host refused or was not reached, it has not carried out the action.
            if (State.Deployment?.LastPower is { IsDone: false } && exception is FaultException { Fault: { Kind: FaultKind.Conflict } or { Code: HostPlacementDirector.HostUnavailable } })
                await SaveListed(State with { Deployment = State.Deployment with { LastPower = null } });

            // Otherwise the host may have carried it out although its answer was lost.
            var host = State.Deployment!.Host;
            if (await Host.Observe(Id) is not { } observed) await LoseSight(host);
            else if (observed.Status == wished && observed.Hold is null) await Rest(observed, wished);
            else await See(observed);
            throw;
        }

        return View();
    }

    public Task<string> ReadConsole(int maxBytes)
    {
        RequireExists();
        if (maxBytes is < 1 or > 65_536) throw FaultException.Invalid("limit-invalid", $"{maxBytes} bytes are requested: 1 to 65536 are allowed.");
        if (State.Deployment is null)
            throw FaultException.Conflict("virtual-machine-not-deployed", "The virtual machine is Undeployed and has no console: deploy its appliance first.");
        return Host.ReadConsole(Id, maxBytes);
    }

    public async Task<VirtualMachineView> Deploy(OperationId operation, HostId host, CancellationToken cancellationToken)
    {
        if (State.Deployment?.Operation != operation || State.Status is VirtualMachineStatus.Undeployed)
        {
            var next = Allow(VirtualMachineCommand.Deploy) ?? throw FaultException.Conflict("virtual-machine-busy", "Another operation deploys the virtual machine.");
            var image = await GrainFactory.Image(State.Spec!.Image).Get();
            for (ImageView? planned = null; planned is null || !SameDisks(planned, image);)
            {
                ImageRules.RequireUsable(image, State.Enterprise);
                VirtualMachineSpecRules.RequireEnough(State.Spec.Name, State.Cpus, State.MemoryBytes, image);

                // Refer to the layers before they exist, and then ask the image again: so a deletion of the image, or a merge of its layers, sees the reference, or is seen.
                await SaveListed(State with { Status = next, Deployment = Plan(operation, host, image) });
                planned = image;
                image = await RequireImageOr(image.Id, () => SaveListed(State with { Status = VirtualMachineStatus.Undeployed, Deployment = null }));
            }
        }

        if (State.Status is VirtualMachineStatus.Deploying) await Rest(await Host.Deploy(await Specification(), cancellationToken));
        return View();
    }

    public async Task<bool> Undeploy(CaptureEnd end, bool force)
    {
        if (!Exists || State.Deployment is not { } deployment) return true;
        Allow(VirtualMachineCommand.Undeploy);
        _removing = true;
        try
        {
            var next = deployment.Capture?.NextLayers ?? [];
            var removal = await Ask(async () =>
            {
                await Host.Undeploy(Id, deployment.Operation, end.Captured ? next : [.. deployment.OwnLayers, .. next]);
                return true;
            }, force);
            await SaveListed(State with { Status = VirtualMachineStatus.Undeployed, Deployment = null, Spec = Using(end) });
            if (removal.Failure is not null) return false;
            await SweepSoon(deployment.Host);
            return true;
        }
        finally
        {
            _removing = false;
        }
    }

    public async Task<CaptureTarget> BeginCapture(OperationId operation, IReadOnlyList<LayerId> next)
    {
        if (State.Deployment?.Capture?.Operation != operation)
        {
            var status = Allow(VirtualMachineCommand.BeginCapture)!.Value;
            await SaveListed(State with { Status = status, Deployment = State.Deployment! with { Capture = new(operation, next) } });
        }

        var deployment = State.Deployment!;
        return new(Id, State.Spec!.Name, deployment.Host, State.Spec.Image, deployment.Disks, VirtualMachineState.InstanceIdOf(Id, deployment));
    }

    public async Task EndCapture(OperationId operation, CaptureEnd end, bool force)
    {
        if (State.Deployment is not { } deployment || deployment.Capture?.Operation != operation) return;
        var host = deployment.Host;
        var (observed, failure) = await Ask(async () =>
        {
            await Host.EndCapture(operation, [Id]);
            return await Host.Observe(Id);
        }, force);
        if (observed is null)
        {
            // A committed capture was sealed, and its image owns the old tops. Otherwise the host reports the disks when it sees the machine again.
            await SaveListed(State with
            {
                Status = VirtualMachineStatus.Unknown,
                Spec = Using(end),
                Deployment = deployment with
                {
                    OwnLayers = end.Captured ? deployment.Capture.NextLayers : [.. deployment.OwnLayers, .. deployment.Capture.NextLayers],
                    Capture = null,
                    Wished = State.WishedStatus,
                    Problem = failure is null ? Lost(host) : NotReleased(host, failure),
                },
            });
            return;
        }

        var tops = observed.Disks.SelectMany(disk => disk.Layers).ToHashSet();
        var next = deployment.Capture.NextLayers.Where(tops.Contains);
        await SaveListed(State with
        {
            Status = VirtualMachineLifecycle.Decide(State.Status, VirtualMachineLifecycle.Rest(observed.Status)).OrThrow() ?? State.Status,
            Spec = Using(end),
            Deployment = deployment with
            {
                Disks = observed.Disks,
                OwnLayers = end.Captured ? [.. next] : [.. deployment.OwnLayers, .. next],
                Capture = null,
            },
        });
        if (!end.Captured) await SweepSoon(host);
        if (end.NewImage is not null) await Describe();
    }

    public async Task Adopt(ApplianceId appliance, EnterpriseId enterprise, VirtualMachineSpec spec, HostId host, FoundMachine found, IReadOnlyList<LayerId> ownLayers)
    {
        var seen = found.Seen;
        if (Owns(host, seen.Deployment)) return;
        var status = VirtualMachineLifecycle.Decide(State.Status, VirtualMachineCommand.Adopt).OrThrow() ?? State.Status;
        var wished = seen switch
        {
            { Status: VirtualMachineStatus.Paused, Hold: null, Trouble: null } => VirtualMachineStatus.Paused,
            { Status: VirtualMachineStatus.Stopped, StopReason: StopReason.Guest or StopReason.Power, Hold: null } => VirtualMachineStatus.Stopped,
            _ => VirtualMachineStatus.Running,
        };
        await SaveListed(State with
        {
            Appliance = appliance,
            Enterprise = enterprise,
            Spec = spec,
            DefaultCpus = seen.Cpus,
            DefaultMemoryBytes = seen.MemoryBytes,
            CreatedAt = Exists ? State.CreatedAt : time.GetUtcNow(),
            Status = status,
            Deployment = new(seen.Deployment, host, seen.Disks, ownLayers, seen.PortForwards, Wished: wished, InstanceId: found.Spec.InstanceId),
        });
        await See(await Host.Observe(Id) ?? seen);
    }

    public async Task<ObserveVerdict> Observe(HostId host, MachineObservation observation)
    {
        if (!Owns(host, observation.Deployment)) return ObserveVerdict.Remove;

        // The observation may have waited for a power action: ask the host for the current one.
        return await See(await Host.Observe(Id) ?? observation);
    }

    public async Task LoseSight(HostId host)
    {
        if (!Exists || State.Deployment is not { } deployment || deployment.Host != host) return;

        // A machine that is already Unknown, because its host was unreachable, may be lost now.
        var decision = VirtualMachineLifecycle.Decide(State.Status, VirtualMachineCommand.LoseSight);
        if (decision is not Decision<VirtualMachineStatus>.Accept && State.Status is not VirtualMachineStatus.Unknown) return;
        string problem;
        try
        {
            // The host may have come back since the caller checked.
            if (await Host.Observe(Id) is { } seen && Owns(host, seen.Deployment))
            {
                await See(seen);
                return;
            }

            problem = Lost(host);
        }
        catch (FaultException exception) when (exception.Fault.Code == HostPlacementDirector.HostUnavailable)
        {
            problem = Away(host);
        }

        if (State.Status is VirtualMachineStatus.Unknown && deployment.Problem == problem) return;
        await SaveListed(State with { Status = VirtualMachineStatus.Unknown, Deployment = deployment with { Wished = State.WishedStatus, Problem = problem } });
    }

    public Task<bool> IsDeployed(HostId host, OperationId deployment) => Task.FromResult(Owns(host, deployment));

    private bool Owns(HostId host, OperationId deployment) => Exists && State.Deployment is { } present && present.Host == host && present.Operation == deployment;

    private async Task<ObserveVerdict> See(MachineObservation seen)
    {
        // While an operation holds the machine, the operation causes the observed changes.
        if (VirtualMachineLifecycle.Decide(State.Status, VirtualMachineLifecycle.Observe(seen.Status)) is Decision<VirtualMachineStatus>.Ignore
            && State.Status != seen.Status)
            return ObserveVerdict.Keep;
        var deployment = State.Deployment!;
        if (seen.Hold is { } hold)
        {
            // No capture holds the machine according to its record: it was given up while its host could not release the machine. Undo here what its saga would have undone.
            await Host.Resume(hold.Operation, [Id]);
            await Host.Unquiesce(hold.Operation, [Id]);
            await Host.DiscardNextLayers(hold.Operation, [Id]);
            await Host.EndCapture(hold.Operation, [Id]);
            seen = await Host.Observe(Id) ?? seen;
            var chained = seen.Disks.SelectMany(disk => disk.Layers).ToHashSet();
            deployment = deployment with { OwnLayers = [.. deployment.OwnLayers.Where(chained.Contains)] };
        }

        var outcome = Reconciliation.Decide(State.Status, State.WishedStatus!.Value, seen);
        var isOnSame = SameDisks(deployment.Disks, seen.Disks);
        var next = (isOnSame ? deployment : deployment.On(seen.Disks)) with { Wished = outcome.Wished, Problem = outcome.Problem, Hint = seen.Hint };
        if (outcome.Status != State.Status || outcome.Wished != State.WishedStatus || outcome.Problem != deployment.Problem || seen.Hint != deployment.Hint || !isOnSame || deployment != State.Deployment)
            await SaveListed(State with { Status = outcome.Status, Deployment = next });
        return outcome.Verdict;
    }

    private static bool SameDisks(IReadOnlyList<DiskChain> one, IReadOnlyList<DiskChain> other) =>
        one.Count == other.Count && one.Zip(other).All(pair => pair.First.Layers.SequenceEqual(pair.Second.Layers));

    private static bool SameDisks(ImageView one, ImageView other) => SameDisks([.. one.Disks.Select(disk => disk.ToChain())], [.. other.Disks.Select(disk => disk.ToChain())]);

    private static string Away(HostId host) =>
        $"The host {host} is unreachable: the state of the machine is not known. Wait until the host is back. If it will not come back, undeploy the appliance with force.";

    private static string Lost(HostId host) =>
        $"The host {host} has lost the machine. Undeploy the appliance, and deploy it again: changes that were not captured are lost.";

    private static string NotReleased(HostId host, string reason) =>
        $"A capture was ended by force, and the host {host} did not release the machine: {reason} The host releases it as soon as it can. If it cannot, undeploy the appliance.";

    /// <summary>Calls the host. A forced call always ends within a bound.</summary>
    /// <returns>The answer; or, for a forced call only, why there is none.</returns>
    private async Task<(T? Answer, string? Failure)> Ask<T>(Func<Task<T>> call, bool force)
    {
        if (!force) return (await call(), null);
        try
        {
            return (await call().WaitAsync(ForcedPatience, time), null);
        }
        catch (Exception exception) when (exception is FaultException or TimeoutException or OrleansException)
        {
            return (default, exception is FaultException ? exception.Message : "The host did not answer in time.");
        }
    }

    /// <summary>Best effort, because the record is already saved: the host also sweeps periodically.</summary>
    private async Task SweepSoon(HostId host)
    {
        try
        {
            await GrainFactory.Host(host).SweepSoon();
        }
        catch (Exception exception) when (exception is FaultException or TimeoutException or OrleansException)
        {
            // The host is unreachable.
        }
    }

    private static VirtualMachineStatus WishedBy(PowerAction action) => action switch
    {
        PowerAction.On or PowerAction.Reset or PowerAction.Resume => VirtualMachineStatus.Running,
        PowerAction.Off or PowerAction.Shutdown => VirtualMachineStatus.Stopped,
        PowerAction.Pause => VirtualMachineStatus.Paused,
    };

    private IHostGrain Host => GrainFactory.Host(State.Deployment!.Host);

    /// <summary>New writable tops over the image's layers, followed by the blank data disks.</summary>
    private Deployment Plan(OperationId operation, HostId host, ImageView image)
    {
        var fromImage = image.Disks.Select(disk => disk.ToChain()).Select(disk => disk with { Layers = [.. disk.Layers, LayerId.New()] });
        var blank = (State.Spec!.DataDisks ?? []).Select(size => new DiskChain([LayerId.New()], size));
        DiskChain[] disks = [.. fromImage, .. blank];
        if (disks.Length > VirtualMachineSpecRules.MaxDisks)
            throw FaultException.Invalid("virtual-machine-invalid", $"The image and the data disks make {disks.Length} disks: {VirtualMachineSpecRules.MaxDisks} are allowed.");
        return new(operation, host, disks, [.. disks.Select(disk => disk.Layers[^1])], State.Spec.PortForwards ?? [], Wished: VirtualMachineStatus.Running,
            InstanceId: GuestIdentities.Choose(Id, operation, State.Spec.Identity, image.Identity));
    }

    private async Task<MachineSpec> Specification()
    {
        var (spec, deployment) = (State.Spec!, State.Deployment!);
        return new(
            Id, State.Appliance, deployment.Operation, spec.Name, State.Cpus, State.MemoryBytes, deployment.Disks,
            spec.PortForwards ?? [], spec.SshAuthorizedKeys ?? [], spec.UserData, VirtualMachineState.InstanceIdOf(Id, deployment), UserDataBase64: spec.UserDataBase64, Origin: await Origin());
    }

    private async Task<MachineOrigin> Origin() =>
        new((await GrainFactory.Appliance(State.Appliance).Get()).ToSpec(), State.Spec! with { SshAuthorizedKeys = null, UserData = null, UserDataBase64 = null });

    /// <summary>Stores the current image on the host. If the host cannot be called, the record is right all the same.</summary>
    private async Task Describe()
    {
        try
        {
            await Host.Describe(Id, State.Deployment!.Operation, await Origin());
        }
        catch (Exception exception) when (exception is not OperationCanceledException)
        {
            // A host of an earlier release does not know the call, and a host may be going down: an adoption would then find the image by its layers.
        }
    }

    /// <summary>Adds the image's defaults for missing sizes. A machine below the image's minimum is refused before anything is written.</summary>
    private async Task<VirtualMachineState> Sized(VirtualMachineState next)
    {
        var image = await GrainFactory.Image(next.Spec!.Image).Get();
        ImageRules.RequireUsable(image, next.Enterprise);
        var details = image.Details;
        var sized = next with { DefaultCpus = details.DefaultCpus ?? details.MinCpus, DefaultMemoryBytes = details.DefaultMemoryBytes ?? LargerDefault(details.MinMemoryBytes) };
        VirtualMachineSpecRules.RequireEnough(next.Spec.Name, sized.Cpus, sized.MemoryBytes, image);
        return sized;

        static long? LargerDefault(long? minimum) => minimum > VirtualMachineSpecRules.DefaultMemoryBytes ? minimum : null;
    }

    /// <summary>An image that was captured from this machine contains its data disks too.</summary>
    private VirtualMachineSpec Using(CaptureEnd end) => end.NewImage is { } image ? State.Spec! with { Image = image, DataDisks = null } : State.Spec!;

    /// <param name="wished">The status that a user has just requested; null for none.</param>
    /// <param name="request">The user's request, if it has a key.</param>
    private async Task Rest(MachineObservation observed, VirtualMachineStatus? wished = null, RequestId? request = null)
    {
        var (status, deployment) = (State.Status, State.Deployment!);
        var next = VirtualMachineLifecycle.Decide(status, VirtualMachineLifecycle.Rest(observed.Status)).OrThrow() ?? status;
        var rested = deployment with { PortForwards = observed.PortForwards, Wished = wished ?? State.WishedStatus, Problem = wished is null ? deployment.Problem : observed.Trouble, Hint = observed.Hint };
        if (request is { } done) rested = rested with { LastPower = new(done, IsDone: true) };
        else if (next == status && observed.PortForwards.SequenceEqual(deployment.PortForwards) && rested.Wished == State.WishedStatus && rested.Problem == deployment.Problem && rested.Hint == deployment.Hint) return;
        await SaveListed(State with { Status = next, Deployment = rested });
    }

    /// <summary>Refer to the image first, then check it: a deletion, or an end of sharing, first marks the image and then searches for references. So one of the two sees the other.</summary>
    private async Task<ImageView> RequireImageOr(ImageId image, Func<Task> undo)
    {
        try
        {
            var view = await GrainFactory.Image(image).Get();
            ImageRules.RequireUsable(view, State.Enterprise);
            return view;
        }
        catch
        {
            await undo();
            throw;
        }
    }

    private VirtualMachineStatus? Allow(VirtualMachineCommand command)
    {
        RequireExists();
        return VirtualMachineLifecycle.Decide(State.Status, command).OrThrow();
    }

    private void RequireExists()
    {
        if (!Exists) throw FaultException.NotFound("virtual-machine-not-found", "There is no such virtual machine.");
    }

    private VirtualMachineView View() => State.ToView(Id, Status);

    private Task SaveListed(VirtualMachineState next) =>
        Save((State.Spec is not null && next.Spec != State.Spec ? next with { Version = State.Version + 1 } : next).WithCatalogue(Id));
}
