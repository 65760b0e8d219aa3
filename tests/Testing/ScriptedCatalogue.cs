using System.Collections.Concurrent;
using Instances.Appliances;
using Instances.Catalogue;
using Instances.Enterprises;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.Requests;
using Instances.VirtualMachines;

namespace Instances.Testing;

/// <summary>The real catalogue, which fails on request of a test.</summary>
internal sealed class ScriptedCatalogue(ICatalogue inner) : ICatalogue
{
    private int _failures;
    private TaskCompletionSource? _held;
    private Func<Task>? _afterNextReferences;

    /// <summary>The results of the next queries for users of other enterprises, as if machines had been created or deleted in between.</summary>
    public ConcurrentQueue<Func<IReadOnlyList<VirtualMachineId>>> ForeignUsers { get; } = new();

    /// <summary>The next query for the users of an image fails, as if the database were unreachable.</summary>
    public void FailNextUsersOf() => Volatile.Write(ref _failures, 1);

    /// <summary>The next query for the users of an image never ends: a test kills the silo there.</summary>
    /// <returns>Completes when it has been reached.</returns>
    public Task HoldNextUsersOf()
    {
        _held = new(TaskCreationOptions.RunContinuationsAsynchronously);
        return _held.Task.WaitAsync(Bounds.Wait);
    }

    /// <summary>An action after the next query for all references, before the caller gets the result.</summary>
    public void AfterNextReferences(Func<Task> then) => Volatile.Write(ref _afterNextReferences, then);

    public async Task<IReadOnlyList<VirtualMachineId>> UsersOf(ImageId image, int limit)
    {
        if (Interlocked.Exchange(ref _held, null) is { } held)
        {
            held.SetResult();
            await Task.Delay(Timeout.InfiniteTimeSpan);
        }

        if (Interlocked.Decrement(ref _failures) >= 0) throw new TimeoutException("The database was told to be away.");
        return await inner.UsersOf(image, limit);
    }

    public Task<ImageLineage> Lineage(ImageId image, PageRequest page) => inner.Lineage(image, page);

    public Task<Page<VirtualMachineView>> UsersOf(ImageId image, PageRequest page) => inner.UsersOf(image, page);

    public Task<IReadOnlyList<VirtualMachineId>> UsersOfTree(ImageId master, int limit) => inner.UsersOfTree(master, limit);

    public Task<ImageView?> FindImage(ImageId image) => inner.FindImage(image);

    public Task<IReadOnlyList<RuledInstance>> RuledInstances(ImageId? master) => inner.RuledInstances(master);

    public Task<Page<ApplianceView>> Appliances(EnterpriseId? enterprise, PageRequest page) => inner.Appliances(enterprise, page);

    public Task<Page<EnterpriseView>> Enterprises(PageRequest page) => inner.Enterprises(page);

    public Task<EnterpriseUsage> LibraryUsageOf(EnterpriseId enterprise, IReadOnlyCollection<Guid> except) => inner.LibraryUsageOf(enterprise, except);

    public Task<EnterpriseUsage> MachineUsageOf(EnterpriseId enterprise, IReadOnlyCollection<Guid> except) => inner.MachineUsageOf(enterprise, except);

    public Task<EnterpriseBelongings> BelongingsOf(EnterpriseId enterprise, int limit) => inner.BelongingsOf(enterprise, limit);

    public async Task<IReadOnlyList<VirtualMachineId>> UsersOfOthers(ImageId image, EnterpriseId enterprise, int limit) =>
        ForeignUsers.TryDequeue(out var answer) ? answer() : await inner.UsersOfOthers(image, enterprise, limit);

    /// <summary>A machine that lists leave out, as if a later release had written its record; null for none.</summary>
    public VirtualMachineId? Unlisted { get; set; }

    public async Task<Page<VirtualMachineView>> VirtualMachines(ApplianceId appliance, PageRequest page)
    {
        var found = await inner.VirtualMachines(appliance, page);
        return found with { Items = [.. found.Items.Where(view => view.Id != Unlisted)] };
    }

    public Task<Page<ImageView>> Images(ImageFilter filter, PageRequest page) => inner.Images(filter, page);

    public Task<Page<OperationView>> Operations(OperationFilter filter, PageRequest page) => inner.Operations(filter, page);

    public Task<IReadOnlyList<VirtualMachineId>> MachinesOn(HostId host) => inner.MachinesOn(host);

    public Task<IReadOnlyList<VirtualMachineView>> DeployedMachines() => inner.DeployedMachines();

    public Task<IReadOnlyList<ApplianceView>> BusyAppliances() => inner.BusyAppliances();

    public Task<IReadOnlyList<OperationView>> OpenOperations() => inner.OpenOperations();

    public Task<IReadOnlyList<ImageId>> SlavesOf(ImageId master, int limit) => inner.SlavesOf(master, limit);

    public Task<IReadOnlyList<ImageId>> CapturedFrom(VirtualMachineId machine) => inner.CapturedFrom(machine);

    public Task<IReadOnlyList<ImageId>> ImagesIn(ImageStatus status) => inner.ImagesIn(status);

    public async Task<IReadOnlySet<LayerId>> ReferencedLayers()
    {
        var referenced = await inner.ReferencedLayers();
        if (Interlocked.Exchange(ref _afterNextReferences, null) is { } then) await then();
        return referenced;
    }

    public Task<IReadOnlyList<ImageId>> ImagesOn(LayerId layer) => inner.ImagesOn(layer);

    public Task<IReadOnlyDictionary<LayerId, int>> LayerUses() => inner.LayerUses();

    public Task<IReadOnlyList<ImageView>> ImagesOfDepth(int layers) => inner.ImagesOfDepth(layers);

    public Task<IReadOnlyList<ImageLayers>> ImageLayers() => inner.ImageLayers();

    public Task<IReadOnlySet<ImageId>> KnownImages() => inner.KnownImages();

    public Task<IReadOnlyList<RequestId>> RequestsBefore(DateTimeOffset before, int limit) => inner.RequestsBefore(before, limit);
}
