using Instances.Faults;
using Instances.Hosts;
using Microsoft.Extensions.Options;
using HostOptions = Instances.Hosts.HostOptions;

namespace Instances.Hosting;

/// <summary>The last step of a silo's start before it accepts requests: its host adopts the running machines, and its library starts the sweep, the scrub and the compaction.</summary>
/// <remarks>Both need a control silo, which may start later than this one.</remarks>
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

    [LoggerMessage(LogLevel.Warning, "A part of the datacenter that this silo needs does not answer yet and will be retried: {Reason}")]
    private partial void LogWaits(string reason);
}
