using DbUp.Engine;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit;

namespace Instances.Storage;

public sealed class MigrationTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("instances-migrations-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void Migrations_AppliedTwice_ChangeNothingTheSecondTime()
    {
        using var database = TestDatabase.Sqlite();
        var before = database.Column("SELECT SchemaVersionID || ' ' || ScriptName || ' ' || Applied FROM SchemaVersions");

        Migrations.Apply(database.Database, NullLogger.Instance);

        Assert.Equal(before, database.Column("SELECT SchemaVersionID || ' ' || ScriptName || ' ' || Applied FROM SchemaVersions"));
        Assert.Equal(Migrations.Scripts(database.Database).Count(), before.Count);
        Assert.Contains("0001-orleans-main.sql", before[0], StringComparison.Ordinal);
    }

    [Fact]
    public async Task Migrations_OfManyAtOnce_AreAppliedOnce()
    {
        var sources = Enumerable.Range(0, 4).Select(_ => new SqliteDatabase(Path.Combine(_folder, "deep", "instances.db"))).ToList();

        await Task.WhenAll(sources.Select(source => Task.Factory.StartNew(
            () => Migrations.Apply(source, NullLogger.Instance), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default)));

        using var connection = sources[0].DataSource.OpenConnection();
        using var command = connection.CreateCommand();
        command.CommandText = "SELECT count(*) FROM SchemaVersions";
        Assert.Equal((long)Migrations.Scripts(sources[0]).Count(), command.ExecuteScalar());
        sources.ForEach(source => source.Dispose());
    }

    [Fact]
    public void Database_NewOrOfAnEarlierRelease_IsItsOwnersAlone()
    {
        var file = Path.Combine(_folder, "instances.db");
        for (var round = 0; round < 2; round++)
        {
            using var database = new SqliteDatabase(file);
            Migrations.Apply(database, NullLogger.Instance);
            using var open = database.DataSource.OpenConnection();
            Assert.All(
                Directory.EnumerateFiles(_folder, "instances.db*"),
                path => Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(path)));
            foreach (var path in Directory.EnumerateFiles(_folder, "instances.db*")) File.SetUnixFileMode(path, File.GetUnixFileMode(path) | UnixFileMode.OtherRead);
        }
    }

    [Fact]
    public void Migrations_FailingScript_NamesItAndLeavesNothing()
    {
        using var source = new SqliteDatabase(Path.Combine(_folder, "instances.db"));
        SqlScript[] scripts = [new("0001-good.sql", "CREATE TABLE good (x);"), new("0002-bad.sql", "CREATE TABLE half (x); CREATE TABEL bad (x);")];

        var failure = Assert.Throws<MigrationException>(() => Migrations.Apply(source, NullLogger.Instance, scripts));

        Assert.Contains("0002-bad.sql", failure.Message, StringComparison.Ordinal);
        Assert.Contains("TABEL", failure.Message, StringComparison.Ordinal);
        using var connection = source.DataSource.OpenConnection();
        using var command = connection.CreateCommand();
        command.CommandText = "SELECT count(*) FROM sqlite_schema WHERE name IN ('good', 'half')";
        Assert.Equal(0L, command.ExecuteScalar());
    }

    [Fact]
    public void Migrations_FileThatIsNoDatabase_SaysWhich()
    {
        var file = Path.Combine(_folder, "text.db");
        File.WriteAllText(file, new string('x', 8192));
        using var source = new SqliteDatabase(file);

        var failure = Assert.Throws<MigrationException>(() => Migrations.Apply(source, NullLogger.Instance));

        Assert.Contains(file, failure.Message, StringComparison.Ordinal);
    }
}
