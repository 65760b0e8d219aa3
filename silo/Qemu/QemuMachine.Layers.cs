using System.Text.Json.Nodes;
using Instances.Library;
using Instances.VirtualMachines;

namespace Instances.Qemu;

/// <summary>Gives a machine a shorter chain of the same content.</summary>
internal sealed partial class QemuMachine
{
    private static readonly TimeSpan ReplaceSyncBound = TimeSpan.FromSeconds(5);

    /// <summary>False if an earlier release started the QEMU process outside the group that reads sealed layers.</summary>
    public bool CanReplaceLayers(uint readers) => _process is not { } process || process.ReadsFilesOf(readers);

    /// <summary>Rebases a disk's writable top onto a merged layer. The order makes a crash harmless: QEMU, <c>machine.json</c>, the top's header. Both chains have the same content, and
    /// <see cref="RepairParents"/> repairs the header.</summary>
    /// <returns>False if a capture holds the machine, or no disk has the chain that was merged.</returns>
    public async Task<bool> ReplaceLayers(LayerMerge merge)
    {
        // QEMU flushes the top when it is reopened.
        await UntilQuick.Repeat(SyncTops, QuickSync, ReplaceSyncBound, SyncPatience, _host.Time, CancellationToken.None);
        return await Turn(async () =>
        {
            if (_hold is not null || _chains.FirstOrDefault(chain => chain.Layers.SkipLast(1).SequenceEqual(merge.Chain)) is not { } before) return false;
            var after = before with { Layers = [.. merge.Under, merge.Merged, before.Layers[^1]] };
            var spec = _spec with { Disks = [.. _chains.Select(chain => chain == before ? after : chain)] };

            // Write the record before QEMU switches. Else a full disk would leave a record that differs from QEMU's chain.
            _folder.PrepareMachine(spec);
            if (_process is not null) await Reopen(before, after);
            _folder.CommitMachine();
            (_spec, _chains) = (spec, spec.Disks);
            await NameParents();
            if (_process is not null) await RemoveUnused(before, after);
            return true;
        });
    }

    private async Task Reopen(DiskChain before, DiskChain after)
    {
        var known = before.Layers.ToHashSet();
        LayerId? parent = null;
        foreach (var layer in after.Layers.SkipLast(1))
        {
            if (!known.Contains(layer))
            {
                foreach (var node in BlockNodes.Parent(layer, parent, _host.PathOf(layer), after.VirtualSizeBytes)) await AddNode(node);
            }

            parent = layer;
        }

        await Qmp.Execute("blockdev-reopen", Arguments("options", new JsonArray(BlockNodes.Top(after))));
    }

    /// <summary>Unused nodes in QEMU's graph only cost a descriptor each.</summary>
    private async Task RemoveUnused(DiskChain before, DiskChain after)
    {
        try
        {
            foreach (var layer in before.Layers.Except(after.Layers).Reverse())
            {
                await RemoveNode(BlockNodes.Format(layer));
                await RemoveNode(BlockNodes.File(layer));
            }
        }
        catch (QmpException e)
        {
            LogNodesStay(_spec.Id, e.Message);
        }
    }

    /// <summary>Repairs the state after a silo died in <see cref="ReplaceLayers"/>.</summary>
    private async Task RepairParents()
    {
        try
        {
            await NameParents();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException or QmpException)
        {
            LogNotNamed(_spec.Id, e.Message);
        }
    }

    /// <summary>Writes the layer below each writable top, according to the record, to the top's header.</summary>
    private async Task NameParents()
    {
        foreach (var chain in _chains.Where(chain => chain.Layers.Count > 1))
        {
            var (top, parent) = (chain.Layers[^1], chain.Layers[^2]);
            if (BackingName.Read(_host.PathOf(top)) == BackingName.Of(parent)) continue;
            if (_process is null)
            {
                BackingName.Write(_host.PathOf(top), parent);
                continue;
            }

            var node = BlockNodes.Format(top);
            await Qmp.Execute("change-backing-file", new() { ["device"] = node, ["image-node-name"] = node, ["backing-file"] = BackingName.Of(parent) });
        }
    }
}
