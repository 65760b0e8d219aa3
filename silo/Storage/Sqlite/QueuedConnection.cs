using System.Data;
using System.Data.Common;
using System.Runtime.CompilerServices;
using Microsoft.Data.Sqlite;
using SQLitePCL;

namespace Instances.Storage;

/// <summary>A pooled connection whose write commands run one at a time.</summary>
internal sealed class QueuedConnection(string connectionString, WriteQueue writes, DiskReserve reserve) : SqliteConnection(connectionString)
{
    private static readonly ConditionalWeakTable<sqlite3, object> s_configured = [];

    public override void Open()
    {
        base.Open();
        Configure(Handle!);
    }

    public override SqliteCommand CreateCommand() =>
        new QueuedCommand(writes, reserve) { Connection = this, CommandTimeout = DefaultTimeout, Transaction = Transaction };

    // The settings belong to the file handle, which the pool keeps open.
    private void Configure(sqlite3 handle)
    {
        if (s_configured.TryGetValue(handle, out _))
            return;

        raw.sqlite3_busy_timeout(handle, (int)SqliteDataSource.BusyTimeout.TotalMilliseconds);

        // FULL: a commit that has returned is on the disk, and survives a power cut, not only the end of this process. A saga acts
        // world right after it wrote its intent; with NORMAL the intent could be gone after a power cut while what was done is still there.
        using var command = base.CreateCommand();
        command.CommandText = "PRAGMA synchronous = FULL";
        command.ExecuteNonQuery();
        s_configured.TryAdd(handle, handle);
    }

    /// <summary>Waits for its turn if it writes, and keeps the turn until it is disposed, because the last row is read after the commit.</summary>
    /// <remarks>Orleans and Dapper run every command through <see cref="ExecuteDbDataReaderAsync"/>. Synchronous commands do not queue.</remarks>
    private sealed class QueuedCommand(WriteQueue writes, DiskReserve reserve) : SqliteCommand
    {
        private bool _hasTurn;

        private bool Writes => !CommandText.AsSpan().TrimStart().StartsWith("SELECT", StringComparison.OrdinalIgnoreCase);

        protected override async Task<DbDataReader> ExecuteDbDataReaderAsync(CommandBehavior behavior, CancellationToken cancellationToken)
        {
            if (Writes && !_hasTurn)
            {
                await writes.Enter(cancellationToken).ConfigureAwait(false);
                _hasTurn = true;
            }

            // A statement that returns rows commits when the last of them is read: too late to make room then.
            if (Writes) reserve.MakeRoom();

            while (true)
            {
                try
                {
                    return await base.ExecuteDbDataReaderAsync(behavior, cancellationToken).ConfigureAwait(false);
                }
                catch (SqliteException exception) when (IsFull(exception))
                {
                    // SQLite has undone the statement. Within a transaction it may have undone more.
                    if (Transaction is not null || !reserve.Release()) throw new DatabaseFullException(reserve.Folder, exception);
                }
            }
        }

        /// <summary>Readers need space too, for the index of the log: that fails otherwise.</summary>
        private bool IsFull(SqliteException exception) =>
            exception.SqliteErrorCode is raw.SQLITE_FULL || (exception.SqliteErrorCode is raw.SQLITE_IOERR or raw.SQLITE_CANTOPEN && reserve.IsFull);

        protected override void Dispose(bool disposing)
        {
            base.Dispose(disposing);
            if (!disposing || !_hasTurn)
                return;

            _hasTurn = false;
            writes.Leave();
        }
    }
}
