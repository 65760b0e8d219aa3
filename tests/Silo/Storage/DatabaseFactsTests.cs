using Instances.Hosting;
using Microsoft.Extensions.Logging.Abstractions;
using Xunit;

namespace Instances.Storage;

public sealed class DatabaseFactsTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("instances-facts-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public void Claim_OfADatabase_IsForOneDatacenter(bool isPostgreSql)
    {
        using var database = isPostgreSql ? TestDatabase.PostgreSql() : TestDatabase.Sqlite();
        DatabaseFacts.Claim(database.Database, "east");
        DatabaseFacts.Claim(database.Database, "east");

        var refusal = Assert.Throws<StartException>(() => DatabaseFacts.Claim(database.Database, "west"));

        Assert.Contains("'east'", refusal.Message, StringComparison.Ordinal);
        Assert.Contains("'west'", refusal.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("0011", true)]
    [InlineData("9999", false)]
    public void RequireRelease_OfADatabaseThatSaysWhichMayRun_RefusesOlderOnes(string oldest, bool mayRun)
    {
        using var database = TestDatabase.Sqlite();
        database.Column("UPDATE database_fact SET value = @oldest WHERE name = 'oldest-migration'", new { oldest });

        var refusal = Record.Exception(() => DatabaseFacts.RequireRelease(database.Database));

        if (mayRun) Assert.Null(refusal);
        else Assert.Contains("needs a release that has the migration 9999", Assert.IsType<StartException>(refusal).Message, StringComparison.Ordinal);
    }

    /// <summary>Every datacenter had one name until then.</summary>
    [Fact]
    public void Claim_OfADatabaseOfAnEarlierRelease_IsForLocal()
    {
        using var database = new SqliteDatabase(Path.Combine(_folder, "instances.db"));
        Migrations.Apply(database, NullLogger.Instance, Migrations.Scripts(database).TakeWhile(script => string.CompareOrdinal(script.Name, "0010") < 0));
        using (var connection = database.DataSource.OpenConnection())
        using (var command = connection.CreateCommand())
        {
            command.CommandText = "INSERT INTO OrleansStorage (GrainIdHash, GrainIdN0, GrainIdN1, GrainTypeHash, GrainTypeString, ServiceId, ModifiedOn) VALUES (1, 1, 1, 1, 'any', 'instances', '')";
            command.ExecuteNonQuery();
        }

        Migrations.Apply(database, NullLogger.Instance);

        Assert.Throws<StartException>(() => DatabaseFacts.Claim(database, "east"));
        DatabaseFacts.Claim(database, "local");
    }
}
