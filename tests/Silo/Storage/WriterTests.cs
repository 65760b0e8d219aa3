using System.Collections.Concurrent;
using Xunit;

namespace Instances.Storage;

public sealed class WriterTests : IDisposable
{
    private readonly TestDatabase _database = TestDatabase.Sqlite();

    public void Dispose() => _database.Dispose();

    // Two data sources stand for two processes: they share nothing but the file.
    [Fact]
    public async Task Writers_ManyFromTwoSides_AllSucceed()
    {
        const int tasks = 200;
        const int writes = 5;
        using var otherSource = _database.Open();
        var one = await _database.OpenStorage();
        var other = await _database.OpenStorage(otherSource);

        await Task.WhenAll(Enumerable.Range(0, tasks).Select(async number =>
        {
            await Task.Yield();
            var storage = number % 2 == 0 ? one : other;
            var id = Guid.NewGuid().Id();
            for (var write = 1; write <= writes; write++)
                await storage.Write("test-state", id, new TestState { Text = $"{write}" });
            Assert.Equal($"{writes}", (await storage.Read<TestState>("test-state", id)).State?.Text);
        }));

        Assert.Equal(tasks, _database.Scalar<int>($"SELECT count(*) FROM OrleansStorage WHERE Version = {writes}"));
    }

    [Fact]
    public async Task Writers_WhileAnotherHoldsTheWriteLock_WaitAndReadersDoNot()
    {
        var storage = await _database.OpenStorage();
        var id = Guid.NewGuid().Id();
        await storage.Write("test-state", id, new TestState { Text = "before" });
        using var otherSource = _database.Open();
        using var holder = otherSource.DataSource.OpenConnection();
        var transaction = holder.BeginTransaction();

        var write = Task.Factory.StartNew(
            () => storage.Write("test-state", id, new TestState { Text = "after" }), CancellationToken.None, TaskCreationOptions.LongRunning, TaskScheduler.Default).Unwrap();
        Assert.Equal("before", (await storage.Read<TestState>("test-state", id)).State?.Text);
        Assert.False(write.IsCompleted);
        await transaction.CommitAsync(TestContext.Current.CancellationToken);

        await write.WaitAsync(Testing.Bounds.Wait, TestContext.Current.CancellationToken);
        Assert.Equal("after", (await storage.Read<TestState>("test-state", id)).State?.Text);
    }

    [Fact]
    public async Task WriteQueue_FailedWrite_GivesItsTurnBack()
    {
        await using (var connection = await _database.Database.DataSource.OpenConnectionAsync(TestContext.Current.CancellationToken))
        {
            await using var command = connection.CreateCommand();
            command.CommandText = "INSERT INTO nowhere VALUES (1)";
            await Assert.ThrowsAnyAsync<Exception>(() => command.ExecuteReaderAsync(TestContext.Current.CancellationToken));
        }

        var storage = await _database.OpenStorage();
        await storage.Write("test-state", Guid.NewGuid().Id(), new TestState()).WaitAsync(Testing.Bounds.Wait, TestContext.Current.CancellationToken);
    }

    [Fact]
    public async Task WriteQueue_Writers_PassOneAtATimeInOrder()
    {
        using var queue = new WriteQueue();
        await queue.Enter(TestContext.Current.CancellationToken);
        var order = new ConcurrentQueue<int>();
        var waiting = Enumerable.Range(0, 20).Select(async number =>
        {
            await queue.Enter(TestContext.Current.CancellationToken);
            order.Enqueue(number);
            queue.Leave();
        }).ToList();

        Assert.Empty(order);
        queue.Leave();
        await Task.WhenAll(waiting);

        Assert.Equal(Enumerable.Range(0, 20), order);
    }

    [Fact]
    public void Connections_OfThePool_AreDurableAndInWalMode()
    {
        for (var number = 0; number < 3; number++)
        {
            Assert.Equal(2, _database.Scalar<int>("PRAGMA synchronous"));
            Assert.Equal("wal", _database.Scalar<string>("PRAGMA journal_mode"));
            Assert.Equal((int)SqliteDataSource.BusyTimeout.TotalMilliseconds, _database.Scalar<int>("PRAGMA busy_timeout"));
        }
    }
}
