using System.Collections.Concurrent;
using Instances.Appliances;
using Instances.Catalogue;
using Instances.Doctor;
using Instances.Enterprises;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.Sagas;
using Instances.Simulation;
using Instances.Storage;
using Instances.VirtualMachines;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.TestingHost;

namespace Instances.Testing;

/// <summary>One silo with the real grains on a real SQLite file, and a simulated host that outlives it.</summary>
internal sealed class SimulatedCluster : IAsyncDisposable
{
    /// <summary>Tests leave imports that wait for bytes.</summary>
    private const int ManyUploads = 10_000;

    private readonly string _folder = MemoryFolder.Create("cluster-");

    private InProcessTestCluster? _cluster;

    public SimulatedHost Host { get; } = new(TimeProvider.System);

    public SimulatedLayerStore Layers { get; } = new();

    /// <summary>Other datacenters; none at the start of a test.</summary>
    public SimulatedPeers Peers { get; } = new();

    public ScriptedProbe Probe { get; } = new();

    /// <summary>Exceptions for grain calls, by the name of their method. Each fails one call, in a way that grains of the product do not.</summary>
    public ConcurrentDictionary<string, Exception> FailNext { get; } = new();

    private readonly ConcurrentDictionary<string, Func<Task>> _afterNext = new();

    /// <summary>An action after a grain's next call of a method is answered, and before the caller gets the answer.</summary>
    public void AfterNext(string method, Func<Task> then) => _afterNext[method] = then;

    public LibraryOptions Library { get; } = new() { GracePeriod = TimeSpan.Zero, MaxUploads = ManyUploads };

    public SimulatedImports Imports { get; } = new();

    /// <summary>The grace is longer than the sweep after a deletion takes.</summary>
    public DoctorOptions Doctor { get; } = new() { Grace = TimeSpan.FromMilliseconds(750) };

    /// <summary>Sweeps follow undeployments at once, so that a test is not disturbed by the sweep of the test before.</summary>
    public HostOptions HostOptions { get; } = new() { MemoryBytes = 1L << 40, Cpus = 1024, SweepDelay = TimeSpan.FromMilliseconds(10) };

    /// <summary>Longer than any test runs.</summary>
    private static readonly TimeSpan Never = TimeSpan.FromDays(1);

    public IGrainFactory Grains => _cluster!.Client;

    public ICatalogue Catalogue => Services.GetRequiredService<ICatalogue>();

    /// <summary>The one that the grains ask.</summary>
    public ScriptedCatalogue FailingCatalogue { get; private set; } = null!;

    public IServiceProvider Services => _cluster!.Silos[0].ServiceProvider;

    /// <param name="holdBound">How long the host holds machines for a capture before it asks; null for the product's default.</param>
    /// <param name="sweepsByHand">Only the test sweeps: for a test that counts what a sweep removes, or finds what a sweep would remove.</param>
    public static async Task<SimulatedCluster> Start(TimeSpan? holdBound = null, bool sweepsByHand = false)
    {
        var cluster = new SimulatedCluster();
        if (sweepsByHand) cluster.HostOptions.SweepDelay = cluster.Library.SweepDelay = cluster.Library.SweepPeriod = Never;
        if (holdBound is { } bound) cluster.HostOptions.HoldBound = bound;
        await cluster.StartSilo();
        return cluster;
    }

    /// <summary>Probe, host and options are as at the start. Objects of earlier tests still exist.</summary>
    public void Reset()
    {
        Probe.Reset();
        FailNext.Clear();
        _afterNext.Clear();
        Layers.ReleaseMerges();
        Peers.Reset();
        Host.Reset();
        (HostOptions.RestartPause, HostOptions.DiskRetryPause) = (new HostOptions().RestartPause, new HostOptions().DiskRetryPause);
        Doctor.StallBound = new DoctorOptions().StallBound;
        Imports.UnderWay = [];
        (Library.GracePeriod, Library.UploadIdleBound, Library.MaxUploads) = (TimeSpan.Zero, new LibraryOptions().UploadIdleBound, ManyUploads);
        (Library.UploadResumeBound, Imports.HasBytes) = (new LibraryOptions().UploadResumeBound, true);
    }

