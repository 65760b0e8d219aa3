using Instances.Catalogue;
using Microsoft.Extensions.DependencyInjection;
using Orleans;
using Orleans.Runtime;
using Orleans.TestingHost;
using Xunit;

namespace Instances.Storage;

/// <summary>The registration as a silo uses it.</summary>
public sealed class StorageServicesTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("instances-silo-").FullName;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task Silo_RestartedOnItsDatabase_KeepsStatesAndReminders()
    {
        var key = Guid.NewGuid();
        await using (var cluster = await Start())
        {
            var grain = cluster.Client.GetGrain<IStoredGrain>(key);
            await grain.Set("kept");
            await grain.Remind();
            Assert.NotNull(cluster.Silos[0].ServiceProvider.GetRequiredService<ICatalogue>());
        }

        await using (var cluster = await Start())
        {
            var grain = cluster.Client.GetGrain<IStoredGrain>(key);
            Assert.Equal(("kept", true), await grain.Get());
        }
    }

    private async Task<InProcessTestCluster> Start()
    {
        var builder = new InProcessTestClusterBuilder(1);
        builder.ConfigureSilo((_, silo) => silo.AddStorage(_ => new SqliteDatabase(Path.Combine(_folder, "instances.db"))));
        builder.Options.ServiceId = "instances";
        var cluster = builder.Build();
        await cluster.DeployAsync();
        return cluster;
    }
}

[Alias("instances.tests.IStoredGrain")]
public interface IStoredGrain : IGrainWithGuidKey
{
    [Alias("Set")]
    Task Set(string text);

    [Alias("Remind")]
    Task Remind();

    [Alias("Get")]
    Task<(string? Text, bool HasReminder)> Get();
}

internal sealed class StoredGrain([PersistentState("test-stored", StorageNames.Grains)] IPersistentState<TestState> state) : Grain, IStoredGrain, IRemindable
{
    public Task Set(string text)
    {
        state.State = new TestState { Text = text };
        return state.WriteStateAsync();
    }

    public Task Remind() => this.RegisterOrUpdateReminder("again", TimeSpan.FromHours(1), TimeSpan.FromHours(1));

    public async Task<(string? Text, bool HasReminder)> Get() => (state.State.Text, await this.GetReminder("again") is not null);

    public Task ReceiveReminder(string reminderName, TickStatus status) => Task.CompletedTask;
}
