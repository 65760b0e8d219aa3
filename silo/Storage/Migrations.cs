using System.Data.Common;
using DbUp.Engine;

namespace Instances.Storage;

/// <summary>Migrates a database to the schema of this release: runs the embedded scripts in the order of their names, each once.</summary>
/// <remarks>All scripts run in one transaction, and in one silo at a time: a failed script changes nothing. Silos of the old release keep running: a script must not remove
/// what they use. It locks tables until the end, so it must be quick on large tables: new columns get defaults, and later writes fill them.</remarks>
internal static partial class Migrations
{
    /// <summary>How often the migration is retried after another session has locked a table for longer than <see cref="IDatabase.LockTimeout"/>.</summary>
    private const int MaxAttempts = 60;

    private const string LockNotAvailable = "55P03";

    /// <exception cref="MigrationException">A script failed, or the database is unreachable or invalid. The silo must not start.</exception>
    public static void Apply(IDatabase database, ILogger logger) => Apply(database, logger, Scripts(database));

    internal static void Apply(IDatabase database, ILogger logger, IEnumerable<SqlScript> scripts)
    {
        var result = Upgrade(database, logger, scripts);
        for (var attempt = 1; attempt < MaxAttempts && result.Error is DbException { SqlState: LockNotAvailable }; attempt++)
        {
            LogWaits(logger, database.Name, result.Error.Message);
            result = Upgrade(database, logger, scripts);
        }

        if (!result.Successful)
        {
            throw new MigrationException(
                $"The database {database.Name} could not be migrated to the schema of this release ({Stage(result)}): {result.Error.Message} "
                + "It was not changed.",
                result.Error);
        }

        foreach (var script in result.Scripts)
            LogApplied(logger, script.Name, database.Name);
    }

    private static DatabaseUpgradeResult Upgrade(IDatabase database, ILogger logger, IEnumerable<SqlScript> scripts)
    {
        try
        {
            return database.WhileMigrating(builder => builder
                .WithScripts(scripts)
                .WithTransaction()
                .WithVariablesDisabled()
                .WithExecutionTimeout(TimeSpan.Zero)
                .LogTo(new MigrationLog(logger))
                .Build()
                .PerformUpgrade());
        }
        catch (Exception exception) when (exception is DbException or IOException or UnauthorizedAccessException)
        {
            return new DatabaseUpgradeResult([], successful: false, exception, errorScript: null);
        }
    }

    private static string Stage(DatabaseUpgradeResult result) => result.ErrorScript is { } script ? $"script {script.Name}" : "before the first script";

    internal static IEnumerable<SqlScript> Scripts(IDatabase database)
    {
        var prefix = $"Instances.Storage.{database.Scripts}.Migrations.";
        var assembly = typeof(Migrations).Assembly;
        return assembly.GetManifestResourceNames()
            .Where(name => name.StartsWith(prefix, StringComparison.Ordinal))
            .Order(StringComparer.Ordinal)
            .Select(name => SqlScript.FromStream(name[prefix.Length..], assembly.GetManifestResourceStream(name)!));
    }
}
