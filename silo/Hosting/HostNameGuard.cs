using System.Net;
using System.Net.Sockets;
using Instances.Hosts;
using Microsoft.Extensions.Options;
using Orleans.Metadata;
using Orleans.Runtime;
using HostOptions = Instances.Hosts.HostOptions;

namespace Instances.Hosting;

/// <summary>Prevents a host silo from joining while another live silo has its name.</summary>
/// <remarks>
/// A killed silo stays in the membership table for some seconds, and a frozen one longer. So a silo counts as alive only if it gives a new sign of life. If
/// nothing listens on its port, it counts as dead at once. If two start at the same time, the one with the later generation is refused.
/// </remarks>
internal sealed partial class HostNameGuard(
    IMembershipTable table, IClusterManifestProvider manifests, IGrainFactory grains, ILocalSiloDetails self, IOptions<HostOptions> host, TimeProvider time, ILogger<HostNameGuard> logger)
    : ILifecycleParticipant<ISiloLifecycle>
{
    /// <summary>Longer than three periods of signs of life.</summary>
    internal static readonly TimeSpan Bound = TimeSpan.FromSeconds(17);

    private static readonly TimeSpan Period = TimeSpan.FromSeconds(1);

    public void Participate(ISiloLifecycle lifecycle) => lifecycle.Subscribe(nameof(HostNameGuard), ServiceLifecycleStage.BecomeActive - 1, Require);

    /// <exception cref="StartException">Another live silo has the name.</exception>
    private async Task Require(CancellationToken cancellationToken)
    {
        var since = time.GetTimestamp();
        var signs = new Dictionary<SiloAddress, DateTime>();
        while (await Holders(cancellationToken) is { Count: > 0 } holders && time.GetElapsedTime(since) < Bound)
        {
            foreach (var holder in holders)
            {
                if (!signs.TryAdd(holder.SiloAddress, holder.IAmAliveTime) && holder.IAmAliveTime > signs[holder.SiloAddress])
                {
                    throw new StartException(
                        $"The host name '{host.Value.Name}' is taken: the silo at {holder.SiloAddress.Endpoint} has it and is running. "
                        + "Give this host another name (Host:Name), or stop the other silo first.");
                }
            }

            if (signs.Count == holders.Count && time.GetElapsedTime(since) < Period) LogWaits(host.Value.Name, holders[0].SiloAddress.Endpoint);
            await Task.Delay(Period, time, cancellationToken);
        }
    }

    private async Task<IReadOnlyList<MembershipEntry>> Holders(CancellationToken cancellationToken)
    {
        var members = (await table.ReadAllAsync(cancellationToken)).Members.Select(member => member.Item1);
        var holders = new List<MembershipEntry>();
        foreach (var member in members.Where(member => IsHolder(member, host.Value.Name, self.SiloAddress) && HasHost(member.SiloAddress)))
        {
            if (await Listens(member.SiloAddress.Endpoint)) holders.Add(member);
        }

        return holders;
    }

    internal static bool IsHolder(MembershipEntry member, string name, SiloAddress self) =>
        member.SiloName == name && !member.SiloAddress.Endpoint.Equals(self.Endpoint) && member.Status switch
        {
            SiloStatus.Active or SiloStatus.ShuttingDown or SiloStatus.Stopping => true,
            SiloStatus.Created or SiloStatus.Joining => (member.SiloAddress.Generation, member.SiloAddress.ToString()).CompareTo((self.Generation, self.ToString())) < 0,
            _ => false,
        };

    private bool HasHost(SiloAddress silo) => manifests.HasGrain(silo, grains.Host(new(host.Value.Name)).GetGrainId().Type);

    /// <summary>False if the machine refuses the connection. A machine that does not answer may only be slow.</summary>
    private static async Task<bool> Listens(IPEndPoint endPoint)
    {
        using var socket = new Socket(endPoint.AddressFamily, SocketType.Stream, ProtocolType.Tcp);
        using var bound = new CancellationTokenSource(Period);
        try
        {
            await socket.ConnectAsync(endPoint, bound.Token);
            return true;
        }
        catch (OperationCanceledException)
        {
            return true;
        }
        catch (SocketException exception)
        {
            return exception.SocketErrorCode is not SocketError.ConnectionRefused;
        }
    }

    [LoggerMessage(LogLevel.Information, "The silo at {Holder} has the host name {Host}: waiting for a sign that it is alive")]
    private partial void LogWaits(string host, IPEndPoint holder);
}
