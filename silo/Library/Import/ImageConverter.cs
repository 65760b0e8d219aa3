using System.Security.Cryptography;
using System.Text.Json;
using Instances.Faults;
using Microsoft.Extensions.Options;

namespace Instances.Library.Import;

/// <summary>Makes a base layer of an upload: checks it, writes its content to a file of ours, publishes that. The uploaded bytes are never booted.</summary>
internal sealed class ImageConverter
{
    private const int SecondsForAnything = 300;
    private const int SecondsForEachGibibyte = 120;
    private const long MemoryBytes = 2L << 30;
    private const long MetadataBytes = 64L << 20;

    private readonly FolderLibraryStore _store;
    private readonly QemuImg _qemuImg;
    private readonly ProcessConfinement _confinement;
    private readonly TimeProvider _time;
    private readonly TimeSpan _reportPeriod;
    private readonly long _maxVirtualBytes;

    public ImageConverter(FolderLibraryStore store, QemuImg qemuImg, ProcessConfinement confinement, IOptions<ImportOptions> options, TimeProvider time)
    {
        _store = store;
        _qemuImg = qemuImg;
        _confinement = confinement;
        _time = time;
        _reportPeriod = options.Value.ReportPeriod;
        _maxVirtualBytes = options.Value.MaxVirtualBytes;
        confinement.Become(options.Value.User, store.Incoming);
    }

    /// <summary>Makes the layer and the manifest, durably. Leaves nothing behind when it fails.</summary>
    /// <exception cref="FaultException">image-corrupt; image-malformed; no-space; qemu-img-failed.</exception>
    /// <exception cref="OperationCanceledException">The owner says so, or this process ends.</exception>
    public async Task<ImageManifest> Convert(ImageId image, UploadPlan plan, ReceivedUpload upload, ProgressReport report, CancellationToken cancellationToken)
    {
        try
        {
            _confinement.Give(upload.Path);
            await Check(upload, report, cancellationToken);
            await Rewrite(plan.Layer, upload, report, cancellationToken);
            File.Delete(upload.Path);
            return await Publish(image, plan, upload, report, cancellationToken);
        }
        catch
        {
            await Discard(image, plan.Layer);
            throw;
        }
    }

    /// <summary>Removes what was made. The manifest goes first: without it there is no image.</summary>
    public async Task Discard(ImageId image, LayerId layer)
    {
        await _store.DeleteManifest(image);
        await _store.Delete(layer);
    }

    private async Task Check(ReceivedUpload upload, ProgressReport report, CancellationToken cancellationToken)
    {
        var format = ImageFile.Of(upload.Format);
        var bounds = BoundsFor(upload, fileBytes: upload.Bytes + MetadataBytes);
        await Watch(ImportStage.Checking, () => 0, report, async token =>
        {
            var info = await _qemuImg.Info(upload.Path, format, ProcessBounds.Short, token);
            if (!info.Succeeded || !Agrees(info.Output, upload))
                throw ImportFaults.Malformed("qemu-img reads its header in another way");

            // Raw disks have no structure.
            if (upload.Format is ImageFormat.Raw)
                return;
            if (upload.IsDirty)
                Require(await _qemuImg.Check(upload.Path, format, repair: true, bounds, token), "its reference counts cannot be repaired");
            Require(await _qemuImg.Check(upload.Path, format, repair: false, bounds, token), "qemu-img check finds errors in it");
        }, cancellationToken);
    }

    private async Task Rewrite(LayerId layer, ReceivedUpload upload, ProgressReport report, CancellationToken cancellationToken)
    {
        var target = _store.ConvertedPathOf(layer);
        var bounds = BoundsFor(upload, fileBytes: upload.VirtualSizeBytes + (upload.VirtualSizeBytes / 1024) + MetadataBytes);
        await Watch(ImportStage.Converting, () => File.Exists(target) ? UnixFiles.AllocatedBytes(target) : 0, report, async token =>
            Require(await _qemuImg.ConvertToBase(upload.Path, ImageFile.Of(upload.Format), target, bounds, token), "its content cannot be read whole"),
            cancellationToken);

        using var file = File.OpenHandle(target);
        if (Qcow2Inspector.Inspect(file, _maxVirtualBytes).VirtualSizeBytes != upload.VirtualSizeBytes)
            throw ImportFaults.Corrupt("its content does not have the size that its header says");
    }

