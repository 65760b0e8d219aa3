using Dapper;
using Instances.Catalogue;
using Instances.Library;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;
using Orleans.Configuration;
using Orleans.Runtime;
using Orleans.Serialization;
using Orleans.Serialization.Serializers;
using Orleans.Storage;

namespace Instances.Storage;

/// <summary>A migrated database in a folder of its own, and Orleans' real storage on it.</summary>
internal sealed class TestDatabase : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("instances-storage-").FullName;

    public TestDatabase()
    {
        File = Path.Combine(_folder, "instances.db");
        DataSource = new SqliteDataSource(File);
        SqliteMigrations.Apply(DataSource, NullLogger.Instance);
        Catalogue = new SqliteCatalogue(DataSource);
    }

    public string File { get; }

    public SqliteDataSource DataSource { get; }

    public SqliteCatalogue Catalogue { get; }

    /// <summary>Orleans' storage provider as the silo has it, optionally on a data source of its own, as another process would have.</summary>
    public async Task<AdoNetGrainStorage> OpenStorage(SqliteDataSource? dataSource = null, bool deleteOnClear = true)
    {
        var services = new ServiceCollection().AddSerializer().AddLogging().BuildServiceProvider();
        var options = new AdoNetGrainStorageOptions();
        StorageServices.Configure(options, dataSource ?? DataSource);
        options.DeleteStateOnClear = deleteOnClear;
        new DefaultAdoNetGrainStorageOptionsHashPickerConfigurator().PostConfigure(StorageNames.Grains, options);
        var storage = new AdoNetGrainStorage(
            services.GetRequiredService<IActivatorProvider>(),
            NullLogger<AdoNetGrainStorage>.Instance,
            Options.Create(options),
            Options.Create(new ClusterOptions { ServiceId = "test", ClusterId = "test" }),
            StorageNames.Grains);
        var lifecycle = new SiloLifecycleSubject(NullLogger<SiloLifecycleSubject>.Instance);
        storage.Participate(lifecycle);
        await lifecycle.OnStart(CancellationToken.None);
        return storage;
    }

    public T Scalar<T>(string sql, object? parameters = null)
    {
        using var connection = DataSource.OpenConnection();
        return connection.ExecuteScalar<T>(sql, parameters)!;
    }

    public IReadOnlyList<string> Column(string sql, object? parameters = null)
    {
        using var connection = DataSource.OpenConnection();
        return connection.Query<string>(sql, parameters).AsList();
    }

    public void Dispose()
    {
        DataSource.Dispose();
        Directory.Delete(_folder, recursive: true);
    }
}

/// <summary>A state as grains have them.</summary>
internal sealed record TestState : IStoredState
{
    public int Schema { get; init; } = 2;

    public string? Text { get; init; }

    public CatalogueEntry? Catalogue { get; init; }
}

/// <summary>The same state as an older release knows it.</summary>
internal sealed record OlderTestState : IStoredState
{
    public int Schema => 1;

    public string? Text { get; init; }

    public CatalogueEntry? Catalogue => null;
}

internal static class StorageExtensions
{
    public static async Task<GrainState<T>> Read<T>(this AdoNetGrainStorage storage, string name, GrainId id)
    {
        var state = new GrainState<T>();
        await storage.ReadStateAsync(name, id, state);
        return state;
    }

    public static async Task<GrainState<T>> Write<T>(this AdoNetGrainStorage storage, string name, GrainId id, T value)
    {
        var state = await storage.Read<T>(name, id);
        state.State = value;
        await storage.WriteStateAsync(name, id, state);
        return state;
    }

    public static GrainId Id(this Guid key) => GrainId.Create(GrainType.Create("test"), GrainIdKeyExtensions.CreateGuidKey(key));
}
