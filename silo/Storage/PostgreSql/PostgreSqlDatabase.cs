using System.Data.Common;
using DbUp.Builder;
using DbUp.Postgresql;
using Npgsql;

namespace Instances.Storage;

/// <summary>A database on a PostgreSQL server, from version 14 on. It must exist, and the user must be allowed to create tables in it.</summary>
internal sealed class PostgreSqlDatabase : IDatabase
{
    // An arbitrary number that no other program in this database uses for advisory locks.
    private const long MigrationLock = 0x696E7374616E6365;

    private readonly string _connectionString;
    private readonly NpgsqlDataSource _dataSource;

    /// <param name="maxConnections">The most connections of this process at a time. Further users wait.</param>
    /// <exception cref="ArgumentException">The connection string is not valid for Npgsql.</exception>
    public PostgreSqlDatabase(string connectionString, int maxConnections)
    {
        var settings = new NpgsqlConnectionStringBuilder(connectionString) { MaxPoolSize = maxConnections, ApplicationName = "instances" };
        Name = $"{settings.Database} on {settings.Host}";
        // The data source's own connection string omits the password.
        _connectionString = settings.ConnectionString;
        _dataSource = NpgsqlDataSource.Create(settings);
    }

    public string Name { get; }

    public string Invariant => "Npgsql";

    public DbDataSource DataSource => _dataSource;

    public string Scripts => "PostgreSql";

    public string RowsWithLayersSql => $"catalogue CROSS JOIN {ElementsSql("catalogue.layers")} AS layer";

    public string CountOfLayersSql => "jsonb_array_length(layers)";

    public string ElementsSql(string column) => $"jsonb_array_elements_text({column})";

    public string NumberSql(string column, string property) => $"({column}::json ->> '{property}')::bigint";

    public string HostOfViewSql => "(view::json ->> 'host')";

    public string KindOfViewSql => "(view::json ->> 'kind')";

    public string LabelSql(string key) => $"(labels ->> {key})";

    public TResult WhileMigrating<TResult>(Func<UpgradeEngineBuilder, TResult> migrate)
    {
        // The connection holds the lock, so that it is released if the silo dies.
        using var connection = _dataSource.OpenConnection();
        using var command = new NpgsqlCommand("SELECT pg_advisory_lock($1)", connection) { CommandTimeout = 0, Parameters = { new() { Value = MigrationLock } } };
        command.ExecuteNonQuery();
        try
        {
            using var source = OpenForMigration();
            return migrate(PostgresqlExtensions.PostgresqlDatabase(new PostgresqlConnectionManager(source), new NpgsqlConnectionStringBuilder(_connectionString).SearchPath));
        }
        finally
        {
            command.CommandText = "SELECT pg_advisory_unlock($1)";
            command.ExecuteNonQuery();
        }
    }

    public void Dispose() => _dataSource.Dispose();

    /// <summary>While a session waits for a lock on a whole table, all others wait behind it, including silos of the old release. So each attempt waits only briefly.</summary>
    /// <remarks>A statement, not the parameter <c>Options</c> of the connection: the operator may have set that, and some poolers refuse it.</remarks>
    private NpgsqlDataSource OpenForMigration()
    {
        var builder = new NpgsqlDataSourceBuilder(_connectionString);
        builder.ConnectionStringBuilder.Pooling = false;
        builder.UsePhysicalConnectionInitializer(SetLockTimeout, connection => Task.Run(() => SetLockTimeout(connection)));
        return builder.Build();

        static void SetLockTimeout(NpgsqlConnection connection)
        {
            using var command = new NpgsqlCommand(FormattableString.Invariant($"SET lock_timeout = {(int)IDatabase.LockTimeout.TotalMilliseconds}"), connection);
            command.ExecuteNonQuery();
        }
    }
}
