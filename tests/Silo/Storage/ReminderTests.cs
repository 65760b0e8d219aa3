using Microsoft.Extensions.DependencyInjection;
using Orleans;
using Orleans.Configuration;
using Orleans.Hosting;
using Orleans.Runtime;
using Xunit;

namespace Instances.Storage;

public sealed class ReminderOnSqliteTests() : ReminderTests(TestDatabase.Sqlite());

public sealed class ReminderOnPostgreSqlTests() : ReminderTests(TestDatabase.PostgreSql());

public abstract class ReminderTests : IDisposable
{
    private static readonly DateTime s_start = new(2026, 3, 4, 5, 6, 7, 89, DateTimeKind.Utc);

    private readonly TestDatabase _database;

    private protected ReminderTests(TestDatabase database) => _database = database;

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose()
    {
        _database.Dispose();
        GC.SuppressFinalize(this);
    }

    [Fact]
    public async Task Reminders_Upserted_ReadBackWithTimesInUtcAndMilliseconds()
    {
        var table = await OpenTable();
        var entry = Entry("retry");

        var first = await table.UpsertRow(entry, Token);
        entry.Period = TimeSpan.FromDays(40);
        var second = await table.UpsertRow(entry, Token);

        var read = await table.ReadRow(entry.GrainId, "retry", Token);
        Assert.NotNull(read);
        Assert.Equal(s_start, read.StartAt);
        Assert.Equal(DateTimeKind.Utc, read.StartAt.Kind);
        Assert.Equal(TimeSpan.FromDays(40), read.Period);
        Assert.Equal(second, read.ETag);
        Assert.NotEqual(first, second);
        Assert.Single((await table.ReadRows(entry.GrainId, Token)).Reminders);
        Assert.Null(await table.ReadRow(entry.GrainId, "other", Token));
        // Of all grains, whatever their hash.
        Assert.Single((await table.ReadRows(0, 0, Token)).Reminders);
    }

    [Fact]
    public async Task Reminders_Removed_OnlyWithTheirVersion()
    {
        var table = await OpenTable();
        var entry = Entry("retry");
        var stale = await table.UpsertRow(entry, Token);
        var current = await table.UpsertRow(entry, Token);

        Assert.False(await table.RemoveRow(entry.GrainId, "retry", stale!, Token));
        Assert.False(await table.RemoveRow(entry.GrainId, "other", current!, Token));
        Assert.True(await table.RemoveRow(entry.GrainId, "retry", current!, Token));
        Assert.False(await table.RemoveRow(entry.GrainId, "retry", current!, Token));
        Assert.Empty((await table.ReadRows(entry.GrainId, Token)).Reminders);
    }

    // The ring is cut into ranges in every way that a silo may ask for: each reminder is in exactly one of two halves.
    [Theory]
    [InlineData(0u, 0x80000000u)]
    [InlineData(0u, 0xC0000000u)]
    [InlineData(0x40000000u, 0x90000000u)]
    [InlineData(0x90000000u, 0xF0000000u)]
    [InlineData(0xF0000000u, 0x10000000u)]
    [InlineData(0x7FFFFFFFu, 0x80000000u)]
    public async Task Reminders_Ranges_HoldWhatTheRingSays(uint begin, uint end)
    {
        var table = await OpenTable();
        var entries = Enumerable.Range(0, 100).Select(_ => Entry("retry")).ToList();
        foreach (var entry in entries)
            await table.UpsertRow(entry, Token);

        var inside = await table.ReadRows(begin, end, Token);
        var outside = await table.ReadRows(end, begin, Token);

        Assert.Equal(Keys(entries.Where(entry => IsIn(entry.GrainId.GetUniformHashCode(), begin, end))), Keys(inside.Reminders));
        Assert.Equal(Keys(entries.Where(entry => IsIn(entry.GrainId.GetUniformHashCode(), end, begin))), Keys(outside.Reminders));
        Assert.Equal(100, inside.Reminders.Count + outside.Reminders.Count);
    }

    [Fact]
    public async Task Reminders_WholeRing_IsEverything()
    {
        var table = await OpenTable();
        for (var number = 0; number < 50; number++)
            await table.UpsertRow(Entry("retry"), Token);

        Assert.Equal(50, (await table.ReadRows(0, 0, Token)).Reminders.Count);
        Assert.Equal(50, (await table.ReadRows(0, uint.MaxValue, Token)).Reminders.Count);

        await table.TestOnlyClearTable(Token);
        Assert.Empty((await table.ReadRows(0, 0, Token)).Reminders);
    }

    private static bool IsIn(uint hash, uint begin, uint end) => begin < end ? hash > begin && hash <= end : hash > begin || hash <= end;

    private static IEnumerable<string> Keys(IEnumerable<ReminderEntry> entries) => entries.Select(entry => entry.GrainId.ToString()).Order(StringComparer.Ordinal);

    private static ReminderEntry Entry(string name) =>
        new() { GrainId = Guid.NewGuid().Id(), ReminderName = name, StartAt = s_start, Period = TimeSpan.FromMinutes(1) };

    private async Task<IReminderTable> OpenTable()
    {
        var services = new ServiceCollection();
        services.Configure<ClusterOptions>(options => (options.ServiceId, options.ClusterId) = ("test", "test"));
        services.AddSingleton(_database.Database);
        services.UseAdoNetReminderService(options => options.Configure<IDatabase>(StorageServices.Configure));
        var table = services.BuildServiceProvider().GetRequiredService<IReminderTable>();
        await table.StartAsync(CancellationToken.None);
        return table;
    }
}
