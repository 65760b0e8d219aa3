using Instances.Faults;
using Instances.Library;
using Instances.VirtualMachines;

namespace Instances.Hosts;

/// <summary>Whether this host's copies of layers still are what the library says they have to be. A store that is the library's own is read by the library's scrub.</summary>
/// <remarks>
/// A copy is <i>doubted</i> from when the library finds its own to be corrupt, or has replaced it: the two may be one file, or come from one disk.
/// No machine starts on a doubted or corrupt copy: it is read, and replaced by the library's, or the start is refused. A machine that runs keeps the file that it has
/// open: its record says so, until it is powered off.
/// </remarks>
internal sealed partial class HostGrain
{
    /// <summary>How often the host looks for copies that are to be read.</summary>
    private static readonly TimeSpan ScrubLookPeriod = TimeSpan.FromMinutes(5);

    /// <summary>The copies that are being read or replaced for a start: several machines stand on one layer.</summary>
    private readonly Dictionary<LayerId, Task<bool>> _mending = [];

    /// <summary>Machines that ran on a copy when it turned out to be corrupt.</summary>
    private readonly Dictionary<VirtualMachineId, LayerId> _onBadCopy = [];

    /// <summary>Machines that have died and are not started again, each with the corrupt layer that they stand on, in a sentence for users.</summary>
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
            if (await IsLibrarys()) return;
            _hasDoubts = false;
            var known = await DoubtWhatTheLibraryReplaced();
            foreach (var due in await ToRead(known))
            {
                // What came to be doubted meanwhile is read first: the timer is set.
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
            // Of any type: a library of an older release does not know these calls.
            LogNotScrubbed(Id.Name, exception.Message);
        }
    }

    /// <summary>Before anything is started again. The library may be unreachable: then the next look does it.</summary>
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

    /// <summary>A host that was unreachable while the library replaced a layer learns of it here.</summary>
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

    /// <summary>Those that may be corrupt first, then the one that was not read for longest.</summary>
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
            if (!check.IsCorrupt) return;
            LogCorruptCopy(Id.Name, layer.Layer.Value, check.Found);
            if (layer.IsCorrupt) await MarkRunning(layer.Layer);
            else await Replace(layer.Layer, cancellationToken);
        }
        catch (FaultException exception)
        {
            // It was swept meanwhile, or the library did not give its own: the next look tries again.
            LogCopyNotReplaced(Id.Name, layer.Layer.Value, exception.Message);
        }
    }

    /// <summary>Takes the library's file for a corrupt copy.</summary>
    private async Task<bool> Replace(LayerId layer, CancellationToken cancellationToken)
    {
        await MarkRunning(layer);
        if (!await layers.Heal(layer, "library", async () => (await GrainFactory.Library().Offer([layer]))[0], cancellationToken)) return false;
        LogCopyReplaced(Id.Name, layer.Value);

        // What could not be started on it can be now.
        foreach (var machine in _heldBack.Keys.ToList())
        {
            _heldBack.Remove(machine);
            _restarts.Forget(machine);
            _unheard.Add(machine);
        }

        return true;
    }

    private async Task MarkRunning(LayerId layer)
    {
        foreach (var machine in await hypervisor.List())
        {
            if (machine.Status is VirtualMachineStatus.Stopped || !machine.Disks.Any(disk => disk.Layers.Contains(layer))) continue;
            if (_onBadCopy.TryAdd(machine.Id, layer)) _unheard.Add(machine.Id);
        }
    }

    /// <summary>Nothing starts on a layer that is known to be corrupt: a doubted copy is read first, and a corrupt one is replaced by the library's.</summary>
    /// <exception cref="FaultException">layer-corrupt.</exception>
    private async Task RequireSound(IEnumerable<LayerId> chain)
    {
        foreach (var layer in chain)
        {
            if (layers.FindCheck(layer) is not ({ IsCorrupt: true } or { IsDoubted: true })) continue;
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
                $"The copy of the layer {layer} on the host {Id} is corrupt, and the library has no good one: nothing is started on it. 'silo library verify' shows what is missing; bring the file back from a backup.");
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
