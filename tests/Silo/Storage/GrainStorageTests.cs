using System.Text;
using Instances.Faults;
using Orleans;
using Orleans.Runtime;
using Orleans.Storage;
using Xunit;

namespace Instances.Storage;

public sealed class GrainStorageOnSqliteTests() : GrainStorageTests(TestDatabase.Sqlite());

public sealed class GrainStorageOnPostgreSqlTests() : GrainStorageTests(TestDatabase.PostgreSql());

public abstract class GrainStorageTests : IDisposable
{
    private const string Name = "test-state";

    private readonly TestDatabase _database;

    private protected GrainStorageTests(TestDatabase database) => _database = database;

    public void Dispose()
    {
        _database.Dispose();
        GC.SuppressFinalize(this);
    }

    [Fact]
    public async Task Storage_StateThatWasNeverWritten_ReadsAsFresh()
    {
        var storage = await _database.OpenStorage();

        var read = await storage.Read<TestState>(Name, Guid.NewGuid().Id());

        Assert.False(read.RecordExists);
        Assert.Null(read.ETag);
        Assert.Equal(new TestState(), read.State);
    }

    [Fact]
    public async Task Storage_WrittenTwice_ReadsTheLast()
    {
        var storage = await _database.OpenStorage();
        var id = Guid.NewGuid().Id();

        await storage.Write(Name, id, new TestState { Text = "first" });
        await storage.Write(Name, id, new TestState { Text = "second ✓" });

        var read = await storage.Read<TestState>(Name, id);
        Assert.True(read.RecordExists);
        Assert.Equal("second ✓", read.State?.Text);
        Assert.Equal("2", read.ETag);
    }

    [Theory, InlineData(true), InlineData(false)]
    public async Task Storage_Cleared_CanBeWrittenAgain(bool deleteOnClear)
    {
        var storage = await _database.OpenStorage(deleteOnClear: deleteOnClear);
        var id = Guid.NewGuid().Id();
        var state = await storage.Write(Name, id, new TestState { Text = "first" });

        await storage.ClearStateAsync(Name, id, state);

        Assert.False(state.RecordExists);
        Assert.False((await storage.Read<TestState>(Name, id)).RecordExists);
        Assert.Equal(deleteOnClear ? 0 : 1, _database.Scalar<int>("SELECT count(*) FROM OrleansStorage"));

        state.State = new TestState { Text = "again" };
        await storage.WriteStateAsync(Name, id, state);
        Assert.Equal("again", (await storage.Read<TestState>(Name, id)).State?.Text);
    }

    [Theory, InlineData(true), InlineData(false)]
    public async Task Storage_StaleVersion_IsRefusedAndChangesNothing(bool deleteOnClear)
    {
        var storage = await _database.OpenStorage(deleteOnClear: deleteOnClear);
        var id = Guid.NewGuid().Id();
        await storage.Write(Name, id, new TestState { Text = "first" });
        var stale = await storage.Read<TestState>(Name, id);
        await storage.Write(Name, id, new TestState { Text = "second" });

        stale.State = new TestState { Text = "lost" };
        await Assert.ThrowsAsync<InconsistentStateException>(() => storage.WriteStateAsync(Name, id, stale));
        await Assert.ThrowsAsync<InconsistentStateException>(() => storage.ClearStateAsync(Name, id, stale));

        Assert.Equal("second", (await storage.Read<TestState>(Name, id)).State?.Text);
    }

    [Fact]
    public async Task Storage_KeysOfEveryKind_AreKeptApart()
    {
        var storage = await _database.OpenStorage();
        var guid = Guid.NewGuid();
        GrainId[] ids =
        [
            guid.Id(),
            GrainId.Create(GrainType.Create("test"), GrainIdKeyExtensions.CreateGuidKey(guid, "extension")),
            GrainId.Create(GrainType.Create("test"), GrainIdKeyExtensions.CreateIntegerKey(7)),
            GrainId.Create(GrainType.Create("test"), GrainIdKeyExtensions.CreateIntegerKey(7, "extension")),
            GrainId.Create("test", "text"),
        ];

        foreach (var id in ids)
            await storage.Write(Name, id, new TestState { Text = id.ToString() });

        foreach (var id in ids)
            Assert.Equal(id.ToString(), (await storage.Read<TestState>(Name, id)).State?.Text);
        Assert.Equal(ids.Length, _database.Scalar<int>("SELECT count(*) FROM OrleansStorage"));
    }

    [Fact]
    public async Task Storage_TwoStateNamesOfOneKey_AreKeptApart()
    {
        var storage = await _database.OpenStorage();
        var id = Guid.NewGuid().Id();

        await storage.Write("one", id, new TestState { Text = "1" });
        await storage.Write("two", id, new TestState { Text = "2" });

        Assert.Equal("1", (await storage.Read<TestState>("one", id)).State?.Text);
        Assert.Equal("2", (await storage.Read<TestState>("two", id)).State?.Text);
    }

    // Two data sources, as two processes would have: the write queue of one does not know of the other.
    [Fact]
    public async Task Storage_FirstWriteFromTwoSides_LeavesOneRowAndOneWinner()
    {
        const int trials = 200;
        using var otherSource = _database.Open();
        var one = await _database.OpenStorage();
        var other = await _database.OpenStorage(otherSource);

        var winners = await Task.WhenAll(Enumerable.Range(0, trials).Select(async trial =>
        {
            var id = Guid.NewGuid().Id();
            var writes = await Task.WhenAll(TryFirstWrite(one, id, "one"), TryFirstWrite(other, id, "other"));
            Assert.Equal(writes.Single(winner => winner is not null), (await one.Read<TestState>(Name, id)).State?.Text);
            return writes.Count(winner => winner is not null);
        }));

        Assert.All(winners, count => Assert.Equal(1, count));
        Assert.Equal(trials, _database.Scalar<int>("SELECT count(*) FROM OrleansStorage"));
    }

    [Fact]
    public async Task Storage_ReaderOfAnOlderRelease_RefusesANewerSchema()
    {
        var storage = await _database.OpenStorage();
        var id = Guid.NewGuid().Id();
        await storage.Write(Name, id, new TestState { Text = "new" });

        var refusal = await Assert.ThrowsAsync<FaultException>(() => storage.Read<OlderTestState>(Name, id));

        Assert.Equal("state-too-new", refusal.Fault.Code);
        Assert.Contains("schema 2", refusal.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Storage_ReaderOfALaterRelease_ReadsAnOlderSchema()
    {
        var storage = await _database.OpenStorage();
        var id = Guid.NewGuid().Id();
        await storage.Write(Name, id, new OlderTestState { Text = "old" });

        Assert.Equal("old", (await storage.Read<TestState>(Name, id)).State?.Text);
    }

    [Fact]
    public async Task Storage_Payload_IsJsonWithoutTypeNames()
    {
        var storage = await _database.OpenStorage();

        await storage.Write(Name, Guid.NewGuid().Id(), new TestState { Text = "x" });

        Assert.Equal("""{"schema":2,"text":"x"}""", Encoding.UTF8.GetString(_database.Scalar<byte[]>("SELECT PayloadBinary FROM OrleansStorage")));
    }

    private static async Task<string?> TryFirstWrite(AdoNetGrainStorage storage, GrainId id, string text)
    {
        await Task.Yield();
        try
        {
            await storage.WriteStateAsync(Name, id, new GrainState<TestState> { State = new TestState { Text = text } });
            return text;
        }
        catch (InconsistentStateException)
        {
            return null;
        }
    }
}
