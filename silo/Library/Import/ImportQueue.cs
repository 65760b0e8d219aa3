using System.Collections.Concurrent;
using System.IO.Pipelines;
using Instances.Faults;
using Microsoft.Extensions.Options;

namespace Instances.Library.Import;

/// <summary>Complete uploads that wait for one of a few converters. An import has a place from before its first byte to its end.</summary>
internal sealed partial class ImportQueue(IGrainFactory grains, ImageConverter converter, IOptions<ImportOptions> options, IOptions<LibraryOptions> library, TimeProvider time, ILogger<ImportQueue> logger)
    : BackgroundService
{
    /// <summary>How often the result of an import is reported to a grain that does not answer. After that the grain's reminder ends the import, and the sweep removes its files.</summary>
    private const int MaxAttempts = 5;

    private static readonly TimeSpan s_pause = TimeSpan.FromSeconds(2);

    /// <summary>Imports up to this size, when expanded, have their own converter, so that they do not wait for larger ones.</summary>
    private const long SmallBytes = 256 << 20;

    private readonly ImportLine<Job> _line = new(); // Bounded by the places.

    /// <summary>The jobs that no converter has taken. A task that removes a job owns it, to convert it or to drop it.</summary>
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

    /// <summary>The body of a request that sends bytes of an import.</summary>
    public UploadBody BodyOf(PipeReader body, ImportPlace place, UploadPlan plan, long offset, bool isPart) =>
        new(body, place, ReportTo(place.Image, plan), offset, library.Value.UploadIdleBound, options.Value.ReportPeriod, isPart, time);

    /// <summary>Ends an import that failed.</summary>
    public Task Fail(ImageId image, UploadPlan plan, Fault fault) =>
        Tell(image, grain => grain.FailImport(plan.Operation, fault));

    /// <summary>Tells the image that all bytes are durable: if this silo ends, the next one resumes the import.</summary>
    public async Task MarkWhole(ImageId image, UploadPlan plan)
    {
        try
        {
            await grains.Image(image).CompleteUpload(plan.Operation);
        }
        catch (Exception exception) when (exception is TimeoutException or OrleansException or FaultException)
        {
            // A silo of an earlier release refuses this. The import continues, but cannot be resumed.
            LogNotMarked(image, exception.Message);
        }
    }

    /// <summary>Reports an import's progress to its image.</summary>
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

    /// <summary>Reports the size of an import's disk to its image.</summary>
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
                // The image checks again before it is Ready.
            }
        };
    }

    protected override Task ExecuteAsync(CancellationToken stoppingToken) =>
        Task.WhenAll(Enumerable.Range(0, options.Value.Converters).Select(_ => Work(onlySmall: false, stoppingToken)).Append(Work(onlySmall: true, stoppingToken)).Append(ReportWaiting(stoppingToken)));

    /// <summary>False for compressed uploads and promotions, whose sizes are not known here.</summary>
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

    /// <summary>Reports to the images of waiting jobs that their uploads are not idle, and drops cancelled jobs.</summary>
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
            // A defect or a failing disk. It must not affect other imports.
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
            // If the answer was lost, the image may be Ready. Otherwise its reminder or the sweep ends the import.
            if (isReady is false)
                await converter.Discard(job.Image, job.Plan);
            LogImported(job.Image, manifest.Disks.SelectMany(disk => disk.Layers).Sum(layer => layer.Bytes), isReady);
        }
        catch (OperationCanceledException exception)
        {
            if (exception is ImportCancelledException) LogCancelled(job.Image);
            else LogInterrupted(job.Image);
        }
        catch (FaultException exception)
        {
            LogRefused(job.Image, exception.Fault.Code, exception.Fault.Message);
            await Fail(job.Image, job.Plan, exception.Fault);
        }
        catch (Exception exception)
        {
            // A defect or a failing disk. It must not affect the next import.
            LogFailed(job.Image, exception);
            await Fail(job.Image, job.Plan, new(FaultKind.Internal, "import-failed", "The import failed because of a defect of the server. The server's log has the details."));
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
