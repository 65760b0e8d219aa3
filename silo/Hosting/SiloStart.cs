using Instances.Faults;
using Instances.Hosts;
using Microsoft.Extensions.Options;
using HostOptions = Instances.Hosts.HostOptions;

namespace Instances.Hosting;

/// <summary>The last thing that a silo does before it takes requests: its host adopts what runs on it, its library is swept and watched.</summary>
/// <remarks>Both need a control silo, which may come later than this one.</remarks>
internal sealed partial class SiloStart(IGrainFactory grains, IOptions<HostOptions> host, IOptions<SiloSettings> settings, TimeProvider time, ILogger<SiloStart> logger)
    : IStartupTask
{
    private static readonly TimeSpan Pause = TimeSpan.FromSeconds(1);

    public async Task Execute(CancellationToken cancellationToken)
    {
        var roles = settings.Value.Roles;
        if (roles.Has(SiloRoles.Host)) await Insist(() => grains.Host(new(host.Value.Name)).Start(), cancellationToken);
        if (roles.Has(SiloRoles.Library)) await Insist(() => Task.WhenAll(grains.Library().SweepSoon(), grains.Scrub().Get(), grains.Compaction().Get()), cancellationToken);
    }

    private async Task Insist(Func<Task> call, CancellationToken cancellationToken)
    {
        for (var attempt = 1; ; attempt++)
        {
            try
            {
                await call();
                return;
            }
            catch (Exception exception) when (IsTransient(exception) && !cancellationToken.IsCancellationRequested)
            {
                if (attempt == 1) LogWaits(exception.Message);
                await Task.Delay(Pause, time, cancellationToken);
            }
        }
    }

    private static bool IsTransient(Exception exception) =>
        exception is FaultException { Fault.Kind: FaultKind.Unavailable or FaultKind.Capacity } or TimeoutException or OrleansException;

    [LoggerMessage(LogLevel.Warning, "A part of the datacenter that this silo needs does not answer yet; trying on: {Reason}")]
    private partial void LogWaits(string reason);
}
