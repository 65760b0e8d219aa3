using System.Collections.Concurrent;
using System.IO.Pipelines;
using Instances.Faults;
using Microsoft.Extensions.Options;

namespace Instances.Library.Import;

/// <summary>Imports whose bytes have come, waiting for one of a few converters. A place is taken before the first byte comes and kept to the end.</summary>
internal sealed partial class ImportQueue(IGrainFactory grains, ImageConverter converter, IOptions<ImportOptions> options, IOptions<LibraryOptions> library, TimeProvider time, ILogger<ImportQueue> logger)
    : BackgroundService
{
    /// <summary>How often the end of an import is told to a grain that does not answer. After that its reminder ends it, and the sweep removes its files.</summary>
    private const int MaxAttempts = 5;

    private static readonly TimeSpan s_pause = TimeSpan.FromSeconds(2);

    /// <summary>An import that is no larger, expanded, does not wait behind larger ones: it has a converter of its own.</summary>
    private const long SmallBytes = 256 << 20;

    private readonly ImportLine<Job> _line = new(); // Bounded by the places.

    /// <summary>The jobs that no converter has taken. Whoever removes one has it, be it to convert or to drop it.</summary>
    private readonly ConcurrentDictionary<LayerId, Job> _waiting = new();

    /// <summary>Takes over an upload and its place.</summary>
    /// <param name="upload">Null for a promotion.</param>
    public void Add(ImageId image, UploadPlan plan, ReceivedUpload? upload, ImportPlace place)
    {
        place.MarkReceived();
        var job = new Job(image, plan, upload, place);
        _waiting[plan.Layer] = job;
        _line.Add(plan.Command.Enterprise, IsSmall(upload), job);
    }

    /// <summary>The body of a request that brings bytes of an import.</summary>
    public UploadBody BodyOf(PipeReader body, ImportPlace place, UploadPlan plan, long offset, bool isPart) =>
        new(body, place, ReportTo(place.Image, plan), offset, library.Value.UploadIdleBound, options.Value.ReportPeriod, isPart, time);

    /// <summary>Ends an import that failed.</summary>
    public Task Fail(ImageId image, UploadPlan plan, Fault fault) =>
        Tell(image, grain => grain.FailImport(plan.Operation, fault));

    /// <summary>How an import's progress is told to its image.</summary>
    public ProgressReport ReportTo(ImageId image, UploadPlan plan)
    {
        return async (stage, bytes) =>
        {
            try
            {
                return await grains.Image(image).ReportImport(plan.Operation, stage, bytes);
            }
            catch (Exception exception) when (exception is TimeoutException or OrleansException or FaultException { Fault.Kind: FaultKind.Unavailable })
            {
                return true; // Progress only: the next report may arrive.
            }
        };
    }

    /// <summary>How the size of an import's disk is told to its image.</summary>
    public DiskAdmission AdmitTo(ImageId image, UploadPlan plan)
    {
        return async virtualSizeBytes =>
        {
            try
            {
                if (!await grains.Image(image).AcceptDisk(plan.Operation, virtualSizeBytes)) throw new ImportCancelledException();
            }
            catch (Exception exception) when (exception is TimeoutException or OrleansException or FaultException { Fault.Kind: FaultKind.Unavailable })
            {
                // The image looks once more before it is Ready.
            }
        };
    }

    protected override Task ExecuteAsync(CancellationToken stoppingToken) =>
        Task.WhenAll(Enumerable.Range(0, options.Value.Converters).Select(_ => Work(onlySmall: false, stoppingToken)).Append(Work(onlySmall: true, stoppingToken)).Append(ReportWaiting(stoppingToken)));

    /// <summary>Nobody knows how large a compressed upload is, nor is it asked how large a slave's layers are.</summary>
    private static bool IsSmall(ReceivedUpload? upload) => upload is { Compression: null, Image: { } image } && Math.Max(upload.Bytes, image.DataBytes ?? 0) <= SmallBytes;

    private async Task Work(bool onlySmall, CancellationToken stoppingToken)
    {
        try
        {
            while (true)
            {
                var job = await _line.Take(onlySmall, stoppingToken);
                if (!_waiting.TryRemove(KeyValuePair.Create(job.Plan.Layer, job)))
                    continue;
                using (job.Place)
                    await Import(job, stoppingToken);
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // The images of waiting jobs are ended by their reminders.
        }
    }

    /// <summary>Tells the images of waiting jobs that their uploads are not idle, and drops what is no longer wanted.</summary>
    private async Task ReportWaiting(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(options.Value.ReportPeriod, time);
        try
        {
            while (await timer.WaitForNextTickAsync(stoppingToken))
                await Task.WhenAll(_waiting.Values.Select(ReportWaiting));
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // As for the converters.
        }
    }

    private async Task ReportWaiting(Job job)
    {
        try
        {
            if (await ReportTo(job.Image, job.Plan)(ImportStage.Receiving, job.Upload?.Bytes ?? 0)
                || !_waiting.TryRemove(KeyValuePair.Create(job.Plan.Layer, job)))
                return;
            using (job.Place)
                await converter.Discard(job.Image, job.Plan);
            LogCancelled(job.Image);
        }
        catch (Exception exception)
        {
            // A defect, or a disk that fails. The other imports must not suffer from it.
            LogNotReported(job.Image, exception);
        }
    }

    private async Task Import(Job job, CancellationToken stoppingToken)
    {
        try
        {
            var report = ReportTo(job.Image, job.Plan);
            var manifest = job.Upload is { } upload
                ? await converter.Convert(job.Image, job.Plan, upload, report, AdmitTo(job.Image, job.Plan), stoppingToken)
                : await converter.Flatten(job.Image, job.Plan, report, stoppingToken);
            bool? isReady = null;
            await Tell(job.Image, async grain => isReady = (await grain.CompleteImport(job.Plan.Operation, manifest)).Status is ImageStatus.Ready);
            // Where that is not known, it may have become Ready before its answer was lost. Its reminder or the sweep ends it otherwise.
            if (isReady is false)
                await converter.Discard(job.Image, job.Plan);
            LogImported(job.Image, manifest.Disks.SelectMany(disk => disk.Layers).Sum(layer => layer.Bytes), isReady);
        }
        catch (OperationCanceledException)
        {
            LogCancelled(job.Image);
        }
        catch (FaultException exception)
        {
            LogRefused(job.Image, exception.Fault.Code, exception.Fault.Message);
            await Fail(job.Image, job.Plan, exception.Fault);
        }
        catch (Exception exception)
        {
            // A defect, or a disk that fails. The next import must not suffer from it.
            LogFailed(job.Image, exception);
            await Fail(job.Image, job.Plan, new(FaultKind.Internal, "import-failed", "The import met a defect of the server. Its log tells more."));
        }
    }

    private async Task Tell(ImageId image, Func<IImageGrain, Task> tell)
    {
        for (var attempt = 1; attempt <= MaxAttempts; attempt++)
        {
            try
            {
                await tell(grains.Image(image));
                return;
            }
            catch (Exception exception) when (exception is TimeoutException or OrleansException or FaultException)
            {
                LogNotTold(image, attempt, exception);
                await Task.Delay(s_pause, time);
            }
        }
    }

    private sealed record Job(ImageId Image, UploadPlan Plan, ReceivedUpload? Upload, ImportPlace Place);
}
