using Instances.Catalogue;
using Instances.Faults;
using Orleans.Configuration;
using Orleans.Messaging;

namespace Instances.Datacenters;

/// <summary>A datacenter that is reached as an Orleans client. It has its own services, so that a datacenter that is down does not affect others.</summary>
internal sealed partial class RemoteDatacenter(
    string name,
    DatacenterOptions options,
    ILoggerFactory loggers,
    TimeProvider clock) : BackgroundService, IDatacenterConnection, IClientConnectionRetryFilter, IAsyncDisposable
{
    /// <summary>How long a call to a silo that died can take. More than half of the silos' own bound of 14 s, because a watch waits up to half of it
    /// for a change.</summary>
    public static readonly TimeSpan ResponseTimeout = TimeSpan.FromSeconds(9);

    /// <summary>How soon new and returned silos are used. Each refresh is one small call to a silo.</summary>
    private static readonly TimeSpan RefreshPeriod = TimeSpan.FromSeconds(3);

    private static readonly TimeSpan RetryDelay = TimeSpan.FromSeconds(1);

    /// <summary>How often in a row the client may know none of our grains before a new one takes its place. Silos that start may not offer any for a few seconds.</summary>
    private const int MaxBlindLooks = 3;

    private readonly ILogger _logger = loggers.CreateLogger<RemoteDatacenter>();
    private ServiceProvider? _services;
    private volatile IClusterClient? _client;
    private bool _failureIsLogged;

    public string Name => name;

    public IClusterClient Client => _client ?? throw Unreachable(name);

    public static FaultException Unreachable(string name, Exception? cause = null) => FaultException.Unavailable(
        "datacenter-unavailable",
        $"The datacenter '{name}' cannot be reached at the moment. What is running there keeps running; repeat the request later.",
        cause);

    public override async Task StopAsync(CancellationToken cancellationToken)
    {
        await base.StopAsync(cancellationToken);
        if (_client is not null) await Stop(_services!, cancellationToken);
    }

    public async ValueTask DisposeAsync()
    {
        Dispose();
        if (_services is not null) await _services.DisposeAsync();
    }

    async Task<bool> IClientConnectionRetryFilter.ShouldRetryConnectionAttempt(Exception exception, CancellationToken cancellationToken)
    {
        if (!_failureIsLogged) LogNotReached(_logger, name, exception.GetBaseException().Message);
        _failureIsLogged = true;
        await Task.Delay(RetryDelay, clock, cancellationToken);
        return true;
    }

    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        _services = CreateServices();
        await Start(_services, stoppingToken);
        _client = _services.GetRequiredService<IClusterClient>();
        LogReached(_logger, name);
        using var timer = new PeriodicTimer(RefreshPeriod, clock);
        for (var blindLooks = 0; await timer.WaitForNextTickAsync(stoppingToken);)
        {
            blindLooks = KnowsGrains(_client) ? 0 : blindLooks + 1;
            if (blindLooks < MaxBlindLooks) continue;
            await Replace(stoppingToken);
            blindLooks = 0;
        }
    }

    /// <summary>An Orleans client keeps the newest description of the cluster by the version of its membership. Silos whose database was restored from a backup have a lower version than
    /// before. If the last that the client saw was a cluster that had stopped, it would take nothing newer, and know no grain, for as long as it lives.</summary>
    private async Task Replace(CancellationToken stoppingToken)
    {
        LogConnectsAgain(_logger, name);
        var (services, before) = (CreateServices(), _services!);
        try
        {
            await Start(services, stoppingToken);
        }
        catch
        {
            await services.DisposeAsync();
            throw;
        }

        (_services, _client) = (services, services.GetRequiredService<IClusterClient>());
        LogReached(_logger, name);
        await Stop(before, stoppingToken);
        await before.DisposeAsync();
    }

    private static bool KnowsGrains(IClusterClient client)
    {
        try
        {
            client.GetGrain<ICatalogueGrain>(0);
            return true;
        }
        catch (ArgumentException)
        {
            return false;
        }
    }

    private static async Task Start(ServiceProvider services, CancellationToken cancellationToken)
    {
        foreach (var service in services.GetServices<IHostedService>()) await service.StartAsync(cancellationToken);
    }

    private static async Task Stop(ServiceProvider services, CancellationToken cancellationToken)
    {
        foreach (var service in services.GetServices<IHostedService>()) await service.StopAsync(cancellationToken);
    }

    private ServiceProvider CreateServices()
    {
        var services = new ServiceCollection();
        services.AddLogging();
        services.AddSingleton(loggers);
        services.AddOrleansClient(client =>
        {
            client.Services.AddSingleton(provider => new LiveGateways(options.EndPoints(), RefreshPeriod, provider, clock));
            client.Services.AddSingleton<IGatewayListProvider>(provider => provider.GetRequiredService<LiveGateways>());
            client.Configure<ClusterOptions>(cluster => (cluster.ServiceId, cluster.ClusterId) = (ClusterNames.ServiceId, name));
            client.Configure<ClientMessagingOptions>(messaging => messaging.ResponseTimeout = ResponseTimeout);
            client.Configure<GatewayOptions>(gateways => gateways.GatewayListRefreshPeriod = RefreshPeriod);
            client.Configure<TypeManagementOptions>(types => types.TypeMapRefreshInterval = RefreshPeriod);
            client.Services.AddSingleton<IClientConnectionRetryFilter>(this);
            client.Services.AddSingleton(clock);
            client.AddOutgoingGrainCallFilter<CallRepeater>();
            client.Services.AddSingleton<IOutgoingGrainCallFilter>(provider => provider.GetRequiredService<LiveGateways>());
            client.AddOutgoingGrainCallFilter<LostCallFilter>();
        });
        return services.BuildServiceProvider();
    }
}
