using System.Data.Common;
using DbUp;
using DbUp.Builder;
using Instances.Library;

namespace Instances.Storage;

/// <summary>One SQLite file, which is created if it is missing.</summary>
internal sealed class SqliteDatabase(string file, long reserveBytes = 0) : IDatabase
{
    private readonly SqliteDataSource _dataSource = new(file, reserveBytes);

    public string File => _dataSource.DatabaseFile;

    public string Name => File;

    // Orleans knows Microsoft.Data.Sqlite, too, by the name of the older driver.
    public string Invariant => "System.Data.SQLite";

    public DbDataSource DataSource => _dataSource;

    public string Scripts => "Sqlite";

    public string RowsWithLayersSql => $"catalogue JOIN {ElementsSql("catalogue.layers")} AS layer";

    public string CountOfLayersSql => "json_array_length(layers)";

    public string ElementsSql(string column) => $"json_each({column})";

    public string NumberSql(string column, string property) => $"({column} ->> '{property}')";

    public string HostOfViewSql => "(view ->> 'host')";

    public string KindOfViewSql => "(view ->> 'kind')";

    // Quoted, because SQLite treats dots in a path as separators. A key contains no quotes.
    public string LabelSql(string key) => $"(labels ->> ('$.\"' || {key} || '\"'))";

    /// <summary>The transaction of the migrations takes the write lock first: silos that start together wait for one another.</summary>
    public TResult WhileMigrating<TResult>(Func<UpgradeEngineBuilder, TResult> migrate)
    {
        Directory.CreateDirectory(Path.GetDirectoryName(File)!);
        _dataSource.Reserve.MakeRoom();
        KeepPrivate();
        UseWriteAheadLog();
        KeepPrivate();
        var result = migrate(DeployChanges.To.SqliteDatabase(_dataSource.ConnectionString));
        _dataSource.Reserve.Keep();
        return result;
    }

    public void Dispose() => _dataSource.Dispose();

    /// <summary>It holds passwords and keys of guests. SQLite gives the files beside it the mode of the database. Nothing is opened here: to close a file would end SQLite's locks on it.</summary>
    private void KeepPrivate()
    {
        foreach (var path in new[] { File, $"{File}-wal", $"{File}-shm" }.Where(System.IO.File.Exists)) UnixFiles.ChangeMode(path, UnixFiles.PrivateMode);
    }

    // Is a property of the file: set once, kept for good. Readers then see the last commit while a writer writes.
    private void UseWriteAheadLog()
    {
        using var connection = _dataSource.OpenConnection();
        using var command = connection.CreateCommand();
        command.CommandText = "PRAGMA journal_mode = WAL";
        command.ExecuteNonQuery();
    }
}
