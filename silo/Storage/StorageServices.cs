using Instances.Catalogue;
using Instances.Datacenters;
using Instances.Hosts;
using Orleans.Configuration;
using Orleans.Serialization.Serializers;

namespace Instances.Storage;

internal static class StorageServices
{
    /// <summary>Grain states, reminders and the catalogue in one database, which is migrated at start.</summary>
    /// <param name="datacenter">The only datacenter that the database belongs to.</param>
    public static ISiloBuilder AddStorage(this ISiloBuilder silo, Func<IServiceProvider, IDatabase> database, string datacenter = ClusterNames.Local)
    {
        silo.Services.AddSingleton(database);
        silo.Services.AddSingleton<ICatalogue, DatabaseCatalogue>();
        silo.Services.AddSingleton<IHostBindings, DatabaseHostBindings>();
        silo.Services.AddSingleton<ILifecycleParticipant<ISiloLifecycle>>(services => ActivatorUtilities.CreateInstance<MigrateAtStart>(services, datacenter));
        silo.AddAdoNetGrainStorage(StorageNames.Grains, options => options.Configure<IDatabase>(Configure));
        silo.UseAdoNetReminderService(options => options.Configure<IDatabase>(Configure));
        silo.Services.AddSingleton<IGeneralizedCodec, DriverExceptionCodec>();
        return silo;
    }

    internal static void Configure(AdoNetGrainStorageOptions options, IDatabase database)
    {
        options.Invariant = database.Invariant;
        options.DataSource = database.DataSource;
        options.GrainStorageSerializer = new StateSerializer();
        options.DeleteStateOnClear = true;
    }

    internal static void Configure(AdoNetReminderTableOptions options, IDatabase database)
    {
        options.Invariant = database.Invariant;
        options.DataSource = database.DataSource;
    }

    /// <summary>The first step of a silo's start, because storage and reminders read their statements from the database in later stages.</summary>
    private sealed class MigrateAtStart(IDatabase database, string datacenter, ILogger<IDatabase> logger) : ILifecycleParticipant<ISiloLifecycle>
    {
        public void Participate(ISiloLifecycle lifecycle) =>
            lifecycle.Subscribe(nameof(MigrateAtStart), ServiceLifecycleStage.First, cancellationToken =>
            {
                cancellationToken.ThrowIfCancellationRequested();
                Migrations.Apply(database, logger);
                DatabaseFacts.RequireRelease(database);
                DatabaseFacts.Claim(database, datacenter);
                return Task.CompletedTask;
            });
    }
}
