using System.Data.Common;
using DbUp.Engine;

namespace Instances.Storage;

/// <summary>Brings a database to the form that this release needs: the embedded scripts in the order of their names, each once.</summary>
/// <remarks>Everything happens in one transaction, and in one silo at a time: a script that fails leaves nothing behind. Silos of the old release run meanwhile: a script has to leave
/// them what they use, and keeps tables locked until the end, so it must be quick on large tables: columns get defaults, and are filled by the writes that come.</remarks>
internal static partial class Migrations
{
    /// <summary>How often the migration is tried again after another session held a table for longer than <see cref="IDatabase.LockTimeout"/>.</summary>
    private const int MaxAttempts = 60;

    private const string LockNotAvailable = "55P03";

    /// <exception cref="MigrationException">A script failed, the database cannot be reached, or it is none. The host must not start.</exception>
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
                $"The database {database.Name} could not be brought to the form that this release needs ({Stage(result)}): {result.Error.Message} "
                + "It was left as it was.",
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
