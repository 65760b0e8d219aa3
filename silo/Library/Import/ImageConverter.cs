using System.Text.Json;
using Instances.Faults;
using Microsoft.Extensions.Options;

namespace Instances.Library.Import;

/// <summary>Converts an upload to a base layer: checks it, writes its content to a new file, and publishes that. The uploaded bytes are never booted.</summary>
internal sealed partial class ImageConverter
{
    /// <summary>The exit code of qemu-img check if it finds only leaked clusters.</summary>
    private const int LeaksFound = 3;

    private const int SecondsForAnything = 300;
    private const int SecondsForEachGibibyte = 120;
    private const long MemoryBytes = 2L << 30;
    private const long MetadataBytes = 64L << 20;

    private readonly FolderLibraryStore _store;
    private readonly QemuImg _qemuImg;
    private readonly ProcessConfinement _confinement;
    private readonly Decompressor _decompressor;
    private readonly TimeProvider _time;
    private readonly TimeSpan _reportPeriod;
    private readonly long _maxVirtualBytes;

    public ImageConverter(
        FolderLibraryStore store, QemuImg qemuImg, ProcessConfinement confinement, Decompressor decompressor, IOptions<ImportOptions> options, TimeProvider time)
    {
        _store = store;
        _qemuImg = qemuImg;
        _confinement = confinement;
        _decompressor = decompressor;
        _time = time;
        _reportPeriod = options.Value.ReportPeriod;
        _maxVirtualBytes = options.Value.MaxVirtualBytes;
        confinement.Become(options.Value.User);
    }

    /// <summary>Creates the layer and the manifest, durably. Leaves no files if it fails. If this process ends, the upload stays.</summary>
    /// <param name="admit">Called for compressed uploads. Other uploads were admitted when they were received.</param>
    /// <exception cref="FaultException">image-corrupt; image-malformed; quota-virtual-bytes; no-space; disk-failed; qemu-img-failed.</exception>
    /// <exception cref="OperationCanceledException">The owner has cancelled it, or this process ends.</exception>
    public async Task<ImageManifest> Convert(
        ImageId image, UploadPlan plan, ReceivedUpload upload, ProgressReport report, DiskAdmission admit, CancellationToken cancellationToken)
    {
        try
        {
            _confinement.Give(upload.Path);
            var source = upload.Image is { } plain ? new Source(upload.Path, upload.Bytes, plain) : await Expand(plan, upload, report, admit, cancellationToken);
            await Check(source, report, cancellationToken);
            KillPoints.Reach("import.checked");
            await Rewrite(plan.Layer, source, report, cancellationToken);
            KillPoints.Reach("import.converted");
            var manifest = await Publish(image, plan, upload, source.Image, report, cancellationToken);
            KillPoints.Reach("import.manifest-written");

            // Not earlier: after a crash in between, the conversion can be repeated.
            File.Delete(source.Path);
            File.Delete(upload.Path);
            KillPoints.Reach("import.source-deleted");
            return manifest;
        }
        catch (Exception exception)
        {
            await Undo(image, plan, exception, cancellationToken);
            throw;
        }
    }

    /// <summary>Removes the files of a failed import.</summary>
    /// <exception cref="OperationCanceledException">This process ends, and the next one resumes the import. The failure may come from the end of this process.</exception>
    /// <exception cref="FaultException">The reason is a failing disk.</exception>
    private async Task Undo(ImageId image, UploadPlan plan, Exception reason, CancellationToken cancellationToken)
    {
        if (reason is not ImportCancelledException) cancellationToken.ThrowIfCancellationRequested();
        try
        {
            await Discard(image, plan);
        }
        catch (IOException) when (reason is FaultException or IOException)
        {
            // The disk fails. Report the first error instead of this one. The sweep removes the remaining files.
        }

        if (reason is IOException io) throw FileFaults.OfDisk(io, _store.Folder);
    }

    /// <summary>Removes the created files. The manifest first, because without it there is no image.</summary>
    public async Task Discard(ImageId image, UploadPlan plan)
    {
        await _store.DeleteManifest(image);
        foreach (var layer in plan.Layers) await _store.Delete(layer);
    }

    private async Task<Source> Expand(UploadPlan plan, ReceivedUpload upload, ProgressReport report, DiskAdmission admit, CancellationToken cancellationToken)
    {
        var path = _store.ExpandedPathOf(plan.Layer);
        var expanded = 0L;
        await Watch(
            ImportStage.Checking, () => Interlocked.Read(ref expanded), report,
            token => _decompressor.Expand(upload, path, bytes => Interlocked.Exchange(ref expanded, bytes), token), cancellationToken);
        using var file = File.OpenHandle(path);
        if (FormatDetector.Compression(file) is not null)
            throw ImportFaults.Malformed("it is compressed more than once");
        var image = ImageInspector.Inspect(file, plan.Command.Format, _maxVirtualBytes, plan.Command.AcceptSignature);
        await admit(image.VirtualSizeBytes);
        _confinement.Give(path);
        return new(path, RandomAccess.GetLength(file), image);
    }

