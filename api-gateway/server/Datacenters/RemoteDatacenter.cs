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
        if (_client is null) return;
        foreach (var service in _services!.GetServices<IHostedService>()) await service.StopAsync(cancellationToken);
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
        foreach (var service in _services.GetServices<IHostedService>()) await service.StartAsync(stoppingToken);
        _client = _services.GetRequiredService<IClusterClient>();
        LogReached(_logger, name);
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
