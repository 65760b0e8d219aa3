using System.Collections.Concurrent;
using Dapper;
using Instances.Catalogue;
using Instances.Library;
using Instances.Testing;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.Configuration;
using Orleans.Runtime;
using Orleans.Serialization.Serializers;
using Orleans.Serialization;
using Orleans.Storage;

namespace Instances.Storage;

/// <summary>A migrated database of its own, and Orleans' real storage on it.</summary>
internal sealed class TestDatabase : IDisposable
{
    /// <summary>PostgreSQL databases that have all migrations and no rows: to make one takes much longer than to empty one.</summary>
    private static readonly ConcurrentBag<string> s_empty = [];

    private readonly Action _close;

    private TestDatabase(Func<IDatabase> open, Action close)
    {
        Open = open;
        _close = close;
        Database = open();
        Catalogue = new DatabaseCatalogue(Database, NullLogger<DatabaseCatalogue>.Instance);
    }

    /// <summary>Opens it once more, as another process would.</summary>
    public Func<IDatabase> Open { get; }

    public IDatabase Database { get; }

    public DatabaseCatalogue Catalogue { get; }

    public static TestDatabase Sqlite()
    {
        var folder = MemoryFolder.Create("storage-");
        var file = Path.Combine(folder, "instances.db");
        MigratedDatabase.CopyTo(file);
        var database = new TestDatabase(() => new SqliteDatabase(file), () => Directory.Delete(folder, recursive: true));
        Migrations.Apply(database.Database, NullLogger.Instance);
        return database;
    }

    public static TestDatabase PostgreSql()
    {
        if (!s_empty.TryTake(out var connectionString))
        {
            connectionString = PostgreSqlServer.Shared.CreateDatabase();
            using var created = new PostgreSqlDatabase(connectionString, maxConnections: 10);
            Migrations.Apply(created, NullLogger.Instance);
        }

        return new(() => new PostgreSqlDatabase(connectionString, maxConnections: 10), () => Empty(connectionString));
    }

    /// <summary>Removes all but what the migrations have written.</summary>
    private static void Empty(string connectionString)
    {
        using (var database = new PostgreSqlDatabase(connectionString, maxConnections: 1))
        using (var connection = database.DataSource.OpenConnection())
        {
            connection.Execute("TRUNCATE catalogue, OrleansStorage, OrleansRemindersTable, OrleansMembershipTable, OrleansMembershipVersionTable");
            connection.Execute("DELETE FROM database_fact WHERE name <> 'oldest-migration'");
        }

        s_empty.Add(connectionString);
    }

    /// <summary>Orleans' storage provider as the silo has it.</summary>
    public async Task<AdoNetGrainStorage> OpenStorage(IDatabase? database = null, bool deleteOnClear = true)
    {
        var services = new ServiceCollection().AddSerializer().AddLogging().BuildServiceProvider();
        var options = new AdoNetGrainStorageOptions();
        StorageServices.Configure(options, database ?? Database);
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
        using var connection = Database.DataSource.OpenConnection();
        return connection.ExecuteScalar<T>(sql, parameters)!;
    }

    public IReadOnlyList<string> Column(string sql, object? parameters = null)
    {
        using var connection = Database.DataSource.OpenConnection();
        return connection.Query<string>(sql, parameters).AsList();
    }

    public void Dispose()
    {
        Database.Dispose();
        _close();
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
