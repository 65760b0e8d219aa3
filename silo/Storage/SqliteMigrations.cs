using DbUp;
using DbUp.Engine;
using Microsoft.Data.Sqlite;

namespace Instances.Storage;

/// <summary>Brings the database file to the form that this release needs: the embedded scripts in the order of their names, each once.</summary>
/// <remarks>Everything happens in one transaction that takes the write lock first: silos that start together wait for one another, and a script that fails leaves
/// nothing behind.</remarks>
internal static partial class SqliteMigrations
{
    private const string Prefix = "Instances.Storage.Migrations.";

    /// <exception cref="InvalidOperationException">A script failed, or the file is not a database. The host must not start.</exception>
    public static void Apply(SqliteDataSource dataSource, ILogger logger) => Apply(dataSource, logger, Scripts());

    internal static void Apply(SqliteDataSource dataSource, ILogger logger, IEnumerable<SqlScript> scripts)
    {
        var result = Upgrade(dataSource, logger, scripts);
        if (!result.Successful)
        {
            throw new InvalidOperationException(
                $"The database {dataSource.DatabaseFile} could not be brought to the form that this release needs ({Stage(result)}): {result.Error.Message} "
                + "It was left as it was.",
                result.Error);
        }

        foreach (var script in result.Scripts)
            LogApplied(logger, script.Name, dataSource.DatabaseFile);
    }

    private static DatabaseUpgradeResult Upgrade(SqliteDataSource dataSource, ILogger logger, IEnumerable<SqlScript> scripts)
    {
        try
        {
            Directory.CreateDirectory(Path.GetDirectoryName(dataSource.DatabaseFile)!);
            UseWriteAheadLog(dataSource);
            return DeployChanges.To
                .SqliteDatabase(dataSource.ConnectionString)
                .WithScripts(scripts)
                .WithTransaction()
                .WithVariablesDisabled()
                .LogTo(new MigrationLog(logger))
                .Build()
                .PerformUpgrade();
        }
        catch (Exception exception) when (exception is SqliteException or IOException or UnauthorizedAccessException)
        {
            return new DatabaseUpgradeResult([], successful: false, exception, errorScript: null);
        }
    }

    // Is a property of the file: set once, kept for good. Readers then see the last commit while a writer writes.
    private static void UseWriteAheadLog(SqliteDataSource dataSource)
    {
        using var connection = dataSource.OpenConnection();
        using var command = connection.CreateCommand();
        command.CommandText = "PRAGMA journal_mode = WAL";
        command.ExecuteNonQuery();
    }

    private static string Stage(DatabaseUpgradeResult result) => result.ErrorScript is { } script ? $"script {script.Name}" : "before the first script";

    private static IEnumerable<SqlScript> Scripts()
    {
        var assembly = typeof(SqliteMigrations).Assembly;
        return assembly.GetManifestResourceNames()
            .Where(name => name.StartsWith(Prefix, StringComparison.Ordinal))
            .Order(StringComparer.Ordinal)
            .Select(name => SqlScript.FromStream(name[Prefix.Length..], assembly.GetManifestResourceStream(name)!));
    }
}
