using System.Collections.Concurrent;
using Instances.Appliances;
using Instances.Catalogue;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.Simulation;
using Instances.Storage;
using Instances.Testing;
using Instances.VirtualMachines;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Options;
using Orleans.TestingHost;
using Xunit;

namespace Instances.Grains.Tests.Library;

/// <summary>Two host silos, each with its own store, and a library with a third store.</summary>
internal sealed class SeveralStores : IAsyncDisposable
{
    private const long Room = 1L << 40;

    /// <summary>Short, so that hosts check their holds often.</summary>
    private static readonly TimeSpan Quick = TimeSpan.FromSeconds(5);

    private readonly string _folder = MemoryFolder.Create("stores-");
    private readonly InProcessTestCluster _cluster;
    private readonly HostOptions[] _options;
    private readonly ConcurrentDictionary<string, Func<Task>> _afterNext = new();

    private SeveralStores()
    {
        _options = [.. Enumerable.Range(1, 2).Select(number => new HostOptions { Name = $"host-{number}", MemoryBytes = Room, HoldBound = Quick, RestartPause = TimeSpan.FromMilliseconds(10) })];
        var started = -1;
        MigratedDatabase.CopyTo(Path.Combine(_folder, "instances.db"));
        var builder = new InProcessTestClusterBuilder((short)_options.Length);
        builder.Options.ConfigureFileLogging = false;
        builder.ConfigureSilo((_, silo) =>
        {
            var index = Interlocked.Increment(ref started);
            silo.Services.AddSingleton(Machines[index]);
            silo.Services.AddSingleton<IHypervisor, SimulatedHypervisor>();
            silo.Services.AddSingleton<ILayerStore>(Stores[index]);
            silo.Services.AddSingleton<ILibraryStore>(Library);
            silo.Services.AddSingleton<ILibraryPeers, SimulatedPeers>();
            silo.Services.AddSingleton<IDataPlane, SimulatedCluster.NoDataPlane>();
            silo.Services.AddSingleton<IImports, SimulatedImports>();
            silo.AddOutgoingGrainCallFilter(async context =>
            {
                await context.Invoke();
                if (_afterNext.TryRemove($"{context.InterfaceName}.{context.MethodName}", out var then)) await then();
            });
            silo.AddStorage(_ => new SqliteDatabase(Path.Combine(_folder, "instances.db")));
            silo.AddInstancesGrains();
            silo.Services.AddSingleton(Options.Create(new LibraryOptions { GracePeriod = TimeSpan.Zero }));
            silo.Services.AddSingleton(Options.Create(_options[index]));
        });
        _cluster = builder.Build();
    }

    public SimulatedLayerStore Library { get; } = new();

    public SimulatedLayerStore[] Stores { get; } = [new(), new()];

    public SimulatedHost[] Machines { get; } = [new(TimeProvider.System), new(TimeProvider.System)];

    public IGrainFactory Grains => _cluster.Client;

    public ICatalogue Catalogue => _cluster.Silos[0].ServiceProvider.GetRequiredService<ICatalogue>();

    public static async Task<SeveralStores> Start()
    {
        var stores = new SeveralStores();
        await stores._cluster.DeployAsync();
        for (var index = 0; index < stores._options.Length; index++) await stores.Host(index).Start();
        return stores;
    }

    /// <summary>Something that happens after a grain's next call of a method is answered, and before that grain sees the answer.</summary>
    public void AfterNext(string method, Func<Task> then) => _afterNext[method] = then;

    public async ValueTask DisposeAsync()
    {
        await _cluster.DisposeAsync();
        Directory.Delete(_folder, recursive: true);
    }

    public IHostGrain Host(int index) => Grains.Host(new(_options[index].Name));

    /// <summary>Machines that are deployed from here on go to one host, or to both.</summary>
    public void DeployOn(int? index)
    {
        for (var host = 0; host < _options.Length; host++) _options[host].MemoryBytes = index is null || index == host ? Room : 1;
    }

    public TimeSpan HoldBound
    {
        set
        {
            foreach (var options in _options) options.HoldBound = value;
        }
    }

    /// <param name="isInLibrary">Whether its layer is in the library. Otherwise only its record exists.</param>
    public async Task<ImageView> AddMaster(bool isInLibrary = true)
    {
        var (id, layer) = (ImageId.New(), LayerId.New());
        var manifest = new ImageManifest(
            id, "tiny-linux", ImageKind.Master, Master: null, Parent: null, [new([new(layer, Parent: null, SimulatedLayerStore.LayerBytes, id)], 1L << 30)], TimeProvider.System.GetUtcNow());
        var view = await Grains.Image(id).Publish(manifest);
        await Library.WriteManifest(manifest);
        if (isInLibrary) Library.Layers[layer] = true;
        return view;
    }

    public async Task<IApplianceGrain> AddAppliance(int machines, ImageId image)
    {
        var appliance = Grains.Appliance(ApplianceId.New());
        await appliance.Create(new("shop"));
        for (var index = 0; index < machines; index++) await appliance.AddVirtualMachine(VirtualMachineId.New(), new($"vm{index}", image, MemoryBytes: 64L << 20));
        return appliance;
    }

    public async Task<OperationView> Deploy(IApplianceGrain appliance) => await Succeeded(await appliance.Deploy(OperationId.New()));

    public async Task<OperationView> CreateInstance(IApplianceGrain appliance, CreateInstanceCommand command) =>
        await Succeeded(await appliance.CreateInstance(OperationId.New(), command));

    public async Task Undeploy(IApplianceGrain appliance) => await Succeeded(await appliance.Undeploy(OperationId.New(), force: false));

    public async Task<OperationView> End(OperationId operation)
    {
        OperationView? view = null;
        await Eventually.Holds(async () => (view = await Grains.Operation(operation).Find()) is { IsFinished: true }, "the operation ends");
        return view!;
    }

    public async Task<SweepReport> SweepAll()
    {
        SweepReport[] reports = [await Host(0).Sweep(), await Host(1).Sweep(), await Grains.Library().Sweep()];
        return new(reports.Sum(report => report.Layers), reports.Sum(report => report.Bytes), reports.Sum(report => report.Manifests));
    }

    /// <summary>The layers of an image, and of its machine's chain, in the library and sealed.</summary>
    public void AssertInLibrary(ImageView image) =>
        Assert.All(image.Disks.SelectMany(disk => disk.Layers), layer => Assert.True(Library.Layers.GetValueOrDefault(layer.Id), $"{layer.Id} is not in the library"));

    private async Task<OperationView> Succeeded(OperationView operation)
    {
        var end = await End(operation.Id);
        Assert.True(end.Status is OperationStatus.Succeeded, $"{end.Kind}: {end.Fault?.Message}");
        return end;
    }
}