    private async Task Check(Source source, ProgressReport report, CancellationToken cancellationToken)
    {
        var format = ImageFile.Of(source.Image.Format);
        var bounds = BoundsFor(source, fileBytes: source.Bytes + MetadataBytes);
        await Watch(ImportStage.Checking, () => 0, report, async token =>
        {
            var info = await _qemuImg.Info(source.Path, format, ProcessBounds.Short, token);
            if (!info.Succeeded || !Agrees(info.Output, source.Image))
                throw ImportFaults.Malformed("qemu-img reads its header in another way");
            if (!format.CanBeChecked)
                return;
            if (source.Image.IsDirty)
                await Require(source, await _qemuImg.Check(source.Path, format, repair: "all", bounds, token), "its reference counts cannot be repaired", token);
            var check = await _qemuImg.Check(source.Path, format, repair: null, bounds, token);
            if (check.ExitCode == LeaksFound)
            {
                // A killed writer leaves unreferenced clusters. Freeing them loses no content.
                await Require(source, await _qemuImg.Check(source.Path, format, repair: "leaks", bounds, token), "its leaked clusters cannot be freed", token);
                check = await _qemuImg.Check(source.Path, format, repair: null, bounds, token);
            }

            await Require(source, check, "qemu-img check finds errors in it", token);
        }, cancellationToken);
    }

    private async Task Rewrite(LayerId layer, Source source, ProgressReport report, CancellationToken cancellationToken)
    {
        var target = _store.ConvertedPathOf(layer);
        var virtualBytes = source.Image.VirtualSizeBytes;
        var bounds = BoundsFor(source, fileBytes: virtualBytes + (virtualBytes / 1024) + MetadataBytes);
        await Watch(ImportStage.Converting, () => File.Exists(target) ? UnixFiles.AllocatedBytes(target) : 0, report, async token =>
            await Require(source, await _qemuImg.ConvertToBase(source.Path, ImageFile.Of(source.Image.Format), target, bounds, token), "its content cannot be read whole", token),
            cancellationToken);

        using var file = File.OpenHandle(target);
        if (Qcow2Inspector.Inspect(file, _maxVirtualBytes).VirtualSizeBytes != virtualBytes)
            throw ImportFaults.Corrupt("its content does not have the size that its header says");
    }

    /// <summary>The scrub computes the digest of the layer later: reading it here would double the time of a large import.</summary>
    private async Task<ImageManifest> Publish(
        ImageId image, UploadPlan plan, ReceivedUpload upload, InspectedImage found, ProgressReport report, CancellationToken cancellationToken)
    {
        var path = _store.ConvertedPathOf(plan.Layer);
        await Watch(ImportStage.Publishing, () => 0, report, token => Task.Run(() => UnixFiles.SyncFile(path), token), cancellationToken);

        var bytes = _store.Install(plan.Layer, path);
        KillPoints.Reach("import.installed");
        var now = _time.GetUtcNow();
        var manifest = new ImageManifest(
            image,
            plan.Command.Name,
            ImageKind.Master,
            Master: null,
            Parent: null,
            [new DiskManifest([new LayerManifest(plan.Layer, Parent: null, bytes, image)], found.VirtualSizeBytes)],
            plan.StartedAt ?? now,
            new ImportFacts(plan.Operation, now, found.Format, upload.Sha256, upload.Bytes, upload.Compression, found.Remarks is { Count: > 0 } remarks ? remarks : null))
        {
            Details = plan.Command.Details ?? ImageDetails.None,
            Enterprise = plan.Command.Enterprise,
        };
        await _store.WriteManifest(manifest);
        return manifest;
    }

    /// <summary>Reports progress while a task runs, and ends the task if the owner has cancelled the import or the disk fills up.</summary>
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

            reason = await FindReason();
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

        async Task<Exception?> FindReason()
        {
            try
            {
                return !await report(stage, bytes()) ? new ImportCancelledException()
                    : _store.FreeBytes < _store.MinimumFreeBytes ? FileFaults.NoSpaceLeft(_store.Folder)
                    : null;
            }
            catch (Exception exception)
            {
                // End the work: nobody watches it any more.
                return exception;
            }
        }
    }

    /// <summary>A failure is attributed to the image only if the disk of the image and its copy did not fail.</summary>
    private async Task Require(Source source, ProcessOutcome outcome, string otherwise, CancellationToken cancellationToken)
    {
        if (outcome.Succeeded)
            return;
        if (outcome.IsNoSpace)
            throw FileFaults.NoSpaceLeft(_store.Folder);
        if (outcome.FailedToWrite)
            throw FileFaults.DiskFailed(_store.Folder);
        try
        {
            await UnixFiles.ReadWhole(source.Path, cancellationToken);
        }
        catch (IOException exception)
        {
            throw FileFaults.DiskFailed(_store.Folder, exception);
        }

        throw outcome.ExitCode == ProcessOutcome.OutOfBounds ? ImportFaults.TooLaborious() : ImportFaults.Corrupt(otherwise);
    }

    // The bounds depend on the uploaded bytes, not on the size in the header.
    private static ProcessBounds BoundsFor(Source source, long fileBytes) => BoundsFor(source.Bytes, fileBytes);

    private static ProcessBounds BoundsFor(long bytes, long fileBytes)
    {
        var seconds = SecondsForAnything + (int)Math.Min(bytes / (1L << 30) * SecondsForEachGibibyte, int.MaxValue / 4);
        return new(TimeSpan.FromSeconds(seconds * 2.0), seconds, MemoryBytes, fileBytes);
    }

    private static bool Agrees(string info, InspectedImage image)
    {
        try
        {
            using var json = JsonDocument.Parse(info);
            var root = json.RootElement;
            return root.GetProperty("virtual-size").GetInt64() == image.VirtualSizeBytes
                && root.GetProperty("format").GetString() == ImageFile.Of(image.Format).Text
                && !root.TryGetProperty("backing-filename", out _);
        }
        catch (Exception exception) when (exception is JsonException or KeyNotFoundException or InvalidOperationException or FormatException)
        {
            return false;
        }
    }

    /// <summary>The file to check and convert: the upload, or its expanded content.</summary>
    private sealed record Source(string Path, long Bytes, InspectedImage Image);
}
