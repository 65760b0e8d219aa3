using System.Data.Common;
using Microsoft.Data.Sqlite;

namespace Instances.Storage;

/// <summary>Connections to one SQLite file, pooled, for Orleans' storage, reminders and the catalogue.</summary>
/// <remarks>
/// Readers never wait (write-ahead log). Writers of this process wait for one another in order and without holding a thread, see
/// <see cref="WriteQueue"/>; a writer of another process is waited for by SQLite's busy handler, up to <see cref="BusyTimeout"/>. So nobody sees
/// SQLITE_BUSY short of these bounds.
/// </remarks>
internal sealed class SqliteDataSource : DbDataSource
{
    /// <summary>How long SQLite waits for a writer of another process before the driver looks again, and for how long the driver continues doing so.</summary>
    public static readonly TimeSpan BusyTimeout = TimeSpan.FromSeconds(30);

    private readonly WriteQueue _writes = new();

    /// <param name="reserveBytes">What is kept of the disk for when that is full.</param>
    public SqliteDataSource(string databaseFile, long reserveBytes = 0)
    {
        ArgumentException.ThrowIfNullOrWhiteSpace(databaseFile);
        DatabaseFile = Path.GetFullPath(databaseFile);
        Reserve = new(DatabaseFile, reserveBytes);
        ConnectionString = new SqliteConnectionStringBuilder
        {
            DataSource = DatabaseFile,
            DefaultTimeout = (int)BusyTimeout.TotalSeconds,
        }.ToString();
    }

    public string DatabaseFile { get; }

    public DiskReserve Reserve { get; }

    public override string ConnectionString { get; }

    protected override DbConnection CreateDbConnection() => new QueuedConnection(ConnectionString, _writes, Reserve);

    protected override void Dispose(bool disposing)
    {
        if (!disposing)
            return;

        using var connection = new SqliteConnection(ConnectionString);
        SqliteConnection.ClearPool(connection);
        _writes.Dispose();
        Reserve.Dispose();
    }
}
