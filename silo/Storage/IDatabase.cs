using System.Data.Common;
using DbUp.Builder;

namespace Instances.Storage;

/// <summary>The database of grain states, reminders and the catalogue: the differences between the kinds of databases.</summary>
internal interface IDatabase : IDisposable
{
    /// <summary>How long a migration waits in one attempt for a table that another session has locked.</summary>
    static readonly TimeSpan LockTimeout = TimeSpan.FromSeconds(5);

    /// <summary>A description for messages, without secrets.</summary>
    string Name { get; }

    /// <summary>The name under which Orleans' ADO.NET packages know the driver.</summary>
    string Invariant { get; }

    DbDataSource DataSource { get; }

    /// <summary>The folder of its migration scripts.</summary>
    string Scripts { get; }

    /// <summary>An SQL table expression: the catalogue's rows, once with each layer that they refer to, which is <c>layer.value</c>.</summary>
    string RowsWithLayersSql { get; }

    /// <summary>An SQL expression: to how many layers a catalogue row refers.</summary>
    string CountOfLayersSql { get; }

    /// <summary>An SQL table: the texts in a column that contains a JSON array of texts, as <c>value</c>.</summary>
    string ElementsSql(string column);

    /// <summary>An SQL expression: a whole number in a column that contains a JSON object.</summary>
    string NumberSql(string column, string property);

    /// <summary>An SQL expression: the host in a catalogue row's view, NULL if there is none.</summary>
    string HostOfViewSql { get; }

    /// <summary>An SQL expression: the kind of the operation in a catalogue row's view.</summary>
    string KindOfViewSql { get; }

    /// <summary>An SQL expression: the value of a catalogue row's label, NULL if it has none.</summary>
    /// <param name="key">The SQL of the label's key, such as a parameter.</param>
    string LabelSql(string key);

    /// <summary>Prepares the database for migrations, and runs them while no other silo does.</summary>
    TResult WhileMigrating<TResult>(Func<UpgradeEngineBuilder, TResult> migrate);
}
