using Instances.Storage;
using Microsoft.Extensions.Logging.Abstractions;

namespace Instances.Testing;

/// <summary>An empty SQLite database with all migrations. Tests copy it: to migrate a new one takes much longer.</summary>
internal static class MigratedDatabase
{
    private static readonly Lazy<byte[]> s_content = new(Make);

    public static void CopyTo(string file) => File.WriteAllBytes(file, s_content.Value);

    private static byte[] Make()
    {
        var folder = MemoryFolder.Create("migrated-");
        try
        {
            var copy = Path.Combine(folder, "copy.db");
            using (var database = new SqliteDatabase(Path.Combine(folder, "instances.db")))
            {
                Migrations.Apply(database, NullLogger.Instance);
                using var connection = database.DataSource.OpenConnection();
                using var command = connection.CreateCommand();
                command.CommandText = $"VACUUM INTO '{copy}'";
                command.ExecuteNonQuery();
            }

            return File.ReadAllBytes(copy);
        }
        finally
        {
            Directory.Delete(folder, recursive: true);
        }
    }
}
