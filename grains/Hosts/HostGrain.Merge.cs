using Instances.Faults;
using Instances.Library;
using Instances.VirtualMachines;

namespace Instances.Hosts;

/// <summary>Keeps the chains of this host's machines short: each capture without undeployment adds a layer to the machine's chain.</summary>
/// <remarks>
/// <para>The merge reads only sealed layers, at a bounded rate and without QEMU, while the machine runs and is captured. Images share these layers, so they are not changed: the result is a new layer of the
/// machine. Then the writable top is rebased onto that layer, while no capture holds the machine. The content stays the same, so that the machine can start after a crash at any step.</para>
/// <para>1. The machine's record refers to the future layer. 2. The layer is created, compared and durable. 3. While no capture holds the machine, its grain calls the host to rebase the top onto the layer
/// (QEMU first, <c>machine.json</c> second, the top's header last). 4. The record names the new chain; sweeps delete layers that are unreferenced now.</para>
/// <para>If a capture comes between 1 and 3, the layer that it seals is merged over the new one. That costs no more than the sealed layer.</para>
/// </remarks>
internal sealed partial class HostGrain
{
    private const int MergeRounds = 8;
    private const int BusyTries = 300;
    private static readonly TimeSpan BusyPause = TimeSpan.FromSeconds(1);

    /// <summary>Captures in quick succession share one check.</summary>
    private static readonly TimeSpan MergeDelay = TimeSpan.FromSeconds(2);

    private IGrainTimer? _merging;

    private bool _isMergeSoon;

    /// <summary>Twice the bound of an image: so most captures need no merge, and reads through that many layers are only a little slower.</summary>
    private int MaxSealedLayers => 2 * library.Value.MaxChainDepth;

    public async Task<MachineObservation?> ReplaceLayers(VirtualMachineId machine, LayerMerge merge)
    {
        await Adopted();
        return await hypervisor.ReplaceLayers(machine, merge) ? await hypervisor.Find(machine) : null;
    }

    private bool IsLong(DiskChain disk) => disk.Layers.Count - 1 > MaxSealedLayers;

    /// <summary>Called when a capture has ended.</summary>
    private async Task MergeSoon(IReadOnlyList<VirtualMachineId> machines)
    {
        foreach (var machine in machines)
        {
            if (_isMergeSoon || await hypervisor.Find(machine) is not { } seen || !seen.Disks.Any(IsLong)) continue;
            _isMergeSoon = true;
            _merging!.Change(MergeDelay, library.Value.CompactionPeriod);
        }
    }

    private async Task MergeTick(CancellationToken cancellationToken)
    {
        _isMergeSoon = false;
        await Adopted();
        foreach (var machine in await hypervisor.List())
        {
            if (machine.Id == _rehearsed) continue;
            for (var disk = 0; disk < machine.Disks.Count; disk++)
            {
                if (IsLong(machine.Disks[disk])) await TryShorten(machine, disk);
            }
        }
    }

    private async Task TryShorten(MachineObservation machine, int disk)
    {
        try
        {
            await Shorten(machine, disk);
        }
        catch (OperationCanceledException) when (_stop.IsCancellationRequested)
        {
            // The grain deactivates. The next check begins again.
        }
        catch (Exception exception) when (exception is FaultException or IOException or TimeoutException or Orleans.Runtime.OrleansException)
        {
            LogNotShortened(Id.Name, machine.Id.Value, exception.Message);
        }
    }

    private async Task Shorten(MachineObservation machine, int disk)
    {
        if (!await hypervisor.CanReplaceLayers(machine.Id))
        {
            LogNotShortened(Id.Name, machine.Id.Value, "an earlier release started its QEMU, which cannot read a merged layer; power the machine off and on");
            return;
        }

        var record = GrainFactory.VirtualMachine(machine.Id);
        List<LayerId> made = [];
        List<IReadOnlyList<LayerManifest>> others = [];
        for (var round = 0; round < MergeRounds; round++)
        {
            if (await hypervisor.Find(machine.Id) is not { } seen || seen.Deployment != machine.Deployment) return;
            IReadOnlyList<LayerId> chain = [.. seen.Disks[disk].Layers.SkipLast(1)];
            var bytesOf = await Sealed(chain);
            IReadOnlyList<LayerManifest> layersOfChain = [.. chain.Select((layer, index) => new LayerManifest(layer, index == 0 ? null : chain[index - 1], bytesOf[layer], default))];
            if (CompactionRule.Find(layersOfChain, library.Value.MaxChainDepth, _ => false, others) is not { } plan) return;

            var merge = new LayerMerge(LayerId.New(), chain, plan.From, plan.Instead);
            made.Add(merge.Merged);
            if (!await record.BeginMerge(Id, machine.Deployment, made)) return;
            var bytes = await layers.Merge(merge, library.Value.CompactionBytesPerSecond, _stop.Token);
            switch (await Complete(record, machine, merge))
            {
                case MergeVerdict.Done:
                    LogShortened(Id.Name, machine.Id.Value, merge.Parts.Count(), bytes);
                    ScheduleSweep();
                    await GrainFactory.Library().SweepSoon();
                    return;
                case MergeVerdict.Changed:
                    // A capture came in between. Merge its sealed layer over the new layer.
                    others.Add([.. plan.Instead ?? layersOfChain.Take(plan.From), new(merge.Merged, merge.Below, bytes, default, StandsFor: chain[^1])]);
                    break;
                default:
                    return;
            }
        }
    }

    private async Task<MergeVerdict> Complete(IVirtualMachineGrain record, MachineObservation machine, LayerMerge merge)
    {
        for (var attempt = 1; ; attempt++)
        {
            var verdict = await record.CompleteMerge(Id, machine.Deployment, merge);
            if (verdict is not MergeVerdict.Busy || attempt == BusyTries) return verdict;
            await Task.Delay(BusyPause, time, _stop.Token);
        }
    }

    /// <summary>Seals layers that a failed capture has left below the top: QEMU no longer writes to them.</summary>
    /// <returns>The space of each layer.</returns>
    private async Task<IReadOnlyDictionary<LayerId, long>> Sealed(IReadOnlyList<LayerId> chain)
    {
        var stored = (await Task.Run(layers.List)).ToDictionary(layer => layer.Id);
        var bytes = new Dictionary<LayerId, long>(chain.Count);
        foreach (var layer in chain)
        {
            if (!stored.TryGetValue(layer, out var file)) throw FaultException.Unavailable("layer-missing", $"The layer {layer} is not on the host {Id}.");
            bytes[layer] = file.IsSealed ? file.Bytes : await layers.Seal(layer);
        }

        return bytes;
    }
}
