using Instances.Hosts;
using Instances.Library;
using Instances.Operations;

namespace Instances.VirtualMachines;

/// <summary>The record's part in a merge of layers by the machine's host: see <c>HostGrain.Merge</c>.</summary>
internal sealed partial class VirtualMachineGrain
{
    public async Task<bool> BeginMerge(HostId host, OperationId deployment, IReadOnlyList<LayerId> made)
    {
        if (!Owns(host, deployment) || Status is VirtualMachineStatus.Unknown) return false;
        await SaveListed(State with { Deployment = State.Deployment! with { Merging = made } });
        return true;
    }

    public async Task<MergeVerdict> CompleteMerge(HostId host, OperationId deployment, LayerMerge merge)
    {
        if (!Owns(host, deployment) || Status is VirtualMachineStatus.Unknown || State.Deployment!.Merging?.Contains(merge.Merged) is not true) return MergeVerdict.Gone;

        // A capture has already recorded the chain in its image, and an undeployment the layers that are released with the machine.
        if (Status is not (VirtualMachineStatus.Running or VirtualMachineStatus.Paused or VirtualMachineStatus.Stopped)) return MergeVerdict.Busy;
        if (!State.Deployment.Disks.Any(disk => disk.Layers.SkipLast(1).SequenceEqual(merge.Chain))) return MergeVerdict.Changed;
        if (await Host.ReplaceLayers(Id, merge) is not { } seen) return MergeVerdict.Busy;
        await SaveListed(State with { Deployment = State.Deployment.On(seen.Disks) with { Merging = null } });
        return MergeVerdict.Done;
    }
}
