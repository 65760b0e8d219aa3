using Instances.Catalogue;
using Instances.Enterprises;
using Instances.Faults;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.Requests;
using Instances.Sagas;
using Instances.Storage;
using Instances.VirtualMachines;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.Runtime;

namespace Instances.Appliances;

/// <summary>The calls of users to an appliance. The other parts of this class run its operations.</summary>
internal sealed partial class ApplianceGrain(
    [PersistentState("appliance", StorageNames.Grains)] IPersistentState<ApplianceState> stored,
    SagaEngine engine,
    ISagaProbe probe,
    ICatalogue catalogue,
    RetentionWork retention,
    Drain drain,
    IOptions<OperationOptions> options,
    IOptions<HostOptions> host,
    TimeProvider time,
    ILogger<ApplianceGrain> logger)
    : StoredGrain<ApplianceState>(stored), IApplianceGrain, IRemindable
{
    public const int MaxVirtualMachines = 1000;

    public ApplianceId Id => new(this.GetPrimaryKey());

    public async Task<ApplianceView> Create(ApplianceSpec spec)
    {
        var wanted = Require(spec);
        if (!Exists)
        {
            await GrainFactory.RequireNotDeleted(Id.Value, "appliance-deleted", "an appliance");
            await GrainFactory.Claim(wanted.Enterprise, Id.Value, EnterpriseUsage.None, () => SaveListed(new ApplianceState
            {
                Name = wanted.Name, Description = wanted.Description, Retention = wanted.Retention, Enterprise = wanted.Enterprise, CreatedAt = time.GetUtcNow(),
            }), takeBack: async _ =>
            {
                await Forget();
                return true;
            });
        }
        else if (wanted != State.ToView(Id).ToSpec())
        {
            throw FaultException.Conflict("appliance-exists", "An appliance with this id and another name, description, retention rule or enterprise exists.");
        }

        return State.ToView(Id);
    }

    public Task<ApplianceView> Get()
    {
        RequireExists();
        return Task.FromResult(State.ToView(Id));
    }

    public Task<ApplianceView> Change(ApplianceSpec spec)
    {
        Allow(ApplianceCommand.Edit);
        return Change(spec, ifVersions: []);
    }

    public Task<ApplianceView> Patch(PatchDocument patch, IReadOnlyList<long> ifVersions)
    {
        Allow(ApplianceCommand.Edit);
        return Change(patch.ApplyTo(State.ToView(Id).ToSpec()), ifVersions);
    }

    private async Task<ApplianceView> Change(ApplianceSpec spec, IReadOnlyList<long> ifVersions)
    {
        var wanted = Require(spec);
        if (wanted == State.ToView(Id).ToSpec()) return State.ToView(Id);
        RequireVersion(ifVersions);
        if (wanted.Enterprise != State.Enterprise)
            throw FaultException.Invalid("enterprise-fixed", $"The appliance belongs to the enterprise {State.Enterprise}, which cannot be changed: create another appliance in the other enterprise.");
        await SaveListed(State with { Name = wanted.Name, Description = wanted.Description, Retention = wanted.Retention, Version = State.Version + 1 });
        return State.ToView(Id);
    }

    public async Task Delete(IReadOnlyList<long>? ifVersions)
    {
        Allow(ApplianceCommand.Delete);
        RequireVersion(ifVersions ?? []);
        await Closed();

        // Also machines that were created and did not become members because of a crash.
        var made = await catalogue.VirtualMachines(Id, new(PageRequest.MaxLimit));
        await FanOut.Each(State.VirtualMachines.Select(member => member.Id).Union(made.Items.Select(view => view.Id)), id => GrainFactory.VirtualMachine(id).Delete());
        await GrainFactory.KeepDeleted(Id.Value);
        await Forget();
        DeactivateOnIdle();
    }

    public async Task<VirtualMachineView> AddVirtualMachine(VirtualMachineId id, VirtualMachineSpec spec)
    {
        Allow(ApplianceCommand.Edit);
        RequireFreeName(spec.Name, except: id);
        if (State.VirtualMachines.Count >= MaxVirtualMachines && !IsMember(id))
            throw FaultException.Capacity("too-many-virtual-machines", $"An appliance has at most {MaxVirtualMachines} virtual machines: use a second appliance.");

        await RequireFreePorts(spec, except: id);

        // Create the machine first: a member that does not exist would be worse than a machine that its appliance does not know.
        var view = await GrainFactory.VirtualMachine(id).Create(Id, State.Enterprise, spec);
        if (!IsMember(id)) await SaveListed(State with { VirtualMachines = [.. State.VirtualMachines, MemberOf(view)] });
        return view;
    }

    public Task<VirtualMachineView> ChangeVirtualMachine(VirtualMachineId id, VirtualMachineSpec spec)
    {
        Allow(ApplianceCommand.Edit);
        RequireMember(id);
        return Change(id, spec);
    }

    public async Task<VirtualMachineView> PatchVirtualMachine(VirtualMachineId id, PatchDocument patch, IReadOnlyList<long> ifVersions)
    {
        Allow(ApplianceCommand.Edit);
        RequireMember(id);

        // Only the appliance changes its machines, one call at a time. So the machine cannot change in between.
        var machine = GrainFactory.VirtualMachine(id);
        var (present, view) = (await machine.GetSpec(), await machine.Get());
        var wanted = VirtualMachineSpecRules.Normalized(patch.ApplyTo(present));
        if (VirtualMachineSpecRules.AreSame(present, wanted)) return view;
        RequireVersion(view, ifVersions);
        return await Change(id, wanted);
    }

    private async Task<VirtualMachineView> Change(VirtualMachineId id, VirtualMachineSpec spec)
    {
        RequireFreeName(spec.Name, except: id);
        await RequireFreePorts(spec, except: id);
        var view = await GrainFactory.VirtualMachine(id).Change(spec);
        await SaveListed(State with { VirtualMachines = [.. State.VirtualMachines.Select(member => member.Id == id ? MemberOf(view) : member)] });
        return view;
    }

    public async Task RemoveVirtualMachine(VirtualMachineId id, IReadOnlyList<long>? ifVersions)
    {
        Allow(ApplianceCommand.Edit);

        // A crash may have left a machine that is no member, or a member without a record.
        var machine = GrainFactory.VirtualMachine(id);
        var found = await Find(machine);
        if (!IsMember(id) && found?.Appliance != Id) throw NoSuchMachine();
        if (found is not null) RequireVersion(found, ifVersions ?? []);
        await machine.Delete();
        await SaveListed(State with { VirtualMachines = [.. State.VirtualMachines.Where(member => member.Id != id)] });
    }

    public async Task<OperationView> Deploy(OperationId operation)
    {
        if (await Known(operation, OperationKind.Deploy) is { } known) return known;
        var next = Allow(ApplianceCommand.Deploy);
        var views = await Members();
        if (views.Count == 0)
            throw FaultException.Conflict("appliance-empty", "The appliance is Undeployed and has no virtual machines: add one before you deploy it.");
        var missing = views.Where(view => view.Status is VirtualMachineStatus.Undeployed).ToList();
        if (missing.Count == 0)
            throw FaultException.Conflict("appliance-deployed", "The appliance is Deployed with all its virtual machines: there is nothing to deploy.");
        await RequireReady(missing);
        var demand = new EnterpriseUsage(VirtualMachines: missing.Count, Cpus: missing.Sum(view => view.EffectiveCpus), MemoryBytes: missing.Sum(view => view.EffectiveMemoryBytes));
        await Closed();
        return await GrainFactory.Claim(State.Enterprise, Id.Value, demand, () =>
            Accept(new(operation, OperationKind.Deploy, SagaPhase.Forward, time.GetUtcNow(), State.Status, Chosen(missing)), next), takeBack: fault => Refuse(operation, fault));
    }

    public async Task<OperationView> Undeploy(OperationId operation, bool force)
    {
        if (await Known(operation, OperationKind.Undeploy, force: force) is { } known) return known;
        var next = Allow(ApplianceCommand.Undeploy);
        await Closed();
        return await Accept(
            new(operation, OperationKind.Undeploy, SagaPhase.Committed, time.GetUtcNow(), ApplianceStatus.Undeployed, State.VirtualMachines, AskedForced: force, Forced: force), next);
    }

    public async Task<OperationView> CreateInstance(OperationId operation, CreateInstanceCommand command)
    {
        if (await Known(operation, OperationKind.CreateInstance, command) is { } known) return known;
        var next = Allow(ApplianceCommand.CreateInstance);
        var chosen = Choose(await Members(), command.VirtualMachines);
        var virtualBytes = chosen.SelectMany(view => view.Disks).Sum(disk => disk.VirtualSizeBytes);
        var plan = new CapturePlan(command, await FanOut.Results(chosen, Plan), virtualBytes);
        await Closed();
        return await GrainFactory.Claim(State.Enterprise, Id.Value, new EnterpriseUsage(Images: chosen.Count, VirtualBytes: virtualBytes), () => Accept(
            new(operation, OperationKind.CreateInstance, SagaPhase.Forward, time.GetUtcNow(), ApplianceStatus.Deployed, Chosen(chosen), Capture: plan), next),
            takeBack: fault => Refuse(operation, fault));
    }

    /// <summary>The machines to capture.</summary>
    private static List<VirtualMachineView> Choose(IReadOnlyList<VirtualMachineView> members, IReadOnlyList<VirtualMachineId>? choice)
    {
        var chosen = choice is null
            ? members.Where(view => view.Status is not VirtualMachineStatus.Undeployed).ToList()
            : [.. choice.Select(Member)];
        if (chosen.Count == 0) throw FaultException.Invalid("choice-empty", "No virtual machine is chosen: name at least one, or ask for all.");
        if (chosen.DistinctBy(view => view.Id).Count() < chosen.Count) throw FaultException.Invalid("choice-repeated", "A virtual machine is chosen twice: name each once.");
        foreach (var view in chosen)
        {
            if (view.Status is VirtualMachineStatus.Undeployed)
                throw FaultException.Conflict("virtual-machine-not-deployed", $"The virtual machine '{view.Name}' is Undeployed and has nothing to capture: deploy the appliance, or leave it out.");
            if (view.Status is VirtualMachineStatus.Unknown)
                throw FaultException.Unavailable("host-unavailable", $"The virtual machine '{view.Name}' is Unknown: {view.Problem}");
            if (view.Status is not (VirtualMachineStatus.Running or VirtualMachineStatus.Paused or VirtualMachineStatus.Stopped))
                throw FaultException.Conflict("virtual-machine-busy", $"The virtual machine '{view.Name}' is {view.Status}: wait until its operation has ended.");
        }

        return chosen;

        VirtualMachineView Member(VirtualMachineId id) => members.SingleOrDefault(view => view.Id == id)
            ?? throw FaultException.Invalid("virtual-machine-not-in-appliance", $"The virtual machine {id} is not in this appliance: choose machines of this appliance.");
    }

    private async Task<PlannedInstance> Plan(VirtualMachineView machine)
    {
        var parent = await GrainFactory.Image(machine.Image).Get();
        var master = parent.Master is { } id ? await GrainFactory.Image(id).Get() : parent;
        var image = ImageId.New();
        return new(
            machine.Id, machine.Name, image, $"{master.Name}-{image}", master.Id, parent.Id, [.. machine.Disks.Select(_ => LayerId.New())]);
    }

    private async Task RequireReady(IReadOnlyList<VirtualMachineView> machines)
    {
        foreach (var users in machines.GroupBy(view => view.Image))
        {
            var image = await GrainFactory.Image(users.Key).Get();
            ImageRules.RequireUsable(image, State.Enterprise);
            foreach (var machine in users) VirtualMachineSpecRules.RequireEnough(machine.Name, machine.EffectiveCpus, machine.EffectiveMemoryBytes, image);
        }
    }

    private static ApplianceSpec Require(ApplianceSpec spec) =>
        new(Names.Require(spec.Name, "an appliance"), Names.RequireDescription(spec.Description), ImageRules.Require(spec.Retention)) { Enterprise = spec.Enterprise };

    /// <summary>Members without a record are dropped: a crash has interrupted their removal.</summary>
    private async Task<IReadOnlyList<VirtualMachineView>> Members()
    {
        var views = await Views(State.VirtualMachines);
        if (views.Count < State.VirtualMachines.Count)
        {
            var found = views.Select(view => view.Id).ToHashSet();
            await SaveListed(State with { VirtualMachines = [.. State.VirtualMachines.Where(member => found.Contains(member.Id))] });
        }

        return views;
    }

    public async Task<IReadOnlyList<VirtualMachineView>> Views(IReadOnlyList<ApplianceMember> machines)
    {
        var views = new Dictionary<VirtualMachineId, VirtualMachineView>();
        string? cursor = null;
        do
        {
            var page = await catalogue.VirtualMachines(Id, new(PageRequest.MaxLimit, cursor));
            foreach (var view in page.Items) views[view.Id] = view;
            cursor = page.NextCursor;
        }
        while (cursor is not null);

        // The catalogue leaves out what it cannot read, such as a record of a later release.
        var unlisted = machines.Where(machine => !views.ContainsKey(machine.Id));
        foreach (var view in (await FanOut.Results(unlisted, machine => Find(GrainFactory.VirtualMachine(machine.Id)))).OfType<VirtualMachineView>()) views[view.Id] = view;
        return [.. machines.Select(machine => views.GetValueOrDefault(machine.Id)).OfType<VirtualMachineView>()];
    }

    private static IReadOnlyList<ApplianceMember> Chosen(IEnumerable<VirtualMachineView> views) => [.. views.Select(view => new ApplianceMember(view.Id, view.Name))];

    private ApplianceStatus Allow(ApplianceCommand command)
    {
        RequireExists();
        return ApplianceLifecycle.Decide(State.Status, command).OrThrow() ?? State.Status;
    }

    private void RequireExists()
    {
        if (!Exists) throw FaultException.NotFound("appliance-not-found", "There is no such appliance.");
    }

    private void RequireVersion(IReadOnlyList<long> versions)
    {
        if (versions.Count > 0 && !versions.Contains(State.Version)) throw Changed("appliance-changed", "The appliance", State.Version);
    }

    private static void RequireVersion(VirtualMachineView machine, IReadOnlyList<long> versions)
    {
        if (versions.Count > 0 && !versions.Contains(machine.Version)) throw Changed("virtual-machine-changed", $"The virtual machine '{machine.Name}'", machine.Version);
    }

    private static FaultException Changed(string code, string what, long version) => new(new(
        FaultKind.Changed, code, $"{what} has been changed since: it has version {version}, which If-Match does not name. Read it again, and decide again."));

    private bool IsMember(VirtualMachineId id) => State.VirtualMachines.Any(member => member.Id == id);

    private void RequireMember(VirtualMachineId id)
    {
        if (!IsMember(id)) throw NoSuchMachine();
    }

    private static FaultException NoSuchMachine() => FaultException.NotFound("virtual-machine-not-found", "There is no such virtual machine in this appliance.");

    private void RequireFreeName(string? name, VirtualMachineId except)
    {
        if (State.VirtualMachines.Any(member => member.Id != except && string.Equals(member.Name, name, StringComparison.OrdinalIgnoreCase)))
            throw FaultException.Conflict("name-taken", $"Another virtual machine of this appliance is named '{name}': choose another name.");
    }

    private static ApplianceMember MemberOf(VirtualMachineView view) => new(view.Id, view.Name, HostPort.Of(view.PortForwards));

    /// <exception cref="FaultException">port-in-use.</exception>
    private async Task RequireFreePorts(VirtualMachineSpec spec, VirtualMachineId except)
    {
        foreach (var wanted in HostPort.Of(spec.PortForwards))
        {
            if (host.Value.OwnPorts.Contains(wanted.Port) && wanted.Protocol is TransportProtocol.Tcp)
                throw FaultException.Conflict("port-in-use", $"Port {wanted.Port} is the server's own: choose another hostPort, or 0 to have a free one chosen.");
            foreach (var member in State.VirtualMachines.Where(member => member.Id != except))
            {
                var taken = member.HostPorts ?? HostPort.Of((await Find(GrainFactory.VirtualMachine(member.Id)))?.PortForwards);
                if (taken.Contains(wanted))
                    throw FaultException.Conflict("port-in-use", $"Port {wanted.Port} is the hostPort of the virtual machine '{member.Name}' of this appliance: choose another, or 0 to have a free one chosen.");
            }
        }
    }

    private Task SaveListed(ApplianceState next) => SaveListed(_ => next);

    private Task SaveListed(Func<ApplianceState, ApplianceState> change) => Save(state => change(state).WithCatalogue(Id));
}
