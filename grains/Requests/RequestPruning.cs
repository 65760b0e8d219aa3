using Instances.Catalogue;
using Instances.Faults;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.Runtime;

namespace Instances.Requests;

/// <summary>Deletes records of requests that are older than <see cref="RequestOptions.KeepFor"/>. Every control silo does this; a record is deleted only once.</summary>
internal sealed partial class RequestPruning(
    ICatalogue catalogue, IGrainFactory grains, IOptions<RequestOptions> options, TimeProvider time, ILogger<RequestPruning> logger) : BackgroundService
{
    private const int Batch = 500;

    private static readonly TimeSpan Period = TimeSpan.FromHours(1);

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using var timer = new PeriodicTimer(Period, time);
        while (await timer.WaitForNextTickAsync(stoppingToken))
        {
            try
            {
                await Prune(stoppingToken);
            }
            catch (Exception exception) when (exception is not OperationCanceledException)
            {
                LogFailed(logger, exception.Message);
            }
        }
    }

    public async Task Prune(CancellationToken cancellationToken)
    {
        var before = time.GetUtcNow() - options.Value.KeepFor;

        // Records that are in use, and records that failed, stay until the next time.
        var tried = new HashSet<RequestId>();
        Exception? failure = null;
        while (true)
        {
            cancellationToken.ThrowIfCancellationRequested();
            var found = await catalogue.RequestsBefore(before, Batch + tried.Count);
            tried.IntersectWith(found);
            var old = found.Where(id => !tried.Contains(id)).Take(Batch).ToList();
            if (old.Count == 0) break;
            await FanOut.All(old, Expire);
            tried.UnionWith(old);
        }

        if (failure is not null) LogFailed(logger, failure.Message);

        async Task Expire(RequestId id)
        {
            try
            {
                await grains.Request(id).Expire(before);
            }
            catch (Exception exception) when (exception is FaultException or TimeoutException or OrleansException)
            {
                failure = exception;
            }
        }
    }

    [LoggerMessage(LogLevel.Warning, "Old requests could not be pruned; the pruning will be retried: {Reason}")]
    private static partial void LogFailed(ILogger logger, string reason);
}
