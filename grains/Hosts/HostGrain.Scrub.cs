using Instances.Faults;
using Instances.Library;
using Instances.VirtualMachines;

namespace Instances.Hosts;

/// <summary>Checks that this host's copies of layers have the hashes that the library expects. If the store is the library's own, the library's scrub reads it.</summary>
/// <remarks>
/// A copy is <i>doubted</i> when the library finds its own file corrupt, or has replaced it: the two may be one file, or come from one disk.
/// No machine starts on a doubted or corrupt copy: the host reads it, and replaces it by the library's, or refuses the start. A running machine keeps its open file:
/// its record says so until it is powered off.
/// </remarks>
internal sealed partial class HostGrain
{
    /// <summary>How often the host scans for copies that are due to be read.</summary>
    private static readonly TimeSpan ScrubLookPeriod = TimeSpan.FromMinutes(5);

    /// <summary>The copies that are being read or replaced for a start. Several machines may use one layer.</summary>
    private readonly Dictionary<LayerId, Task<bool>> _mending = [];

    /// <summary>Machines that were running on a copy when it was found corrupt.</summary>
    private readonly Dictionary<VirtualMachineId, LayerId> _onBadCopy = [];

    /// <summary>Dead machines that are not restarted because of a corrupt layer, each with a sentence for users.</summary>
    private readonly Dictionary<VirtualMachineId, string> _heldBack = [];

    private IGrainTimer? _scrubbing;
    private bool _hasDoubts;

    public async Task Doubt(LayerId layer, string sha256)
    {
        if (!layers.Contains(layer) || await IsLibrarys()) return;
        layers.Doubt(layer, sha256);
        _hasDoubts = true;
        _scrubbing!.Change(TimeSpan.Zero, ScrubLookPeriod);
    }

    private IReadOnlyList<LayerId> CorruptCopies() => [.. layers.Checks().Where(check => check.IsCorrupt).Select(check => check.Layer)];

