using System.Net;
using System.Net.Sockets;
using Instances.DataPlane;
using Instances.Datacenters;
using Instances.Hosts;
using Instances.Library;
using Instances.Qemu;
using Instances.Sagas;
using Instances.Simulation;
using Instances.Storage;
using Microsoft.Extensions.Options;
using HostOptions = Instances.Hosts.HostOptions;

namespace Instances.Hosting;

internal static class SiloHosting
{
    /// <summary>Where this process keeps everything, and where it listens.</summary>
    public static void AddDataFolder(this WebApplicationBuilder builder, SiloArguments arguments)
    {
        Directory.CreateDirectory(arguments.DataFolder);
        builder.Configuration["Data:Folder"] = arguments.DataFolder;
        builder.Configuration["LayerStore:Folder"] ??= Path.Combine(arguments.DataFolder, "layers");
        builder.Configuration["Qemu:RunFolder"] ??= Path.Combine(arguments.DataFolder, "machines");
        builder.WebHost.UseUrls($"http://127.0.0.1:{arguments.Port}");
    }

    /// <summary>The silo with the host agent of this machine.</summary>
    public static void AddSilo(this WebApplicationBuilder builder)
    {
        var folder = builder.Configuration["Data:Folder"]!;
        builder.Services.AddHypervisor(builder.Configuration);
        builder.Services.AddOptions<StorageOptions>().BindConfiguration(StorageOptions.Section).ValidateDataAnnotations().ValidateOnStart();
        builder.Services.AddDataPlane();
        builder.Services.AddSagaHold(builder.Configuration);
        builder.UseOrleans(silo =>
        {
            // One process is the whole cluster: its membership needs no table. A gateway in another process connects to the client port, where one is set.
            var clientPort = builder.Configuration.GetValue("Silo:ClientPort", defaultValue: 0);
            silo.UseLocalhostClustering(FreePort(), clientPort, serviceId: ClusterNames.ServiceId, clusterId: ClusterNames.Local);
            silo.AddStorage(services => OpenDatabase(services.GetRequiredService<IOptions<StorageOptions>>().Value, folder));
            silo.AddInstancesGrains();
            silo.AddStartupTask(StartHost);
        });
    }

    private static IDatabase OpenDatabase(StorageOptions options, string folder) => options.Provider switch
    {
        StorageProvider.Sqlite => new SqliteDatabase(Path.Combine(folder, "instances.db")),
        StorageProvider.PostgreSql => new PostgreSqlDatabase(options.ConnectionString, options.MaxConnections),
    };

    private static void AddHypervisor(this IServiceCollection services, IConfiguration configuration)
    {
        switch (configuration["Host:Hypervisor"])
        {
            case null or "qemu":
                services.AddLibrary();
                services.AddHostLayers();
                services.AddQemu();
                break;
            case "simulated":
                services.AddSingleton<SimulatedHost>();
                services.AddSingleton<IHypervisor, SimulatedHypervisor>();
                services.AddSingleton<ILibraryStore, SimulatedLayerStore>();
                services.AddSingleton<ILayerStore>(provider => provider.GetRequiredService<ILibraryStore>());
                break;
            case var other:
                throw new OptionsValidationException("Host", typeof(HostOptions), [$"Host:Hypervisor is '{other}': qemu or simulated."]);
        }
    }

    /// <summary>Adopts what runs on this host, and sweeps the library, before the first request is taken.</summary>
    private static async Task StartHost(IServiceProvider services, CancellationToken cancellationToken)
    {
        var (grains, host) = (services.GetRequiredService<IGrainFactory>(), services.GetRequiredService<IOptions<HostOptions>>().Value);
        await grains.GetGrain<IHostGrain>(host.Name).Start();
        await grains.GetGrain<ILibraryGrain>(ILibraryGrain.Key).SweepSoon();
    }

    private static int FreePort()
    {
        using var socket = new Socket(AddressFamily.InterNetwork, SocketType.Stream, ProtocolType.Tcp);
        socket.Bind(new IPEndPoint(IPAddress.Loopback, 0));
        return ((IPEndPoint)socket.LocalEndPoint!).Port;
    }
}
