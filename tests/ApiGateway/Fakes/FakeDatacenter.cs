using System.Collections.Concurrent;
using Instances.Appliances;
using Instances.Catalogue;
using Instances.Enterprises;
using Instances.Faults;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;
using Orleans;
using Orleans.Runtime;

namespace Instances.Fakes;

/// <summary>The state of the scripted grains. Everything is kept by id, so that tests can run in parallel in one cluster.</summary>
internal sealed class FakeDatacenter
{
    public const string Secret = "the-secret-of-every-ticket";

    /// <summary>Thrown by every call of the grain with that key.</summary>
    public ConcurrentDictionary<Guid, Exception> Failures { get; } = [];

    public ConcurrentDictionary<ApplianceId, ApplianceSpec> Appliances { get; } = [];

    /// <summary>The enterprises with their versions.</summary>
    public ConcurrentDictionary<EnterpriseId, (EnterpriseSpec Spec, long Version)> Enterprises { get; } = [];

    public ConcurrentDictionary<ApplianceId, CreateInstanceCommand> Commands { get; } = [];

    public ConcurrentDictionary<VirtualMachineId, (ApplianceId Appliance, VirtualMachineSpec Spec)> Machines { get; } = [];

    public ConcurrentDictionary<OperationId, ScriptedOperation> Operations { get; } = [];

    public ConcurrentDictionary<ImageId, (OperationId Operation, ImportCommand Command)> Imports { get; } = [];

    /// <summary>Images that clients change, with their versions.</summary>
    public ConcurrentDictionary<ImageId, (ImageSpec Spec, long Version)> Images { get; } = [];

    /// <summary>The filters of the requested lists, by the name in the filter.</summary>
    public ConcurrentDictionary<string, ImageFilter> Filters { get; } = [];

    /// <summary>The offsets of uploads in parts, by the names of their images.</summary>
    public ConcurrentDictionary<string, long> Offsets { get; } = [];

    /// <summary>The files that imports were begun from.</summary>
    public ConcurrentDictionary<ImageId, string> Paths { get; } = [];

    public ConcurrentDictionary<ImageId, (ImageId Source, string? Name)> Promotions { get; } = [];

    /// <summary>The layers of the library, each with its SHA-256 if that is known.</summary>
    public ConcurrentDictionary<LayerId, string?> LayerDigests { get; } = [];

    /// <summary>Requests whose running attempt counts as dead for the next one.</summary>
    public ConcurrentDictionary<Guid, bool> EndedLeases { get; } = [];

    /// <summary>The number of power actions of each machine.</summary>
    public ConcurrentDictionary<VirtualMachineId, int> PowerActions { get; } = [];

    /// <summary>Whether the reachable host is in maintenance.</summary>
    public bool Maintenance { get; set; }

    /// <summary>The address in tickets.</summary>
    public Uri? DataPlane { get; set; }

    public OperationView Begin(OperationId id, OperationKind kind, ApplianceId? appliance = null, ImageId? image = null, CreateInstanceCommand? command = null, bool forced = false) =>
        Operations.GetOrAdd(id, _ => new ScriptedOperation(Views.Operation(id, 1, OperationStatus.Running) with
        {
            Kind = kind,
            Appliance = appliance,
            Image = image,
            Command = command,
            Forced = forced,
        })).Newest;
}

/// <summary>An operation whose versions the test publishes.</summary>
internal sealed class ScriptedOperation(OperationView first)
{
    private readonly Lock _lock = new();
    private OperationView _newest = first;
    private TaskCompletionSource _changed = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public OperationView Newest
    {
        get
        {
            lock (_lock) return _newest;
        }
    }

    /// <summary>Completed by the next version.</summary>
    public Task Changed
    {
        get
        {
            lock (_lock) return _changed.Task;
        }
    }

    public void Publish(long version, OperationStatus status = OperationStatus.Running) => Change(newest => newest with { Version = version, Status = status });

    public void Fail(Fault fault) => Change(newest => newest with { Version = newest.Version + 1, Status = OperationStatus.Failed, Fault = fault });

    private void Change(Func<OperationView, OperationView> change)
    {
        TaskCompletionSource changed;
        lock (_lock)
        {
            _newest = change(_newest);
            changed = _changed;
            _changed = new(TaskCreationOptions.RunContinuationsAsynchronously);
        }

        changed.SetResult();
    }
}

/// <summary>Throws the exceptions of <see cref="FakeDatacenter.Failures"/>.</summary>
internal sealed class FailureFilter(FakeDatacenter datacenter) : IIncomingGrainCallFilter
{
    public Task Invoke(IIncomingGrainCallContext context) =>
        context.TargetId.TryGetGuidKey(out var key, out _) && datacenter.Failures.TryGetValue(key, out var failure) ? throw failure : context.Invoke();
}

internal static class Views
{
    public static readonly DateTimeOffset At = new(2026, 1, 2, 3, 4, 5, TimeSpan.Zero);

    public static OperationView Operation(OperationId id, long version, OperationStatus status) => new(
        id, OperationKind.Deploy, status, Appliance: null, Image: null, Step: "start", [new("start", StepStatus.Running)], [], At, FinishedAt: null, version,
        Cancellable: true, Fault: null, Result: null);

    public static ApplianceView Appliance(ApplianceId id, ApplianceSpec spec) =>
        new(id, spec.Name, spec.Description, ApplianceStatus.Undeployed, Operation: null, [], At, spec.Retention) { Enterprise = spec.Enterprise };

    public static EnterpriseView Enterprise(EnterpriseId id, EnterpriseSpec spec, long version) => new(id, spec.Name, spec.Quotas ?? EnterpriseQuotas.None, version, At);

    public static VirtualMachineView Machine(VirtualMachineId id, ApplianceId appliance, VirtualMachineSpec spec) => new(
        id, appliance, spec.Name, VirtualMachineStatus.Undeployed, spec.Image, spec.DataDisks ?? [], Host: null, [], At)
    {
        Cpus = spec.Cpus,
        MemoryBytes = spec.MemoryBytes,
        PortForwards = spec.PortForwards ?? [],
        EffectiveCpus = spec.Cpus ?? 1,
        EffectiveMemoryBytes = spec.MemoryBytes ?? 256L << 20,
        EffectivePortForwards = spec.PortForwards ?? [],
    };

    public static ImageView Image(ImageId id, string name, ImageStatus status = ImageStatus.Ready) => new(
        id, name, ImageKind.Master, status, Master: null, Parent: null, 0, [], At, RetiredAt: null, Import: null, Capture: null, Failure: null);
}
