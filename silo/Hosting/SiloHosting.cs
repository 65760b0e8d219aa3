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
    /// <summary>The time for the end of the process, besides the drain. After it the process is cut off.</summary>
    private static readonly TimeSpan StopReserve = TimeSpan.FromSeconds(30);

    /// <summary>Sets the data folders of this process, and the addresses that it listens on.</summary>
    public static void AddDataFolder(this WebApplicationBuilder builder, SiloArguments arguments)
    {
        // From now on new files are readable only by this process' user, unless the code says otherwise.
        UnixFiles.SetMask(UnixFiles.OthersMode);
        builder.Services.AddSingleton(DataFolder.Take(arguments.DataFolder));
        builder.Configuration["Data:Folder"] = arguments.DataFolder;
        builder.Configuration["LayerStore:Folder"] ??= Path.Combine(arguments.DataFolder, "layers");
        builder.Configuration["Qemu:RunFolder"] ??= Path.Combine(arguments.DataFolder, "machines");
        builder.Configuration["Simulation:Folder"] ??= Path.Combine(arguments.DataFolder, "machines");
        builder.WebHost.UseUrls($"http://{AddressText(builder.Configuration["Silo:Address"])}:{arguments.Port}");
    }

    /// <summary>The web server listens on the silo's address. An invalid address is reported later, with all other errors.</summary>
    private static string AddressText(string? configured) => IPAddress.TryParse(configured, out var address)
        ? address.AddressFamily is AddressFamily.InterNetworkV6 ? $"[{address}]" : $"{address}"
        : $"{IPAddress.Loopback}";

    /// <summary>The silo with the roles that the configuration gives it.</summary>
    /// <returns>The roles, and the name of its datacenter.</returns>
    public static (SiloRoles Roles, string Datacenter) AddSilo(this WebApplicationBuilder builder)
    {
        var (folder, services) = (builder.Configuration["Data:Folder"]!, builder.Services);
        var settings = builder.Configuration.GetSection(SiloSettings.Section).Get<SiloSettings>() ?? new();
        builder.NameHost(settings.Roles);
        services.AddOptions<SiloSettings>().BindConfiguration(SiloSettings.Section).ValidateDataAnnotations().ValidateOnStart();
        services.AddSingleton<IValidateOptions<SiloSettings>, SiloSettingsValidator>();
        services.AddOptions<StorageOptions>().BindConfiguration(StorageOptions.Section).ValidateDataAnnotations().ValidateOnStart();
        services.AddRoles(settings.Roles, builder.Configuration);
        services.AddSagaHold(builder.Configuration);
        builder.AddKillSwitch();
        services.AddSystemd();
        services.Configure<Microsoft.Extensions.Hosting.HostOptions>(host => host.ShutdownTimeout = settings.DrainBound + StopReserve);
        builder.UseOrleans(silo =>
        {
            silo.AddStorage(provider => OpenDatabase(provider.GetRequiredService<IOptions<StorageOptions>>().Value, folder), settings.Datacenter);
            silo.AddMembership(settings, builder.Configuration.GetValue<StorageProvider>($"{StorageOptions.Section}:{nameof(StorageOptions.Provider)}"), builder.Configuration["urls"]);
            silo.AddInstancesGrains(settings.Roles);
            silo.AddStartupTask<SiloStart>();
        });
        // Registered after Orleans' own services, so that it is stopped before them.
        services.AddHostedService<SiloDrain>();
        return (settings.Roles, settings.Datacenter);
    }

    /// <summary>A host keeps the name in its data folder. Other silos have no host: their name is that of their machine, and only informative.</summary>
    private static void NameHost(this WebApplicationBuilder builder, SiloRoles roles)
    {
        var configured = builder.Configuration["Host:Name"] is { Length: > 0 } name ? name : null;
        // An invalid name is not kept, and is reported later with all other errors.
        if (configured is not null && !HostId.TryParse(configured, null, out _)) return;
        builder.Configuration["Host:Name"] = roles.Has(SiloRoles.Host) ? Folder().KeepHostName(configured) : configured ?? DataFolder.HostNameOf(Environment.MachineName);

        DataFolder Folder() => (DataFolder)builder.Services.Single(service => service.ServiceType == typeof(DataFolder)).ImplementationInstance!;
    }

    private static IDatabase OpenDatabase(StorageOptions options, string folder) => options.Provider switch
    {
        StorageProvider.Sqlite => new SqliteDatabase(Path.Combine(folder, "instances.db"), options.ReserveBytes),
        StorageProvider.PostgreSql => new PostgreSqlDatabase(options.ConnectionString, options.MaxConnections),
    };

    private static void AddRoles(this IServiceCollection services, SiloRoles roles, IConfiguration configuration)
    {
        if (roles.Has(SiloRoles.Library)) services.AddLibrary();
        if (roles.Has(SiloRoles.Host))
        {
            services.AddHostLayers();
            services.AddHypervisor(configuration);
            services.PostConfigure<HostOptions>(host => host.OwnPorts = OwnPorts(configuration));
        }

        if (roles is not SiloRoles.Control) services.AddDataPlane();
    }

    /// <summary>The ports that are known before the silo starts. A port of 0 is chosen at the start.</summary>
    private static IReadOnlyList<int> OwnPorts(IConfiguration configuration)
    {
        var settings = configuration.GetSection(SiloSettings.Section).Get<SiloSettings>() ?? new();
        var web = (configuration[WebHostDefaults.ServerUrlsKey] ?? "").Split(';').Select(url => Uri.TryCreate(url, UriKind.Absolute, out var address) ? address.Port : 0);
        return [.. web.Append(settings.Port).Append(settings.ClientPort).Where(port => port != 0)];
    }

    private static void AddHypervisor(this IServiceCollection services, IConfiguration configuration)
    {
        switch (configuration["Host:Hypervisor"])
        {
            case null or "qemu":
                services.AddQemu();
                break;
            case "simulated":
                services.AddSimulation();
                break;
            case var other:
                throw new OptionsValidationException("Host", typeof(HostOptions), [$"Host:Hypervisor is '{other}': qemu or simulated."]);
        }
    }
}
