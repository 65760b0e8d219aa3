using System.Data.Common;

namespace Instances.Storage;

/// <summary>The disk of an SQLite database is full, and so is its reserve.</summary>
internal sealed class DatabaseFullException(string folder, Exception cause) : DbException($"There is no space left in {folder}.", cause)
{
    public override string SqlState => DatabaseFaults.DiskFull;
}
