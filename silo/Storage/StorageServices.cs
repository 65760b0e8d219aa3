using Instances.Catalogue;
using Orleans.Configuration;

namespace Instances.Storage;

internal static class StorageServices
{
    // The name under which Orleans' ADO.NET packages know Microsoft.Data.Sqlite.
    private const string Invariant = "System.Data.SQLite";

    /// <summary>Grain states, reminders and the catalogue in one SQLite file, which is made where it is missing.</summary>
    public static ISiloBuilder AddSqliteStorage(this ISiloBuilder silo, string databaseFile)
    {
        silo.Services.AddSingleton(_ => new SqliteDataSource(databaseFile));
        silo.Services.AddSingleton<ICatalogue, SqliteCatalogue>();
        silo.Services.AddSingleton<ILifecycleParticipant<ISiloLifecycle>, MigrateAtStart>();
        silo.AddAdoNetGrainStorage(StorageNames.Grains, options => options.Configure<SqliteDataSource>(Configure));
        silo.UseAdoNetReminderService(options => options.Configure<SqliteDataSource>(Configure));
        return silo;
    }

    internal static void Configure(AdoNetGrainStorageOptions options, SqliteDataSource dataSource)
    {
        options.Invariant = Invariant;
        options.DataSource = dataSource;
        options.GrainStorageSerializer = new StateSerializer();
        options.DeleteStateOnClear = true;
    }

    internal static void Configure(AdoNetReminderTableOptions options, SqliteDataSource dataSource)
    {
        options.Invariant = Invariant;
        options.DataSource = dataSource;
    }

    /// <summary>The first thing that a silo does: storage and reminders read their statements from the database in later stages.</summary>
    private sealed class MigrateAtStart(SqliteDataSource dataSource, ILogger<SqliteDataSource> logger) : ILifecycleParticipant<ISiloLifecycle>
    {
        public void Participate(ISiloLifecycle lifecycle) =>
            lifecycle.Subscribe(nameof(MigrateAtStart), ServiceLifecycleStage.First, cancellationToken =>
            {
                cancellationToken.ThrowIfCancellationRequested();
                SqliteMigrations.Apply(dataSource, logger);
                return Task.CompletedTask;
            });
    }
}