    private async Task Scrub(CancellationToken cancellationToken)
    {
        using var end = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken, _stop.Token);
        try
        {
            if (await IsLibrarys())
            {
                // The library's scrub has read the files.
                await ReleaseHeldBack();
                return;
            }

            _hasDoubts = false;
            var known = await DoubtWhatTheLibraryReplaced();
            foreach (var due in await ToRead(known))
            {
                // Copies that became doubted meanwhile are read first: the timer is set.
                if (_hasDoubts) break;
                await ReadCopy(known[due.Layer], due.IsDoubted || due.IsCorrupt ? long.MaxValue : library.Value.ScrubBytesPerSecond, end.Token);
            }

            await GrainFactory.Scrub().Report(Id, await Task.Run(CorruptCopies));
        }
        catch (OperationCanceledException) when (end.IsCancellationRequested)
        {
            // The silo ends.
        }
        catch (Exception exception)
        {
            // Exceptions of any type: a library of an older release does not know these calls.
            LogNotScrubbed(Id.Name, exception.Message);
        }
    }

    /// <summary>Called before any machine is restarted. If the library is unreachable, the next check does it.</summary>
    private async Task LearnOfCorruptLayers()
    {
        try
        {
            if (!await IsLibrarys()) await DoubtWhatTheLibraryReplaced();
        }
        catch (Exception exception)
        {
            LogNotScrubbed(Id.Name, exception.Message);
        }
    }

    /// <summary>A host that was unreachable while the library replaced a layer gets the information here.</summary>
    /// <returns>What the library knows of the layers of this host.</returns>
    private async Task<Dictionary<LayerId, KnownLayer>> DoubtWhatTheLibraryReplaced()
    {
        var checks = await Task.Run(layers.Checks);
        var known = (await GrainFactory.Library().Know([.. checks.Select(check => check.Layer)])).ToDictionary(layer => layer.Layer);
        foreach (var check in checks.Where(check => known.TryGetValue(check.Layer, out var layer) && (layer.IsCorrupt || layer.HealedAt > (check.CheckedAt ?? check.HealedAt ?? DateTimeOffset.MinValue))))
        {
            if (!check.IsDoubted && !check.IsCorrupt) layers.Doubt(check.Layer, known[check.Layer].Sha256);
        }

        return known;
    }

    /// <summary>Doubted copies first, then the one that has been unread for the longest time.</summary>
    private Task<List<LayerCheck>> ToRead(Dictionary<LayerId, KnownLayer> known) => Task.Run(() =>
    {
        var since = time.GetUtcNow() - library.Value.ScrubPeriod;
        return layers.Checks().Where(check => known.ContainsKey(check.Layer) && (check.IsDoubted || check.IsCorrupt || check.IsDue(since)))
            .OrderByDescending(check => check.IsDoubted || check.IsCorrupt).ThenBy(check => check.CheckedAt ?? DateTimeOffset.MinValue).ToList();
    });

    private async Task ReadCopy(KnownLayer layer, long bytesPerSecond, CancellationToken cancellationToken)
    {
        try
        {
            var check = await layers.Check(layer.Layer, layer.Sha256, bytesPerSecond, cancellationToken);
            if (!check.IsCorrupt)
            {
                await ReleaseHeldBack();
                return;
            }

            LogCorruptCopy(Id.Name, layer.Layer.Value, check.Found);
            if (layer.IsCorrupt) await MarkRunning(layer.Layer);
            else await Replace(layer.Layer, cancellationToken);
        }
        catch (FaultException exception)
        {
            // The layer was swept meanwhile, or the library did not send its own: the next check retries.
            LogCopyNotReplaced(Id.Name, layer.Layer.Value, exception.Message);
        }
    }

    /// <summary>Replaces a corrupt copy by the library's file.</summary>
    private async Task<bool> Replace(LayerId layer, CancellationToken cancellationToken)
    {
        await MarkRunning(layer);
        if (!await layers.Heal(layer, "library", async () => (await GrainFactory.Library().Offer([layer]))[0], cancellationToken)) return false;
        LogCopyReplaced(Id.Name, layer.Value);
        await ReleaseHeldBack();
        return true;
    }

    /// <summary>Restarts the machines whose layers are all sound now: a copy was replaced, or the operator has restored a file.</summary>
    private async Task ReleaseHeldBack()
    {
        foreach (var machine in _heldBack.Keys.ToList())
        {
            if (await hypervisor.Find(machine) is { } found && found.Disks.SelectMany(disk => disk.Layers).Any(IsSuspect)) continue;
            _heldBack.Remove(machine);
            _restarts.Forget(machine);
            _unheard.Add(machine);
        }
    }

    private bool IsSuspect(LayerId layer) => layers.FindCheck(layer) is { IsCorrupt: true } or { IsDoubted: true };

    private async Task MarkRunning(LayerId layer)
    {
        foreach (var machine in await hypervisor.List())
        {
            if (machine.Status is VirtualMachineStatus.Stopped || !machine.Disks.Any(disk => disk.Layers.Contains(layer))) continue;
            if (_onBadCopy.TryAdd(machine.Id, layer)) _unheard.Add(machine.Id);
        }
    }

    /// <summary>No machine starts on a layer that is known to be corrupt: the host reads a doubted copy first, and replaces a corrupt one by the library's.</summary>
    /// <exception cref="FaultException">layer-corrupt.</exception>
    private async Task RequireSound(IEnumerable<LayerId> chain)
    {
        foreach (var layer in chain)
        {
            if (!IsSuspect(layer)) continue;
            if (!_mending.TryGetValue(layer, out var mending) || mending.IsCompleted) _mending[layer] = mending = Mend(layer);
            try
            {
                if (await mending) continue;
            }
            finally
            {
                if (_mending.GetValueOrDefault(layer) == mending) _mending.Remove(layer);
            }

            throw FaultException.Conflict("layer-corrupt",
                $"The copy of the layer {layer} on the host {Id} is corrupt, and the library has no good one: no machine is started on it. 'silo library verify' shows what is missing; restore the file from a backup.");
        }
    }

    private async Task<bool> Mend(LayerId layer)
    {
        try
        {
            if (layers.FindCheck(layer) is { IsDoubted: true, Sha256: { } sha256 } && !(await layers.Check(layer, sha256, long.MaxValue, _stop.Token)).IsCorrupt) return true;
            return !await IsLibrarys() && await Replace(layer, _stop.Token);
        }
        catch (Exception exception) when (exception is FaultException or TimeoutException or Orleans.Runtime.OrleansException)
        {
            LogCopyNotReplaced(Id.Name, layer.Value, exception.Message);
            return false;
        }
    }
}