    /// <summary>The silo ends as in a crash, and another one starts on the same database and host. Calls that the probe or the host holds end.</summary>
    public Task Crash() => Crash(() => { });

    /// <summary>As <see cref="Crash()"/>, and the database is deleted.</summary>
    /// <param name="backup">A copy from <see cref="BackUpDatabase"/> that replaces it; null for none.</param>
    public Task LoseDatabase(string? backup = null) => Crash(() =>
    {
        foreach (var file in Directory.EnumerateFiles(_folder, "instances.db*")) File.Delete(file);
        if (backup is not null) File.Copy(backup, DatabaseFile);
    });

    /// <returns>A copy of the database as it is.</returns>
    public string BackUpDatabase()
    {
        var copy = Path.Combine(_folder, $"backup-{Guid.NewGuid():N}");
        using var connection = Services.GetRequiredService<IDatabase>().DataSource.OpenConnection();
        using var command = connection.CreateCommand();
        command.CommandText = $"VACUUM INTO '{copy}'";
        command.ExecuteNonQuery();
        return copy;
    }

    private string DatabaseFile => Path.Combine(_folder, "instances.db");

    private async Task Crash(Action meanwhile)
    {
        var dead = _cluster!;
        await dead.KillSiloAsync(dead.Silos[0]);
        Probe.Abandon();
        Host.LoseSilo();
        await dead.DisposeAsync();
        meanwhile();
        await StartSilo();
    }

    public async ValueTask DisposeAsync()
    {
        if (_cluster is not null) await _cluster.DisposeAsync();
        Directory.Delete(_folder, recursive: true);
    }

    /// <summary>A master that can be deployed, with disks of one layer each.</summary>
    public async Task<ImageView> AddMaster(string name = "tiny-linux", int disks = 1, EnterpriseId enterprise = default)
    {
        var id = ImageId.New();
        var layers = Enumerable.Range(0, disks).Select(_ => new LayerManifest(LayerId.New(), Parent: null, Bytes: 1_000_000, id)).ToList();
        var manifest = new ImageManifest(
            id, name, ImageKind.Master, Master: null, Parent: null, [.. layers.Select(layer => new DiskManifest([layer], 1L << 30))], TimeProvider.System.GetUtcNow())
        {
            Enterprise = enterprise,
        };

        // Create the record first: a sweep deletes layers without one.
        var view = await Grains.GetGrain<IImageGrain>(id.Value).Publish(manifest);
        await Layers.WriteManifest(manifest);
        foreach (var layer in layers) Layers.Layers[layer.Id] = true;
        return view;
    }

    /// <summary>A manifest whose image has no record.</summary>
    /// <param name="operation">The status of the operation that wrote it; null if it has no record either.</param>
    public async Task<ImageManifest> AddManifest(LayerId layer, OperationStatus? operation, ImageId? image = null)
    {
        var (id, maker, at) = (image ?? ImageId.New(), OperationId.New(), TimeProvider.System.GetUtcNow());
        var manifest = new ImageManifest(
            id, "nobody's", ImageKind.Master, Master: null, Parent: null, [new([new(layer, Parent: null, Bytes: 1, id)], 1L << 20)], at,
            new ImportFacts(maker, at, ImageFormat.Qcow2, Sha256: "5dfa", Bytes: 1));
        await Layers.WriteManifest(manifest);
        if (operation is not { } status) return manifest;
        var record = Grains.GetGrain<IOperationGrain>(maker.Value);
        await record.Begin(new(OperationKind.Import, Appliance: null, id, [], VirtualMachines: [], at));
        if (status is OperationStatus.Failed or OperationStatus.Cancelled or OperationStatus.Succeeded)
            await record.Finish(new(status, new(status, [], [], Cancellable: false), at, Fault: null, Result: null));
        return manifest;
    }

    /// <summary>An appliance with machines named vm0, vm1, …</summary>
    public async Task<IApplianceGrain> AddAppliance(int machines, ImageId image, int dataDisks = 0, EnterpriseId enterprise = default)
    {
        var appliance = Grains.GetGrain<IApplianceGrain>(ApplianceId.New().Value);
        await appliance.Create(new("shop") { Enterprise = enterprise });
        for (var index = 0; index < machines; index++) await AddMachine(appliance, image, $"vm{index}", dataDisks);
        return appliance;
    }

