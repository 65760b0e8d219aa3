using System.Data.Common;
using Instances.Catalogue;
using Instances.Faults;
using Microsoft.Extensions.Logging;
using Orleans.Runtime;

namespace Instances.Library;

/// <summary>Retires what retention rules let go: after each capture for its masters, and with the library's sweep for all.</summary>
/// <remarks>It looks at the catalogue first, and each image decides for itself then: one that is pinned or used by that time stays. What fails is tried again by the
/// next sweep, and keeps nothing else from being done.</remarks>
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

    [LoggerMessage(Level = LogLevel.Warning, Message = "Retention rules could not be applied; it is tried again: {Reason}")]
    private partial void LogNotApplied(string reason);

    [LoggerMessage(Level = LogLevel.Information, Message = "No retention rule keeps the image {Image}, which stays all the same: {Reason}")]
    private partial void LogNotRetired(Guid image, string reason);
}