    private async Task<ImageManifest> Publish(ImageId image, UploadPlan plan, ReceivedUpload upload, ProgressReport report, CancellationToken cancellationToken)
    {
        string? sha256 = null;
        await Watch(ImportStage.Publishing, () => 0, report, async token =>
        {
            await using var layer = File.OpenRead(_store.ConvertedPathOf(plan.Layer));
            sha256 = System.Convert.ToHexStringLower(await SHA256.HashDataAsync(layer, token));
        }, cancellationToken);

        var bytes = _store.Install(plan.Layer, _store.ConvertedPathOf(plan.Layer));
        var now = _time.GetUtcNow();
        var manifest = new ImageManifest(
            image,
            plan.Command.Name,
            ImageKind.Master,
            Master: null,
            Parent: null,
            [new DiskManifest([new LayerManifest(plan.Layer, Parent: null, bytes, image, sha256)], upload.VirtualSizeBytes)],
            now,
            new ImportFacts(plan.Operation, now, upload.Format, upload.Sha256, upload.Bytes)) { Details = plan.Command.Details ?? ImageDetails.None };
        await _store.WriteManifest(manifest);
        return manifest;
    }

    /// <summary>Reports while something runs, and ends it when the owner no longer wants it or the disk fills up.</summary>
    private async Task Watch(ImportStage stage, Func<long> bytes, ProgressReport report, Func<CancellationToken, Task> run, CancellationToken cancellationToken)
    {
        if (!await report(stage, 0))
            throw new ImportCancelledException();

        using var stop = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
        using var timer = new PeriodicTimer(_reportPeriod, _time);
        var work = run(stop.Token);
        Exception? reason = null;
        for (var tick = timer.WaitForNextTickAsync(CancellationToken.None).AsTask(); ; tick = timer.WaitForNextTickAsync(CancellationToken.None).AsTask())
        {
            if (await Task.WhenAny(work, tick) == work)
                break;
            if (reason is not null)
                continue;

            reason = !await report(stage, bytes()) ? new ImportCancelledException()
                : _store.FreeBytes < _store.MinimumFreeBytes ? FileFaults.NoSpaceLeft(_store.Folder)
                : null;
            if (reason is not null)
                await stop.CancelAsync();
        }

        try
        {
            await work;
        }
        catch (OperationCanceledException) when (reason is not null)
        {
            throw reason;
        }
    }

    private static void Require(ProcessOutcome outcome, string otherwise)
    {
        if (outcome.Succeeded)
            return;
        throw outcome.IsNoSpace
            ? FaultException.Capacity("no-space", "The library's disk is full. Delete images that are not needed, or give it more space.")
            : ImportFaults.Corrupt(otherwise);
    }

    // The work is bounded by what was uploaded, not by what its header promises.
    private static ProcessBounds BoundsFor(ReceivedUpload upload, long fileBytes)
    {
        var seconds = SecondsForAnything + (int)Math.Min(upload.Bytes / (1L << 30) * SecondsForEachGibibyte, int.MaxValue / 4);
        return new(TimeSpan.FromSeconds(seconds * 2.0), seconds, MemoryBytes, fileBytes);
    }

    private static bool Agrees(string info, ReceivedUpload upload)
    {
        try
        {
            using var json = JsonDocument.Parse(info);
            var root = json.RootElement;
            return root.GetProperty("virtual-size").GetInt64() == upload.VirtualSizeBytes
                && root.GetProperty("format").GetString() == ImageFile.Of(upload.Format).Text
                && !root.TryGetProperty("backing-filename", out _);
        }
        catch (Exception exception) when (exception is JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
        {
            return false;
        }
    }
}
