using Microsoft.Extensions.Options;

namespace Instances.Hosting;

/// <summary>Waits for the end of the work in this silo before the silo stops, so that an orderly restart fails no operation.</summary>
internal sealed partial class SiloDrain(Drain drain, IOptions<SiloSettings> settings, TimeProvider time, ILogger<SiloDrain> logger) : IHostedLifecycleService
{
    /// <summary>Runs while everything in this process still works: its grains, its web server, its data plane.</summary>
    public async Task StoppingAsync(CancellationToken cancellationToken)
    {
        if (!await drain.WaitForEnd(settings.Value.DrainBound, time)) LogGivenUp(settings.Value.DrainBound.TotalSeconds);
    }

    public Task StartingAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StartedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StoppedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    [LoggerMessage(LogLevel.Warning, "The work in this silo did not end within {Seconds} s; another silo, or the next start, resumes it")]
    private partial void LogGivenUp(double seconds);
}
