using Instances.Faults;
using Instances.Hosts;
using Instances.Library;
using Instances.Simulation;
using Instances.Storage;
using Instances.Testing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;
using Orleans.TestingHost;
using Xunit;

namespace Instances.Grains.Tests.Hosts;

/// <summary>Three silos, each on its own host. The hosts' memory sizes differ, which shows which silo answers.</summary>
public sealed class HostPlacementTests : IAsyncLifetime
{
    private const int Hosts = 3;

    private readonly string _folder = MemoryFolder.Create("placement-");
    private readonly InProcessTestCluster _cluster;

    public HostPlacementTests()
    {
        var started = 0;
        MigratedDatabase.CopyTo(Path.Combine(_folder, "instances.db"));
        var builder = new InProcessTestClusterBuilder(Hosts);
        builder.Options.ConfigureFileLogging = false;
        builder.ConfigureSilo((_, silo) =>
        {
            var number = Interlocked.Increment(ref started);
            silo.Services.AddSingleton<SimulatedHost>();
            silo.Services.AddSingleton<IHypervisor, SimulatedHypervisor>();
            silo.Services.AddSingleton<ILibraryStore, SimulatedLayerStore>();
            silo.Services.AddSingleton<ILayerStore>(services => services.GetRequiredService<ILibraryStore>());
            silo.Services.AddSingleton<IDataPlane, SimulatedCluster.NoDataPlane>();
            silo.Services.AddSingleton<IImports, SimulatedImports>();
            silo.AddStorage(_ => new SqliteDatabase(Path.Combine(_folder, "instances.db")));
            silo.AddInstancesGrains();
            silo.Services.AddSingleton(Options.Create(new HostOptions { Name = $"host-{number}", MemoryBytes = number << 20 }));
        });
        _cluster = builder.Build();
    }

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync() => await _cluster.DeployAsync(Stop);

    public async ValueTask DisposeAsync()
    {
        await _cluster.DisposeAsync();
        Directory.Delete(_folder, recursive: true);
    }

    [Fact]
    public async Task HostGrain_OfEachHost_LivesInItsSilo()
    {
        for (var number = 1; number <= Hosts; number++)
            Assert.Equal(number << 20, (await Host($"host-{number}").Get()).MemoryBytes);
    }

    [Fact]
    public async Task HostGrain_OfAHostWithoutASilo_IsAFaultThatSaysSo()
    {
        var fault = (await Assert.ThrowsAsync<FaultException>(() => Host("elsewhere").Get())).Fault;

        Assert.Equal(("host-unavailable", FaultKind.Unavailable), (fault.Code, fault.Kind));
        Assert.Contains("elsewhere", fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task HostGrain_WhenItsSiloHasStopped_IsUnavailableAndNowhereElse()
    {
        var last = _cluster.Silos[^1];
        var name = last.ServiceProvider.GetRequiredService<IOptions<HostOptions>>().Value.Name;
        await Host(name).Get();

        await _cluster.StopSiloAsync(last, Stop);

        await Eventually.Holds(async () => await Record.ExceptionAsync(() => Host(name).Get()) is FaultException { Fault.Code: "host-unavailable" }, "the host is unreachable");
    }

    private IHostGrain Host(string name) => _cluster.Client.GetGrain<IHostGrain>(name);
}
