using Instances.Faults;
using Instances.Library;

namespace Instances.Hosts;

/// <summary>The host's layers: a cache of the library's layers, and captured layers that the library does not have yet.</summary>
internal sealed partial class HostGrain
{
    /// <summary>How long requested layers count as used, even without a machine: a large deployment may still be starting other machines.</summary>
    private static readonly TimeSpan UseBound = TimeSpan.FromHours(1);

    private readonly Dictionary<LayerId, long> _used = [];
    private IGrainTimer? _sweeping;
    private bool _isSweepDue;

    public Task<TransferProgress> Fetch(IReadOnlyList<LayerManifest> wanted)
    {
        Use(wanted.Select(layer => layer.Id));
        return layers.Pull([.. wanted.Select(layer => layer.Id)], OfLibrary);

        async Task<IReadOnlyList<LayerOffer>> OfLibrary(IReadOnlyList<LayerId> missing)
        {
            var known = wanted.ToDictionary(layer => layer.Id, layer => layer.Sha256);
            return [.. (await GrainFactory.Library().Offer(missing)).Select(offer => offer with { Sha256 = known[offer.Id] ?? offer.Sha256 })];
        }
    }

    public Task<IReadOnlyList<LayerOffer>> Offer(IReadOnlyList<LayerId> wanted) => Task.FromResult<IReadOnlyList<LayerOffer>>([.. wanted.Select(layers.Offer)]);

    public async Task<SweepReport> Sweep()
    {
        await Adopted();
        foreach (var forgotten in _used.Where(use => time.GetElapsedTime(use.Value) > UseBound).ToList()) _used.Remove(forgotten.Key);
        if (Problem is not null || await IsLibrarys()) return new(0, 0, 0);

        // List the files first, then the references: a reference is durable before its file is created.
        var stored = layers.List();
        var judgement = await GrainFactory.Library().Judge([.. stored.Select(layer => layer.Id)]);
        var (unreferenced, kept) = (judgement.Unreferenced.ToHashSet(), judgement.Kept.ToHashSet());
        var chained = await hypervisor.UsedLayers();

        var (bytes, removed, removedBytes) = (stored.Sum(layer => layer.Bytes), 0, 0L);
        foreach (var layer in stored.OrderBy(layer => layer.LastUsed))
        {
            // There is no await between the check and the deletion, so that no start can come in between.
            var isEvicted = bytes > layers.CacheBytes && kept.Contains(layer.Id) && (layer.IsSealed || layer.IsPartial) && !_used.ContainsKey(layer.Id);
            if (chained.Contains(layer.Id) || (!unreferenced.Contains(layer.Id) && !isEvicted)) continue;
            await layers.Delete(layer.Id);
            _used.Remove(layer.Id);
            (bytes, removed, removedBytes) = (bytes - layer.Bytes, removed + 1, removedBytes + layer.Bytes);
        }

        if (removed > 0) LogSwept(Id.Name, removed, removedBytes);
        return new(removed, removedBytes, Manifests: 0);
    }

    public async Task SweepSoon()
    {
        if (await IsLibrarys()) await GrainFactory.Library().SweepSoon();
        else ScheduleSweep();
    }

    /// <summary>If the disk is full, the next start does it.</summary>
    private void MarkStore()
    {
        try
        {
            layers.AddUser(Id);
        }
        catch (FaultException exception) when (exception.Fault.Code == "no-space")
        {
            LogSweepFailed(Id.Name, exception.Message);
        }
    }

    /// <summary>The sweep begins after the delay, even if more calls come meanwhile.</summary>
    private void ScheduleSweep()
    {
        if (_isSweepDue) return;
        _isSweepDue = true;
        _sweeping!.Change(options.Value.SweepDelay, library.Value.SweepPeriod);
    }

    /// <summary>Runs the sweep of this host's layers now, here or in the library. Only the sweep deletes layers: it knows all references.</summary>
    private async Task SweepNow()
    {
        if (await IsLibrarys()) await GrainFactory.Library().Sweep();
        else await Sweep();
    }

    /// <summary>Whether this host's folder is the library's, which the library sweeps.</summary>
    private async Task<bool> IsLibrarys() => (await GrainFactory.Library().Get()).Store == layers.Id;

    private async Task SweepTick(CancellationToken cancellationToken)
    {
        _isSweepDue = false;
        try
        {
            if (await IsLibrarys()) await GrainFactory.Library().SweepSoon();
            else await Sweep();
        }
        catch (Exception exception) when (exception is FaultException or TimeoutException or Orleans.Runtime.OrleansException)
        {
            LogSweepFailed(Id.Name, exception.Message);
        }
    }

    /// <summary>A start needs these layers from now on: they are not evicted, and count as most recently used.</summary>
    private void Use(IEnumerable<LayerId> used)
    {
        foreach (var layer in used)
        {
            _used[layer] = time.GetTimestamp();
            layers.Touch(layer);
        }
    }
}
