using Instances.Appliances;
using Instances.Datacenters;
using Instances.Doctor;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.Sagas;
using Instances.Simulation;
using Instances.Storage;
using Instances.Testing;
using Instances.VirtualMachines;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;
using Orleans.TestingHost;

namespace Instances.Grains.Tests.Datacenters;

/// <summary>Several silos, each on a simulated host of its own, host-1, host-2, …, with one library that all of them see.</summary>
internal sealed class SimulatedHosts : IAsyncDisposable
{
    public const long MachineBytes = 64L << 20;

    private readonly string _folder = MemoryFolder.Create("hosts-");
    private readonly InProcessTestCluster _cluster;
    private int _started;

    private SimulatedHosts(short hosts, int machines)
    {
        MigratedDatabase.CopyTo(Path.Combine(_folder, "instances.db"));
        var builder = new InProcessTestClusterBuilder(hosts);
        builder.Options.ConfigureFileLogging = false;
        builder.ConfigureSilo((_, silo) =>
        {
            var name = $"host-{Interlocked.Increment(ref _started)}";
            var host = new SimulatedHost(TimeProvider.System);
            lock (Hosts) Hosts[name] = host;
            silo.Services.AddSingleton(host);
            silo.Services.AddSingleton<IHypervisor, SimulatedHypervisor>();
            silo.Services.AddSingleton<ILayerStore>(Layers);
            silo.Services.AddSingleton<ILibraryStore>(Layers);
            silo.Services.AddSingleton<IDataPlane, SimulatedCluster.NoDataPlane>();
            silo.Services.AddSingleton<IImports, SimulatedImports>();
            silo.Services.AddSingleton<ISagaProbe>(Probe);
            silo.AddStorage(_ => new SqliteDatabase(Path.Combine(_folder, "instances.db")));
            silo.AddInstancesGrains();
            silo.Services.AddSingleton(Options.Create(Placement));
            silo.Services.AddSingleton(Options.Create(new DoctorOptions { Grace = TimeSpan.FromMilliseconds(750) }));
            silo.Services.AddSingleton(Options.Create(new HostOptions { Name = name, MemoryBytes = machines * MachineBytes, Cpus = 64 }));
        });
        _cluster = builder.Build();
    }

    public Dictionary<string, SimulatedHost> Hosts { get; } = [];

    public SimulatedLayerStore Layers { get; } = new();

    public ScriptedProbe Probe { get; } = new();

    public PlacementOptions Placement { get; } = new();

    public IGrainFactory Grains => _cluster.Client;

    public IDatacenterGrain Datacenter => Grains.Datacenter();

    /// <param name="machines">How many machines of <see cref="AddAppliance"/> fit on each host.</param>
    /// <param name="silent">A registered host that does not answer, although its silo is a member of the cluster.</param>
    public static async Task<SimulatedHosts> Start(short hosts, int machines, PlacementPolicy policy = PlacementPolicy.Spread, string? silent = null)
    {
        var started = new SimulatedHosts(hosts, machines);
        started.Placement.Policy = policy;
        await started._cluster.DeployAsync();
        foreach (var name in started.Hosts.Keys.Where(name => name != silent)) await started.Grains.Host(new(name)).Start();
        if (silent is not null)
        {
            _ = started.Hosts[silent].HoldNext(SimulatedCall.Adopt);
            await started.Datacenter.Register(new(new(silent), "simulated", "simulated", 1, MachineBytes, MachineBytes, 1L << 30, 0, 16, 16, HostStatus.Available));
        }

        return started;
    }

    public Task Stop(string host) =>
        _cluster.StopSiloAsync(_cluster.Silos.Single(silo => silo.ServiceProvider.GetRequiredService<IOptions<HostOptions>>().Value.Name == host));

    public async Task<IApplianceGrain> AddAppliance(int machines)
    {
        var image = ImageId.New();
        var layer = new LayerManifest(LayerId.New(), Parent: null, Bytes: 1_000_000, image);
        var manifest = new ImageManifest(image, "tiny-linux", ImageKind.Master, Master: null, Parent: null, [new([layer], 1L << 30)], TimeProvider.System.GetUtcNow());
        await Grains.Image(image).Publish(manifest);
        await Layers.WriteManifest(manifest);
        Layers.Layers[layer.Id] = true;
        var appliance = Grains.Appliance(ApplianceId.New());
        await appliance.Create(new("shop"));
        for (var index = 0; index < machines; index++) await appliance.AddVirtualMachine(VirtualMachineId.New(), new($"vm{index}", image, MemoryBytes: MachineBytes));
        return appliance;
    }

    public async Task<OperationView> Deploy(IApplianceGrain appliance) => await End(await appliance.Deploy(OperationId.New()));

    public async Task<OperationView> End(OperationView operation)
    {
        using var bound = new CancellationTokenSource(Bounds.Wait);
        await foreach (var view in Grains.Operation(operation.Id).Watch(0, bound.Token))
        {
            if (view.IsFinished) return view;
        }

        throw new InvalidOperationException($"The operation {operation.Id} was not watched to its end.");
    }

    /// <summary>How many machines each host has, by its name.</summary>
    public IReadOnlyList<int> Counts() => [.. Hosts.OrderBy(host => host.Key, StringComparer.Ordinal).Select(host => host.Value.Machines.Count)];

    public async ValueTask DisposeAsync()
    {
        Probe.Release();
        foreach (var host in Hosts.Values) host.Reset();
        await _cluster.DisposeAsync();
        Directory.Delete(_folder, recursive: true);
    }
}
