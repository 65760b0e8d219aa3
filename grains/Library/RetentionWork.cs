using System.Data.Common;
using Instances.Catalogue;
using Instances.Faults;
using Microsoft.Extensions.Logging;
using Orleans.Runtime;

namespace Instances.Library;

/// <summary>Retires the instances that no retention rule keeps: after each capture for its masters, and with the library's sweep for all.</summary>
/// <remarks>It reads the catalogue first. Then each image decides: an image that was pinned or used meanwhile stays. Failures do not affect other images, and the
/// next sweep retries them.</remarks>
internal sealed partial class RetentionWork(ICatalogue catalogue, IGrainFactory grains, TimeProvider time, ILogger<RetentionWork> logger)
{
    /// <summary>How many images are retired by one run, at most; the next run continues.</summary>
    public const int MaxRetirements = 1000;

    /// <param name="master">Only its slaves; null for all.</param>
    public async Task Apply(ImageId? master)
    {
        try
        {
            var expendable = Retention.Expendable(await catalogue.RuledInstances(master), time.GetUtcNow());
            await FanOut.Each(expendable.Take(MaxRetirements), Retire);
        }
        catch (Exception exception) when (exception is TimeoutException or DbException)
        {
            LogNotApplied(exception.Message);
        }
    }

    private async Task Retire(ImageId image)
    {
        try
        {
            await grains.Image(image).Retire(RetirementReason.Retention);
        }
        catch (Exception exception) when (exception is FaultException or TimeoutException or OrleansException)
        {
            LogNotRetired(image.Value, exception.Message);
        }
    }

    [LoggerMessage(Level = LogLevel.Warning, Message = "Retention rules could not be applied; they will be retried: {Reason}")]
    private partial void LogNotApplied(string reason);

    [LoggerMessage(Level = LogLevel.Information, Message = "No retention rule keeps the image {Image}, but it could not be retired: {Reason}")]
    private partial void LogNotRetired(Guid image, string reason);
}
