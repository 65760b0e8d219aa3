using Microsoft.Extensions.Options;

namespace Instances.Hosting;

/// <summary>Lets what runs in this silo come to its end before the silo goes: a restart in order fails no operation.</summary>
internal sealed partial class SiloDrain(Drain drain, IOptions<SiloSettings> settings, TimeProvider time, ILogger<SiloDrain> logger) : IHostedLifecycleService
{
    /// <summary>While everything of this process still works: its grains, its web server, its data plane.</summary>
    public async Task StoppingAsync(CancellationToken cancellationToken)
    {
        if (!await drain.WaitForEnd(settings.Value.DrainBound, time)) LogGivenUp(settings.Value.DrainBound.TotalSeconds);
    }

    public Task StartingAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StartAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StartedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    public Task StoppedAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    [LoggerMessage(LogLevel.Warning, "What runs in this silo did not end within {Seconds} s; it is taken up again by another silo, or by the next start.")]
    private partial void LogGivenUp(double seconds);
}
