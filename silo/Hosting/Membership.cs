using System.Net;
using System.Net.Sockets;
using Instances.Datacenters;
using Instances.Storage;
using Orleans.Configuration;

namespace Instances.Hosting;

/// <summary>How silos find each other, and how soon they notice a dead one.</summary>
internal static class Membership
{
    /// <param name="urls">The addresses of the web server: its port is still free, but must not be used here.</param>
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
            // Listen only there: the default is every address of the machine.
            endpoint.SiloListeningEndpoint = new(address, endpoint.SiloPort);
            if (settings.ClientPort != 0) endpoint.GatewayListeningEndpoint = new(address, settings.ClientPort);
        });
        silo.Services.Configure<ClusterMembershipOptions>(Tune);
        if (settings.Roles.Has(SiloRoles.Host)) silo.Services.AddSingleton<ILifecycleParticipant<ISiloLifecycle>, HostNameGuard>();
#pragma warning disable ORLEANSEXP003 // The stable directory deactivates grains in healthy silos when another silo dies, and so interrupts their operations.
        silo.AddDistributedGrainDirectory();
#pragma warning restore ORLEANSEXP003
        // Grains of a dead silo may be activated elsewhere at once. If a grain has two activations for a moment, the version of its state lets only one of them write.
        silo.Services.Configure<GrainDirectoryOptions>(directory => directory.RangeLeaseDuration = TimeSpan.Zero);
    }

    /// <summary>The others notice within 3 s that a silo was killed, and within 10 s that one hangs.</summary>
    private static void Tune(ClusterMembershipOptions membership)
    {
        membership.ProbeTimeout = TimeSpan.FromSeconds(2);
        membership.MaxProbeTimeout = TimeSpan.FromSeconds(3);
        membership.NumMissedProbesLimit = 3;
        membership.TableRefreshTimeout = TimeSpan.FromSeconds(10);
        // After three of these periods without a sign, a starting silo does not wait for one that died with the whole cluster.
        membership.IAmAliveTablePublishTimeout = TimeSpan.FromSeconds(5);
    }

    private static int FreePort(string? urls)
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        var port = ((IPEndPoint)socket.LocalEndPoint!).Port;

        // While this port is held, the next one is different.
        return urls?.Contains($":{port}", StringComparison.Ordinal) is true ? FreePort(urls) : port;
    }
}