    public Task<VirtualMachineView> AddMachine(IApplianceGrain appliance, ImageId image, string name, int dataDisks = 0) =>
        appliance.AddVirtualMachine(VirtualMachineId.New(), new(name, image, MemoryBytes: 64L << 20, DataDisks: [.. Enumerable.Repeat(1L << 30, dataDisks)]));

    public async Task<OperationView> Deploy(IApplianceGrain appliance) => await End(await appliance.Deploy(OperationId.New()));

    public async Task<OperationView> Undeploy(IApplianceGrain appliance) => await End(await appliance.Undeploy(OperationId.New(), force: false));

    public async Task<OperationView> CreateInstance(IApplianceGrain appliance, CreateInstanceCommand command) =>
        await End(await appliance.CreateInstance(OperationId.New(), command));

    /// <summary>Watches an operation to its end.</summary>
    public async Task<OperationView> End(OperationView operation)
    {
        using var bound = new CancellationTokenSource(Bounds.Wait);
        await foreach (var view in Grains.GetGrain<IOperationGrain>(operation.Id.Value).Watch(0, bound.Token))
        {
            if (view.IsFinished) return view;
        }

        throw new InvalidOperationException($"The operation {operation.Id} was not watched to its end.");
    }

    public Task<VirtualMachineView[]> Machines(ApplianceView appliance) =>
        Task.WhenAll(appliance.VirtualMachines.Select(id => Grains.GetGrain<IVirtualMachineGrain>(id.Value).Get()));

    private async Task StartSilo()
    {
        if (!File.Exists(DatabaseFile)) MigratedDatabase.CopyTo(DatabaseFile);
        var builder = new InProcessTestClusterBuilder(1);
        builder.Options.ServiceId = "instances";
        builder.Options.ConfigureFileLogging = false;
        builder.ConfigureSilo((_, silo) =>
        {
            silo.Services.AddSingleton(Host);
            silo.Services.AddSingleton<IHypervisor, SimulatedHypervisor>();
            silo.Services.AddSingleton<ILayerStore>(Layers);
            silo.Services.AddSingleton<ILibraryStore>(Layers);
            silo.Services.AddSingleton<ILibraryPeers>(Peers);
            silo.Services.AddSingleton<IDataPlane, NoDataPlane>();
            silo.Services.AddSingleton<IImports>(Imports);
            silo.Services.AddSingleton<ISagaProbe>(Probe);
            silo.AddStorage(_ => new SqliteDatabase(DatabaseFile));
            silo.Services.AddSingleton<DatabaseCatalogue>();
            silo.Services.AddSingleton<ICatalogue>(services => FailingCatalogue = new(services.GetRequiredService<DatabaseCatalogue>()));
            silo.AddIncomingGrainCallFilter(context => FailNext.TryRemove(context.MethodName, out var failure) ? Task.FromException(failure) : context.Invoke());
            silo.AddOutgoingGrainCallFilter(async context =>
            {
                await context.Invoke();
                if (_afterNext.TryRemove($"{context.InterfaceName}.{context.MethodName}", out var then)) await then();
            });
            silo.AddInstancesGrains();
            silo.Services.AddSingleton(Options.Create(Library));
            silo.Services.AddSingleton(Options.Create(Doctor));
            silo.Services.AddSingleton(Options.Create(HostOptions));
            silo.Services.AddLogging(logging => logging.SetMinimumLevel(LogLevel.Warning));
        });
        _cluster = builder.Build();
        await _cluster.DeployAsync();
        await Grains.GetGrain<IHostGrain>(new HostOptions().Name).Start();
    }

    internal sealed class NoDataPlane : IDataPlane
    {
        public Uri UploadAddress(ImageId image) => new($"http://127.0.0.1/data-plane/images/{image}");

        public ExportTicket OfferExport(ImageId image) => new(new($"http://127.0.0.1/data-plane/images/{image}/export"), "secret");

        public Uri? LayerAddress(LayerId layer) => null;
    }
}
