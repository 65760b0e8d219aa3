using System.Net;
using System.Net.Sockets;
using Instances.Hosts;
using Microsoft.Extensions.Options;
using Orleans.Metadata;
using Orleans.Runtime;
using HostOptions = Instances.Hosts.HostOptions;

namespace Instances.Hosting;

/// <summary>Keeps a host silo from joining while another silo that is alive has its name.</summary>
/// <remarks>
/// A silo that was killed is in the table for some seconds more, and one that was frozen for longer. So only one that gives a new sign of life is alive. One
/// whose port nobody listens at is not waited for. Of two that start at once the one that started later, by its generation, is refused.
/// </remarks>
internal sealed partial class HostNameGuard(
    IMembershipTable table, IClusterManifestProvider manifests, IGrainFactory grains, ILocalSiloDetails self, IOptions<HostOptions> host, TimeProvider time, ILogger<HostNameGuard> logger)
    : ILifecycleParticipant<ISiloLifecycle>
{
    /// <summary>Longer than three signs of life are apart.</summary>
    internal static readonly TimeSpan Bound = TimeSpan.FromSeconds(17);

    private static readonly TimeSpan Period = TimeSpan.FromSeconds(1);

    public void Participate(ISiloLifecycle lifecycle) => lifecycle.Subscribe(nameof(HostNameGuard), ServiceLifecycleStage.BecomeActive - 1, Require);

    /// <exception cref="StartException">The name is taken.</exception>
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
                        $"The host name '{host.Value.Name}' is taken: the silo at {holder.SiloAddress.Endpoint} has it, and runs. "
                        + "Give this host a name of its own (Host:Name), or stop the other silo first.");
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

    /// <summary>False if the machine answers that nobody listens. A machine that does not answer may be only slow.</summary>
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
