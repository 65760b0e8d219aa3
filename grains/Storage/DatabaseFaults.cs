using System.Data.Common;
using Instances.Faults;

namespace Instances.Storage;

/// <summary>Translates a database's refusal to a fault for the caller.</summary>
internal static class DatabaseFaults
{
    /// <summary>SQLSTATE disk_full.</summary>
    public const string DiskFull = "53100";

    /// <summary>The class of SQLSTATEs for values that a database cannot take, such as U+0000 in a text.</summary>
    private const string BadValue = "22";

    /// <summary>The refusal in a chain of causes, or null if there is none.</summary>
    public static DbException? Find(Exception? exception) => exception is null ? null : exception as DbException ?? Find(exception.InnerException);

    /// <summary>SQLite's message for a full disk. SQLite has no SQLSTATEs.</summary>
    private const string SqliteFull = "database or disk is full";

    public static FaultException ToFault(DbException exception) => exception switch
    {
        _ when exception.SqlState is DiskFull || exception.Message.Contains(SqliteFull, StringComparison.Ordinal) => FaultException.Capacity(
            "no-space", $"The disk of the database is full: {exception.Message} Delete images or undeploy appliances that are not needed, or give the disk more space."),
        { SqlState: { } state } when state.StartsWith(BadValue, StringComparison.Ordinal) => FaultException.Invalid(
            "value-not-storable", $"The database cannot take a value in this request, such as a text with U+0000. Change the value; repeating the request does not help. ({exception.Message})"),
        _ => FaultException.Unavailable("state-unavailable", $"The database does not answer at the moment: try again. ({exception.Message})"),
    };
}
