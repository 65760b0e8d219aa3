using System.Net;
using System.Net.Sockets;
using Instances.Datacenters;
using Instances.Storage;
using Orleans.Configuration;

namespace Instances.Hosting;

/// <summary>How silos find each other, and how soon one that is gone is known to be.</summary>
internal static class Membership
{
    /// <param name="urls">Where the web server will listen: its port is free still, and not for this.</param>
    public static void AddMembership(this ISiloBuilder silo, SiloSettings settings, StorageProvider storage, string? urls)
    {
        silo.Services.AddOptions<ClusterOptions>().Configure(cluster => (cluster.ServiceId, cluster.ClusterId) = (ClusterNames.ServiceId, settings.Datacenter));
        if (storage is StorageProvider.Sqlite)
        {
            // One process is the whole cluster: its membership needs no table.
            silo.UseLocalhostClustering(FreePort(urls), settings.ClientPort, serviceId: ClusterNames.ServiceId, clusterId: settings.Datacenter);
            return;
        }

        silo.UseAdoNetClustering(options => options.Configure<IDatabase>((clustering, database) =>
            (clustering.Invariant, clustering.DataSource) = (database.Invariant, database.DataSource)));
        silo.Services.AddOptions<EndpointOptions>().Configure(endpoint =>
        {
            var address = IPAddress.Parse(settings.Address);
            endpoint.AdvertisedIPAddress = address;
            endpoint.SiloPort = settings.Port != 0 ? settings.Port : FreePort(urls);
            endpoint.GatewayPort = settings.ClientPort;
            // Nowhere but there: the default is every address of the machine.
            endpoint.SiloListeningEndpoint = new(address, endpoint.SiloPort);
            if (settings.ClientPort != 0) endpoint.GatewayListeningEndpoint = new(address, settings.ClientPort);
        });
        silo.Services.Configure<ClusterMembershipOptions>(Tune);
        if (settings.Roles.Has(SiloRoles.Host)) silo.Services.AddSingleton<ILifecycleParticipant<ISiloLifecycle>, HostNameGuard>();
#pragma warning disable ORLEANSEXP003 // The directory that is no experiment ends grains in healthy silos when another silo goes, and with them operations that run.
        silo.AddDistributedGrainDirectory();
#pragma warning restore ORLEANSEXP003
        // What a silo had that died may be taken up at once: a grain that should live twice for a moment is told by the version of its state, which only one of the two can write.
        silo.Services.Configure<GrainDirectoryOptions>(directory => directory.RangeLeaseDuration = TimeSpan.Zero);
    }

    /// <summary>A silo that was killed is known to be dead within 3 s, one that stands still within 10 s.</summary>
    private static void Tune(ClusterMembershipOptions membership)
    {
        membership.ProbeTimeout = TimeSpan.FromSeconds(2);
        membership.MaxProbeTimeout = TimeSpan.FromSeconds(3);
        membership.NumMissedProbesLimit = 3;
        membership.TableRefreshTimeout = TimeSpan.FromSeconds(10);
        // Three of these without a sign, and a silo that starts does not wait for one that died with the whole cluster.
        membership.IAmAliveTablePublishTimeout = TimeSpan.FromSeconds(5);
    }

    private static int FreePort(string? urls)
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        var port = ((IPEndPoint)socket.LocalEndPoint!).Port;

        // While this one is held, the next is another.
        return urls?.Contains($":{port}", StringComparison.Ordinal) is true ? FreePort(urls) : port;
    }
}
