using System.Text.Json;
using Instances.Appliances;
using Instances.Faults;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.Storage;
using Orleans.Runtime;

namespace Instances.VirtualMachines;

internal sealed class VirtualMachineGrain(
    [PersistentState("virtual-machine", StorageNames.Grains)] IPersistentState<VirtualMachineState> stored, TimeProvider time)
    : StoredGrain<VirtualMachineState>(stored), IVirtualMachineGrain
{
    /// <summary>Shown while the machine is being removed. Not durable: the saga that removes it is, and repeats it.</summary>
    private bool _removing;

    private VirtualMachineId Id => new(this.GetPrimaryKey());

    private VirtualMachineStatus Status => _removing ? VirtualMachineStatus.Undeploying : State.Status;

    public async Task<VirtualMachineView> Create(ApplianceId appliance, VirtualMachineSpec spec)
    {
        VirtualMachineSpecRules.Require(spec);
        if (!Exists)
        {
            await SaveListed(new() { Appliance = appliance, Spec = spec, CreatedAt = time.GetUtcNow() });
            await RequireImageOr(spec.Image, Forget);
        }
        else if (State.Appliance != appliance || !Same(State.Spec!, spec))
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
        VirtualMachineSpecRules.Require(spec);
        var before = State;
        await SaveListed(State with { Spec = spec });
        await RequireImageOr(spec.Image, () => SaveListed(before));
        return View();
    }

    public async Task Delete()
    {
        if (!Exists) return;
        Allow(VirtualMachineCommand.Delete);
        await Forget();
        DeactivateOnIdle();
    }

    public async Task<VirtualMachineView> Power(PowerAction action)
    {
        RequireExists();
        if (VirtualMachineLifecycle.DecidePower(Status, action).OrThrow() is null) return View();
        try
        {
            await Rest(await Host.Power(Id, action));
        }
        catch (Exception exception) when (exception is FaultException or TimeoutException)
        {
            // The host may have done it although its answer was lost.
            if (await Host.Observe(Id) is { } observed) await Rest(observed);
            throw;
        }

        return View();
    }

    public Task<string> ReadConsole(int maxBytes)
    {
        RequireExists();
        if (maxBytes is < 1 or > 65_536) throw FaultException.Invalid("limit-invalid", $"{maxBytes} bytes are asked for: 1 to 65536 are allowed.");
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
            ImageLifecycle.Decide(image.Status, ImageCommand.Use).OrThrow();
            var deployment = Plan(operation, host, image);

            // The layers are referred to before they exist, and the image is asked again once they are: a deletion sees one or the other.
            await SaveListed(State with { Status = next, Deployment = deployment });
            await RequireImageOr(image.Id, () => SaveListed(State with { Status = VirtualMachineStatus.Undeployed, Deployment = null }));
        }

        if (State.Status is VirtualMachineStatus.Deploying) await Rest(await Host.Deploy(Specification(), cancellationToken));
        return View();
    }

    public async Task Undeploy(CaptureEnd end)
    {
        if (!Exists || State.Deployment is not { } deployment) return;
        Allow(VirtualMachineCommand.Undeploy);
        _removing = true;
        try
        {
            var next = deployment.Capture?.NextLayers ?? [];
            await Host.Undeploy(Id, end.Captured ? next : [.. deployment.OwnLayers, .. next]);
            await SaveListed(State with { Status = VirtualMachineStatus.Undeployed, Deployment = null, Spec = Using(end) });
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
        return new(Id, State.Spec!.Name, deployment.Host, State.Spec.Image, deployment.Disks);
    }

    public async Task EndCapture(OperationId operation, CaptureEnd end)
    {
        if (State.Deployment is not { } deployment || deployment.Capture?.Operation != operation) return;
        await GrainFactory.Host(deployment.Host).EndCapture(operation, [Id]);
        var observed = await Host.Observe(Id)
            ?? throw FaultException.Unavailable("virtual-machine-not-on-host", $"The host {deployment.Host} does not know the virtual machine '{State.Spec!.Name}'.");
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
    }

    public async Task<ObserveVerdict> Observe(HostId host, MachineObservation observation)
    {
        if (!Exists || State.Deployment?.Host != host) return ObserveVerdict.Remove;

        // The observation may have waited behind a power action: what counts is what the host sees by now.
        var current = await Host.Observe(Id) ?? observation;
        var next = VirtualMachineLifecycle.Decide(Status, VirtualMachineLifecycle.Observe(current.Status)) is Decision<VirtualMachineStatus>.Accept accept
            ? accept.Next
            : State.Status;
        if (next != State.Status) await SaveListed(State with { Status = next });
        return ObserveVerdict.Keep;
    }

    private IHostGrain Host => GrainFactory.Host(State.Deployment!.Host);

    /// <summary>New writable tops over the image's layers, and blank disks behind them.</summary>
    private Deployment Plan(OperationId operation, HostId host, ImageView image)
    {
        var fromImage = image.Disks.Select(disk => disk.ToChain()).Select(disk => disk with { Layers = [.. disk.Layers, LayerId.New()] });
        var blank = (State.Spec!.DataDisks ?? []).Select(size => new DiskChain([LayerId.New()], size));
        DiskChain[] disks = [.. fromImage, .. blank];
        if (disks.Length > VirtualMachineSpecRules.MaxDisks)
            throw FaultException.Invalid("virtual-machine-invalid", $"The image and the data disks make {disks.Length} disks: {VirtualMachineSpecRules.MaxDisks} are allowed.");
        return new(operation, host, disks, [.. disks.Select(disk => disk.Layers[^1])], State.Spec.PortForwards ?? []);
    }

    private MachineSpec Specification()
    {
        var (spec, deployment) = (State.Spec!, State.Deployment!);
        return new(
            Id, State.Appliance, deployment.Operation, spec.Name, spec.Cpus, spec.MemoryBytes, deployment.Disks,
            spec.PortForwards ?? [], spec.SshAuthorizedKeys ?? [], spec.UserData);
    }

    /// <summary>An image that was captured from this machine holds its data disks too.</summary>
    private VirtualMachineSpec Using(CaptureEnd end) => end.NewImage is { } image ? State.Spec! with { Image = image, DataDisks = null } : State.Spec!;

    private async Task Rest(MachineObservation observed)
    {
        var next = VirtualMachineLifecycle.Decide(State.Status, VirtualMachineLifecycle.Rest(observed.Status)).OrThrow() ?? State.Status;
        if (next == State.Status && observed.PortForwards.SequenceEqual(State.Deployment!.PortForwards)) return;
        await SaveListed(State with { Status = next, Deployment = State.Deployment! with { PortForwards = observed.PortForwards } });
    }

    /// <summary>Reference first, then look: whoever deletes the image marks it first and looks for references then, so that one of the two sees the other.</summary>
    private async Task RequireImageOr(ImageId image, Func<Task> undo)
    {
        try
        {
            ImageLifecycle.Decide((await GrainFactory.Image(image).Get()).Status, ImageCommand.Use).OrThrow();
        }
        catch
        {
            await undo();
            throw;
        }
    }

    private static bool Same(VirtualMachineSpec one, VirtualMachineSpec other) =>
        JsonSerializer.SerializeToUtf8Bytes(one, InstancesJson.Options).AsSpan().SequenceEqual(JsonSerializer.SerializeToUtf8Bytes(other, InstancesJson.Options));

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

    private Task SaveListed(VirtualMachineState next) => Save(next.WithCatalogue(Id));
}
