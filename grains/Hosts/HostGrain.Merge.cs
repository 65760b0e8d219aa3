using Instances.Faults;
using Instances.Library;
using Instances.VirtualMachines;

namespace Instances.Hosts;

/// <summary>Keeps the chains of this host's machines short: a machine that is captured again and again without being undeployed gets one layer more each time.</summary>
/// <remarks>
/// <para>Only sealed layers are read, at a bounded rate and without QEMU, while the machine runs and is captured. They are shared with images and stay as they are: what is made is a layer of the machine's
/// own. Then its writable top is put over that layer, in a moment in which no capture has the machine. Before and after the content is the same, so a crash at any step leaves a machine that starts with it.</para>
/// <para>1. The machine's record refers to the layer that is to be made. 2. The layer is made, compared and durable. 3. The machine's grain, which no capture holds then, has the host put the top over it
/// (QEMU first, <c>machine.json</c> second, the top's header last). 4. The record names the new chain; sweeps remove what nothing refers to any more.</para>
/// <para>If a capture comes between 1 and 3, the layer that it seals is merged over the one that was made, which costs no more than that layer.</para>
/// </remarks>
internal sealed partial class HostGrain
{
    private const int MergeRounds = 8;
    private const int BusyTries = 300;
    private static readonly TimeSpan BusyPause = TimeSpan.FromSeconds(1);

    /// <summary>Captures that come close together are served by one look.</summary>
    private static readonly TimeSpan MergeDelay = TimeSpan.FromSeconds(2);

    private IGrainTimer? _merging;

    private bool _isMergeSoon;

    /// <summary>Twice what an image may have: most captures are not followed by a merge, and reads through that many layers are little slower.</summary>
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
            // The grain goes. The next look begins anew.
        }
        catch (Exception exception) when (exception is FaultException or IOException or TimeoutException or Orleans.Runtime.OrleansException)
        {
            LogNotShortened(Id.Name, machine.Id.Value, exception.Message);
        }
    }

    private async Task Shorten(MachineObservation machine, int disk)
    {
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
                    // A capture came between. What it sealed goes over what was made.
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

    /// <summary>Seals what a capture that failed after its switch has left: no QEMU writes below a top.</summary>
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
