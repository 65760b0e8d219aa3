using Instances.Faults;
using Instances.Library.Export;
using Instances.VirtualMachines;

namespace Instances.Library.Import;

/// <summary>Creates base layers from the chains of a slave.</summary>
internal sealed partial class ImageConverter
{
    /// <summary>Creates the layers and the manifest, durably. Leaves no files if it fails. If this process ends, finished layers stay.</summary>
    /// <exception cref="FaultException">layer-missing; layer-corrupt; layer-unreadable; no-space; disk-failed; merge-differs.</exception>
    /// <exception cref="OperationCanceledException">The owner has cancelled it, or this process ends.</exception>
    public async Task<ImageManifest> Flatten(ImageId image, UploadPlan plan, ProgressReport report, CancellationToken cancellationToken)
    {
        var promotion = plan.Promotion!;
        var targets = promotion.Disks.Zip(promotion.Layers).ToList();
        try
        {
            var layers = promotion.Disks.SelectMany(disk => disk.Layers).DistinctBy(layer => layer.Id);
            await Watch(ImportStage.Checking, () => 0, report, token => RequireSound(layers, token), cancellationToken);
            KillPoints.Reach("promote.checked");
            await Watch(ImportStage.Converting, () => plan.Layers.Sum(layer => _store.MergedBytes(layer)), report, async token =>
            {
                foreach (var (disk, layer) in targets) await Flatten(disk, layer, token);
            }, cancellationToken);
            KillPoints.Reach("promote.converted");
            await Watch(ImportStage.Publishing, () => 0, report, token => Task.Run(
                () => plan.Layers.Select(_store.ConvertedPathOf).Where(File.Exists).ToList().ForEach(UnixFiles.SyncFile), token), cancellationToken);

            var now = _time.GetUtcNow();
            var manifest = new ImageManifest(
                image, plan.Command.Name, ImageKind.Master, Master: null, Parent: null,
                [.. targets.Select(target => new DiskManifest([new(target.Second, Parent: null, Install(target.Second), image)], target.First.VirtualSizeBytes))], plan.StartedAt ?? now)
            {
                Details = plan.Command.Details ?? ImageDetails.None,
                Enterprise = plan.Command.Enterprise,
                Promotion = new(plan.Operation, now, promotion.Source),
                Identity = promotion.Identity,
            };
            KillPoints.Reach("promote.installed");
            await _store.WriteManifest(manifest);
            KillPoints.Reach("promote.manifest-written");
            return manifest;
        }
        catch (Exception exception)
        {
            await Undo(image, plan, exception, cancellationToken);
            throw;
        }
    }

    /// <summary>Corrupt data must not be copied into a layer that looks sound. The scrub notifies the images.</summary>
    private async Task RequireSound(IEnumerable<LayerManifest> layers, CancellationToken cancellationToken)
    {
        foreach (var layer in layers)
        {
            var check = await _store.Check(layer.Id, layer.Sha256, long.MaxValue, cancellationToken);
            if (check.IsCorrupt)
                throw FaultException.Conflict("layer-corrupt", $"The layer {layer.Id} is corrupt: its SHA-256 has to be {check.Sha256} and is {check.Found}. Choose another image.");
        }
    }

    private async Task Flatten(DiskManifest disk, LayerId layer, CancellationToken cancellationToken)
    {
        if (_store.IsSealed(layer)) return; // It was created before a crash.
        var target = _store.ConvertedPathOf(layer);

        File.Delete(target); // A crash may have left it.
        var chain = disk.ToChain();
        await WriteBase(chain, layer, target, cancellationToken);
        if (!await LayerComparison.IsFlat(chain.Layers, layer, part => part == layer ? target : _store.PathOf(part), cancellationToken)) throw LayerMerger.Differs();
    }

    /// <summary>Uses our own reader and writer. A machine's QEMU wrote the layers: so no other program opens them as this process's user, and no file name in their headers is followed.</summary>
    private async Task WriteBase(DiskChain chain, LayerId layer, string target, CancellationToken cancellationToken)
    {
        var source = LayeredDisk.Open(chain, _store.PathOf);
        using var made = await Task.Run(() => DiskFile.Of(source, ExportFormat.Qcow2, layer.Value, cancellationToken), cancellationToken);
        if (_store.FreeBytes - made.Bytes < _store.MinimumFreeBytes) throw FileFaults.NoSpaceLeft(_store.Folder);
        await using var file = new FileStream(target, UnixFiles.PrivateFile());
        try
        {
            await made.Write(file, cancellationToken);
        }
        catch (IOException exception) when (FileFaults.IsNoSpace(exception))
        {
            throw FileFaults.NoSpaceLeft(_store.Folder);
        }

        source.RequireReadOnce();
    }

    /// <summary>After a crash the layer may already be installed.</summary>
    private long Install(LayerId layer) => File.Exists(_store.ConvertedPathOf(layer))
        ? _store.Install(layer, _store.ConvertedPathOf(layer))
        : _store.IsSealed(layer) ? _store.BytesOf(layer) : throw FileFaults.LayerMissing(layer);
}
