using Microsoft.Extensions.Logging.Abstractions;
using Instances.Faults;
using Instances.Testing;
using Orleans.TestingHost;
using Xunit;

namespace Instances.Storage;

/// <summary>The database becomes unreachable and comes back while a silo runs.</summary>
public sealed class PostgreSqlOutageTests : IDisposable
{
    private readonly string _connectionString = PostgreSqlServer.Shared.CreateDatabase();

    public void Dispose() => PostgreSqlServer.Shared.DropDatabase(_connectionString);

    [Fact]
    public async Task Outage_Grains_LoseNothingAndServeAgain()
    {
        var builder = new InProcessTestClusterBuilder(1);
        builder.ConfigureSilo((_, silo) => silo.AddStorage(_ => new PostgreSqlDatabase(_connectionString, maxConnections: 5)));
        builder.Options.ServiceId = "instances";
        await using var cluster = builder.Build();
        await cluster.DeployAsync(TestContext.Current.CancellationToken);
        var grain = cluster.Client.GetGrain<IStoredGrain>(Guid.NewGuid());
        await grain.Set("kept");
        await grain.Remind();

        PostgreSqlServer.Shared.CutOff(_connectionString);
        await Assert.ThrowsAnyAsync<Exception>(() => grain.Set("lost"));

        // The runtime's message for a state that was not read, and our fault instead of the driver's exception.
        var unread = await Assert.ThrowsAsync<Orleans.Runtime.OrleansException>(() => cluster.Client.GetGrain<IStoredGrain>(Guid.NewGuid()).Get());
        Assert.Equal("state-unavailable", Assert.IsType<FaultException>(unread.InnerException).Fault.Code);

        PostgreSqlServer.Shared.LetIn(_connectionString);
        await grain.Set("and more");
        Assert.Equal(("and more", true), await grain.Get());
    }

    [Fact]
    public async Task Outage_ThatIsOver_IsNotSeenByReadersOfTheCatalogue()
    {
        using var database = new PostgreSqlDatabase(_connectionString, maxConnections: 5);
        Migrations.Apply(database, Microsoft.Extensions.Logging.Abstractions.NullLogger.Instance);
        var catalogue = new DatabaseCatalogue(database, NullLogger<DatabaseCatalogue>.Instance);
        await Task.WhenAll(Enumerable.Range(0, 5).Select(_ => catalogue.KnownImages()));

        PostgreSqlServer.Shared.CutOff(_connectionString);
        await Assert.ThrowsAnyAsync<System.Data.Common.DbException>(catalogue.KnownImages);
        PostgreSqlServer.Shared.LetIn(_connectionString);

        for (var read = 0; read < 5; read++) Assert.Empty(await catalogue.KnownImages());
    }

    [Fact]
    public async Task Connection_ThatDiedInThePool_IsNotSeenByReadersOfTheCatalogue()
    {
        using var database = new PostgreSqlDatabase(_connectionString, maxConnections: 5);
        Migrations.Apply(database, Microsoft.Extensions.Logging.Abstractions.NullLogger.Instance);
        var catalogue = new DatabaseCatalogue(database, NullLogger<DatabaseCatalogue>.Instance);
        await catalogue.KnownImages();

        PostgreSqlServer.Shared.CutOff(_connectionString);
        PostgreSqlServer.Shared.LetIn(_connectionString);

        Assert.Empty(await catalogue.KnownImages());
    }
}
