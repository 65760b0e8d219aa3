using Dapper;
using Instances.Hosting;

namespace Instances.Storage;

/// <summary>Facts about the database itself: the table <c>database_fact</c> (the migration script 0010-database-facts.sql).</summary>
internal static class DatabaseFacts
{
    private const string Datacenter = "datacenter";
    private const string OldestMigration = "oldest-migration";

    /// <summary>Checks that this release may run on the database. A later release records there which releases would damage its data (0011-oldest-release.sql).</summary>
    /// <exception cref="StartException">It needs a later release.</exception>
    public static void RequireRelease(IDatabase database)
    {
        using var connection = database.DataSource.OpenConnection();
        if (connection.QuerySingleOrDefault<string>("SELECT value FROM database_fact WHERE name = @name", new { name = OldestMigration }) is not { } oldest) return;
        var newest = Migrations.Scripts(database).Last().Name[..oldest.Length];
        if (string.CompareOrdinal(oldest, newest) > 0)
        {
            throw new StartException(
                $"The database {database.Name} was upgraded by a later release. It needs a release that has the migration {oldest}; this one has them up to {newest}. "
                + "Start the later release, or restore a backup of the database from before the upgrade.");
        }
    }

    /// <summary>Binds the database to a datacenter if it belongs to none.</summary>
    /// <exception cref="StartException">It belongs to another datacenter.</exception>
    public static void Claim(IDatabase database, string datacenter)
    {
        using var connection = database.DataSource.OpenConnection();
        connection.Execute(
            "INSERT INTO database_fact (name, value) VALUES (@name, @value) ON CONFLICT (name) DO NOTHING", new { name = Datacenter, value = datacenter });
        var owner = connection.QuerySingle<string>("SELECT value FROM database_fact WHERE name = @name", new { name = Datacenter });
        if (!string.Equals(owner, datacenter, StringComparison.Ordinal))
        {
            throw new StartException(
                $"The database {database.Name} belongs to the datacenter '{owner}', and Silo:Datacenter is '{datacenter}'. Each datacenter has its own database: "
                + $"set Silo:Datacenter={owner}, or name another database.");
        }
    }
}
