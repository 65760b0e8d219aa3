using System.Data.Common;
using Instances.Faults;
using Instances.Operations;
using Microsoft.Extensions.Logging;
using Orleans.Runtime;

namespace Instances.Library;

/// <summary>Imports that the library's silo worked on until it ended. The next one resumes or fails them when it starts; their reminders would do it minutes later.</summary>
internal sealed partial class LibraryGrain
{
    /// <summary>How often images that do not answer are asked. After that their reminders are left.</summary>
    private const int MaxResumes = 12;

    private static readonly TimeSpan ResumePeriod = TimeSpan.FromSeconds(5);

    private IGrainTimer? _resuming;
    private int _resumes;

    public Task<bool> IsImporting(ImageId image) => Task.FromResult(imports.Has(image));

    // Interleaves: an image asks this grain for more while it is asked.
    private void WatchForInterrupted() =>
        _resuming = this.RegisterGrainTimer(ResumeImports, new GrainTimerCreationOptions(TimeSpan.Zero, ResumePeriod) { Interleave = true });

    private async Task ResumeImports(CancellationToken cancellationToken)
    {
        try
        {
            await FanOut.All(await catalogue.ImagesIn(ImageStatus.Importing), image => GrainFactory.Image(image).ResumeImport());
            _resuming!.Dispose();
        }
        catch (Exception exception) when (exception is FaultException or TimeoutException or OrleansException or DbException)
        {
            LogNotResumed(exception.Message);
            if (++_resumes == MaxResumes) _resuming!.Dispose();
        }
    }

    [LoggerMessage(Level = LogLevel.Information, Message = "Not all interrupted imports could be resumed yet: {Reason}")]
    private partial void LogNotResumed(string reason);
}
