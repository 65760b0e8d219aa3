using System.Collections.Concurrent;
using Instances.Faults;
using Microsoft.Win32.SafeHandles;

namespace Instances.Library.Import;

/// <summary>Passes files on this machine to the converters: files that are imported by their paths, and uploads whose last part has arrived.</summary>
internal sealed partial class ImportIntake(
    FolderLibraryStore store, ImageReceiver receiver, ImportFolders folders, ImportPlaces places, ImportQueue queue, ILogger<ImportIntake> logger) : IHostedService, IImports, IDisposable
{
    /// <summary>The number is bounded by the places of the queue.</summary>
    private readonly ConcurrentDictionary<LayerId, Task> _running = new();
    private readonly CancellationTokenSource _stopping = new();

    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public async Task StopAsync(CancellationToken cancellationToken)
    {
        await _stopping.CancelAsync();
        await Task.WhenAll(_running.Values).WaitAsync(cancellationToken);
    }

    public void Dispose() => _stopping.Dispose();

    public IReadOnlyCollection<ImageId> UnderWay => places.UnderWay;

    public bool Has(ImageId image) => places.Has(image);

    public bool TakeUp(ImageId image, UploadPlan plan)
    {
        var place = places.Take(image);
        if (!place.TryClaim())
        {
            place.Dispose();
            return true;
        }

        if (store.ReceivedBytes(plan.Layer) < (plan.Command.Bytes ?? 1))
        {
            place.Dispose();
            return false;
        }

        Finish(image, plan, place);
        return true;
    }

    /// <summary>Continues with a complete upload in the background.</summary>
    /// <param name="place">It has claimed the file, and is released at the end of the import.</param>
    public void Finish(ImageId image, UploadPlan plan, ImportPlace place) =>
        Run(image, plan, place, token => receiver.Examine(plan, queue.ReportTo(image, plan), queue.AdmitTo(image, plan), token));

    public MeasuredFile Measure(string path)
    {
        var (file, facts) = folders.Open(path);
        using var owned = file;
        return new(facts.Bytes, UnixFiles.AllocatedBytes(file));
    }

    public void TakeFile(ImageId image, UploadPlan plan, string path)
    {
        var place = places.Take(image);
        if (place.TryClaim()) Run(image, plan, place, token => Copy(image, plan, path, token));
        else place.Dispose();
    }

    public void TakePromotion(ImageId image, UploadPlan plan)
    {
        var place = places.Take(image);
        if (place.TryClaim()) queue.Add(image, plan, upload: null, place);
        else place.Dispose();
    }

    private async Task<ReceivedUpload> Copy(ImageId image, UploadPlan plan, string path, CancellationToken cancellationToken)
    {
        var (file, before) = folders.Open(path);
        using var owned = file;
        await using var content = new FileStream(file, FileAccess.Read, bufferSize: 0);
        var (report, admit) = (queue.ReportTo(image, plan), queue.AdmitTo(image, plan));
        var upload = TryClone(file, plan.Layer)
            ? await receiver.Examine(plan, report, admit, cancellationToken)
            : await receiver.Receive(plan, content, before.Bytes, report, admit, cancellationToken, UnixFiles.AllocatedBytes(file));
        if (UnixFiles.FactsOf(file) == before && upload.Bytes == before.Bytes) return upload;
        File.Delete(upload.Path);
        throw ImportFaults.FileChanged();
    }

    private bool TryClone(SafeFileHandle file, LayerId layer)
    {
        var path = store.PartPathOf(layer);
        using (var part = new FileStream(path, UnixFiles.PrivateFile()))
        {
            if (UnixFiles.Clone(file, part.SafeFileHandle) == 0) return true;
        }

        File.Delete(path);
        return false;
    }

    private void Run(ImageId image, UploadPlan plan, ImportPlace place, Func<CancellationToken, Task<ReceivedUpload>> receive)
    {
        // The caller, a grain or a client, does not wait for the work.
        place.MarkReceived();
        var work = Task.Run(() => Take(image, plan, place, receive), CancellationToken.None);
        _running[plan.Layer] = work;
        _ = work.ContinueWith(_ => _running.TryRemove(KeyValuePair.Create(plan.Layer, work)), TaskScheduler.Default);
    }

    private async Task Take(ImageId image, UploadPlan plan, ImportPlace place, Func<CancellationToken, Task<ReceivedUpload>> receive)
    {
        try
        {
            queue.Add(image, plan, await receive(_stopping.Token), place);
            return;
        }
        catch (OperationCanceledException)
        {
            // The owner has cancelled it, or this process ends: there is nothing to report.
        }
        catch (FaultException exception)
        {
            LogRefused(image, exception.Fault.Code, exception.Fault.Message);
            await queue.Fail(image, plan, exception.Fault);
        }
        catch (Exception exception)
        {
            // A defect or a failing disk. It must not affect the next import.
            LogFailed(image, exception);
            await queue.Fail(image, plan, new(FaultKind.Internal, "import-failed", "The import failed because of a defect of the server. The server's log has the details."));
        }

        place.Dispose();
    }

    [LoggerMessage(LogLevel.Information, "The import of image {Image} ended with {Code}: {Reason}")]
    private partial void LogRefused(ImageId image, string code, string reason);

    [LoggerMessage(LogLevel.Error, "The import of image {Image} failed.")]
    private partial void LogFailed(ImageId image, Exception exception);
}
