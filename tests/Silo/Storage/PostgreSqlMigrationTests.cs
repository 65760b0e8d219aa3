using DbUp.Engine;
using Instances.Testing;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit;

namespace Instances.Storage;

public sealed class PostgreSqlMigrationTests : IDisposable
{
    private readonly string _connectionString = PostgreSqlServer.Shared.CreateDatabase();

    public void Dispose() => PostgreSqlServer.Shared.DropDatabase(_connectionString);

    [Fact]
    public async Task Migrations_OfManySilosAtOnce_AreAppliedOnce()
    {
        var databases = Enumerable.Range(0, 4).Select(_ => new PostgreSqlDatabase(_connectionString, maxConnections: 3)).ToList();

        await Task.WhenAll(databases.Select(database => Task.Factory.StartNew(
            () => Migrations.Apply(database, NullLogger.Instance), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default)));
        Migrations.Apply(databases[0], NullLogger.Instance);

        Assert.Equal((long)Migrations.Scripts(databases[0]).Count(), Scalar("SELECT count(*) FROM schemaversions"));
        databases.ForEach(database => database.Dispose());
    }

    [Fact]
    public void Migrations_FailingScript_NamesItAndLeavesNothing()
    {
        using var database = new PostgreSqlDatabase(_connectionString, maxConnections: 3);
        SqlScript[] scripts = [new("0001-good.sql", "CREATE TABLE good (x int);"), new("0002-bad.sql", "CREATE TABLE half (x int); CREATE TABEL bad (x int);")];

        var failure = Assert.Throws<MigrationException>(() => Migrations.Apply(database, NullLogger.Instance, scripts));

        Assert.Contains("0002-bad.sql", failure.Message, StringComparison.Ordinal);
        Assert.Equal(0L, Scalar("SELECT count(*) FROM pg_tables WHERE tablename IN ('good', 'half')"));
    }

    /// <summary>Else the migration would look for its journal in another schema, and run all scripts again there.</summary>
    [Fact]
    public void Migrations_WithOptionsOfTheOperator_UseTheSchemaThatTheyName()
    {
        Scalar("CREATE SCHEMA instances");
        using var database = new PostgreSqlDatabase($"{_connectionString};Options=-c search_path=instances", maxConnections: 3);

        Migrations.Apply(database, NullLogger.Instance);
        Migrations.Apply(database, NullLogger.Instance);

        Assert.Equal("instances", Scalar("SELECT string_agg(DISTINCT schemaname, ',') FROM pg_tables WHERE tablename IN ('schemaversions', 'catalogue', 'orleansstorage')"));
    }

    [Fact]
    public void Migrations_WaitForALock_NotForLong()
    {
        using var database = new PostgreSqlDatabase(_connectionString, maxConnections: 3);

        Migrations.Apply(database, NullLogger.Instance, [new SqlScript("0001-look.sql", "CREATE TABLE seen AS SELECT current_setting('lock_timeout') AS value;")]);

        Assert.Equal("5s", Scalar("SELECT value FROM seen"));
    }

    [Fact]
    public void Migrations_ServerThatIsNotThere_SaysWhichAndNoPassword()
    {
        using var database = new PostgreSqlDatabase("Host=127.0.0.1;Port=1;Database=lost;Username=someone;Password=hidden", maxConnections: 3);

        var failure = Assert.Throws<MigrationException>(() => Migrations.Apply(database, NullLogger.Instance));

        Assert.Contains("lost on 127.0.0.1", failure.Message, StringComparison.Ordinal);
        Assert.DoesNotContain("hidden", failure.ToString(), StringComparison.Ordinal);
    }

    private object? Scalar(string sql)
    {
        using var database = new PostgreSqlDatabase(_connectionString, maxConnections: 3);
        using var connection = database.DataSource.OpenConnection();
        using var command = connection.CreateCommand();
        command.CommandText = sql;
        return command.ExecuteScalar();
    }
}
