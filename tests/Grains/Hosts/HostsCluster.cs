using System.Collections.Concurrent;
using Instances.Appliances;
using Instances.Faults;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.Simulation;
using Instances.Storage;
using Instances.Testing;
using Instances.VirtualMachines;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.Configuration;
using Orleans.TestingHost;

namespace Instances.Grains.Tests.Hosts;

/// <summary>A silo without a host, and two host silos that can be killed and restarted. All see one library.</summary>
internal sealed class HostsCluster : IAsyncDisposable
{
    private const string Control = "control";

    private readonly string _folder = MemoryFolder.Create("hosts-");
    private readonly ConcurrentQueue<string> _names = new([Control, "host-1", "host-2"]);
    private readonly ConcurrentDictionary<string, SimulatedHost> _hosts = new();
    private readonly SimulatedLayerStore _layers = new();
    private readonly InProcessTestCluster _cluster;

    private HostsCluster()
    {
        MigratedDatabase.CopyTo(Path.Combine(_folder, "instances.db"));
        var builder = new InProcessTestClusterBuilder((short)_names.Count);
        builder.Options.ConfigureFileLogging = false;
        builder.ConfigureSilo((_, silo) =>
        {
            if (!_names.TryDequeue(out var name)) throw new InvalidOperationException("A silo without a name.");
            silo.Services.AddSingleton(HostOf(name));
            silo.Services.AddSingleton<IHypervisor, SimulatedHypervisor>();
            silo.Services.AddSingleton<ILayerStore>(_layers);
            silo.Services.AddSingleton<ILibraryStore>(_layers);
            silo.Services.AddSingleton<IDataPlane, SimulatedCluster.NoDataPlane>();
            silo.Services.AddSingleton<IImports, SimulatedImports>();
            silo.AddStorage(_ => new SqliteDatabase(Path.Combine(_folder, "instances.db")));
            silo.AddInstancesGrains();
            silo.Services.AddSingleton(Options.Create(new OperationOptions { RestartPatience = TimeSpan.FromSeconds(1) }));
            // The first host has more room, and is chosen while it is reachable.
            silo.Services.AddSingleton(Options.Create(new HostOptions { Name = name, MemoryBytes = name == "host-1" ? 1L << 40 : 1L << 39, RestartPause = TimeSpan.FromMilliseconds(10) }));
            silo.Services.Configure<ClusterMembershipOptions>(membership =>
                (membership.ProbeTimeout, membership.MaxProbeTimeout, membership.NumMissedProbesLimit, membership.NumVotesForDeathDeclaration) = (TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(1), 2, 1));
            silo.Services.AddLogging(logging => logging.SetMinimumLevel(LogLevel.Error));
        });
        _cluster = builder.Build();
    }

    public SimulatedLayerStore Layers => _layers;

    /// <summary>The services of the silo that no test kills.</summary>
    public IGrainFactory Grains => Silo(Control).ServiceProvider.GetRequiredService<IGrainFactory>();

    public SimulatedHost HostOf(string name) => _hosts.GetOrAdd(name, _ => new(TimeProvider.System));

    public static async Task<HostsCluster> Start()
    {
        var cluster = new HostsCluster();
        await cluster._cluster.DeployAsync();
        foreach (var name in (string[])["host-1", "host-2"]) await cluster.Grains.Host(new(name)).Start();
        return cluster;
    }

    public async Task Kill(string name)
    {
        var silo = Silo(name);
        await _cluster.KillSiloAsync(silo);
        HostOf(name).LoseSilo();
        await Eventually.Holds(() => Task.FromResult(!IsActive(name)), $"the silo of {name} is known to be dead");
    }

    /// <summary>The host's silo starts, and calls its grain as a host's silo does.</summary>
    public async Task Return(string name)
    {
        _names.Enqueue(name);
        await _cluster.StartAdditionalSiloAsync();
        await Eventually.Holds(async () => await Record(() => Grains.Host(new(name)).Start()), $"{name} has started");
    }

    /// <summary>An appliance whose machines run on the first host.</summary>
    public async Task<IApplianceGrain> Deployed(int machines)
    {
        var appliance = await Undeployed(machines);
        var end = await End(await appliance.Deploy(OperationId.New()));
        if (end.Status is not OperationStatus.Succeeded) throw new InvalidOperationException($"The deployment ended as {end.Status}: {end.Fault}");
        return appliance;
    }

    public async Task<IApplianceGrain> Undeployed(int machines)
    {
        var (id, layer) = (ImageId.New(), LayerId.New());
        var manifest = new ImageManifest(
            id, "tiny-linux", ImageKind.Master, Master: null, Parent: null, [new DiskManifest([new(layer, Parent: null, Bytes: 1_000_000, id)], 1L << 30)], TimeProvider.System.GetUtcNow());
        await Grains.Image(id).Publish(manifest);
        await _layers.WriteManifest(manifest);
        _layers.Layers[layer] = true;
        var appliance = Grains.Appliance(ApplianceId.New());
        await appliance.Create(new("shop"));
        for (var number = 0; number < machines; number++) await appliance.AddVirtualMachine(VirtualMachineId.New(), new($"vm{number}", id, MemoryBytes: 64L << 20));
        return appliance;
    }

    public async Task<IReadOnlyList<VirtualMachineView>> Machines(IApplianceGrain appliance) =>
        await Task.WhenAll((await appliance.Get()).VirtualMachines.Select(id => Grains.VirtualMachine(id).Get()));

    public async Task<OperationView> End(OperationView operation)
    {
        OperationView? newest = null;
        await Eventually.Holds(async () => await Record(async () => newest = await Grains.Operation(operation.Id).Find()) && newest is { IsFinished: true }, $"the operation ends: {newest}");
        return newest!;
    }

    public async ValueTask DisposeAsync()
    {
        await _cluster.DisposeAsync();
        Directory.Delete(_folder, recursive: true);
    }

    /// <summary>A call that may come before the cluster has settled after a crash.</summary>
    private static async Task<bool> Record(Func<Task> call)
    {
        try
        {
            await call();
            return true;
        }
        catch (Exception exception) when (exception is FaultException or TimeoutException or Orleans.Runtime.OrleansException)
        {
            return false;
        }
    }

    private bool IsActive(string name) => Silo(Control).ServiceProvider.GetRequiredService<Orleans.Runtime.IClusterMembershipService>().CurrentSnapshot.Members.Values
        .Any(member => member.Name == name && member.Status is Orleans.Runtime.SiloStatus.Active);

    private InProcessSiloHandle Silo(string name) =>
        _cluster.Silos.Single(silo => silo.ServiceProvider.GetRequiredService<IOptions<HostOptions>>().Value.Name == name);
}
