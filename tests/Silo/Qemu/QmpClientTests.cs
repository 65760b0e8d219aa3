using System.Text.Json;
using Xunit;

namespace Instances.Qemu;

public sealed class QmpClientTests
{
    private const string Greeting = "{\"QMP\": {\"version\": {}, \"capabilities\": []}}\r\n";

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Execute_EventsBetweenAndAnswersOutOfOrder_MatchesById()
    {
        using var qemu = new FakeSocket();
        await using var client = await Connect(qemu);
        var (first, second) = (client.Execute("first", null, Stop), client.Execute("second", null, Stop));
        var (one, two) = (Id(await qemu.Receive()), Id(await qemu.Receive()));
        await qemu.Send($"{{\"event\": \"STOP\"}}\n{{\"return\": 2, \"id\": \"{two}\"}}\n{{\"return\": 9, \"id\": \"99\"}}\n{{\"event\": \"SHUTDOWN\", \"data\": {{\"guest\": true, \"reason\": \"guest-shutdown\"}}}}\n");
        Assert.Equal(2, (await second).GetInt32());
        await qemu.Send($"{{\"error\": {{\"class\": \"GenericError\", \"desc\": \"no such node\"}}, \"id\": \"{one}\"}}\n");
        var refused = await Assert.ThrowsAsync<QmpException>(() => first);
        Assert.Equal(("no such node", false), (refused.Message, refused.IsLost));
        Assert.Equal("guest-shutdown", client.ShutdownReason);
        qemu.Close();
        var events = new List<string>();
        await foreach (var happened in client.Events.ReadAllAsync(Stop)) events.Add(happened.Name);
        Assert.Equal(["STOP", "SHUTDOWN"], events);
        await client.Closed.WaitAsync(QemuLab.Patience, Stop);
    }

    [Theory]
    [InlineData("what is this\n")]
    [InlineData("[1, 2]\n")]
    [InlineData("{\"return\": {}\n")]
    [InlineData("{\"error\": {}, \"id\": \"2\"}\n")]
    [InlineData("{\"event\": \"SHUTDOWN\"}\n")]
    [InlineData("{\"event\": null, \"data\": 1}\n")]
    [InlineData("{\"return\": 1}\n")]
    [InlineData("{\"return\": 1, \"id\": null}\n")]
    [InlineData("{\"return\": 1, \"id\": 2}\n")]
    [InlineData("{\"return\": 1, \"id\": {}}\n")]
    [InlineData("{\"error\": \"no\", \"id\": \"2\"}\n")]
    [InlineData("{\"error\": {\"desc\": 7}, \"id\": \"2\"}\n")]
    [InlineData("{\"timestamp\": {}, \"event\": \"SHUTDOWN\", \"data\": []}\n")]
    [InlineData("")]
    public async Task Execute_ConnectionEndsOrMakesNoSense_IsLost(string line)
    {
        using var qemu = new FakeSocket();
        await using var client = await Connect(qemu);
        var answer = client.Execute("stop", null, Stop);
        await qemu.Receive();
        if (line.Length > 0) await qemu.Send(line);
        else qemu.Close();
        var lost = await Assert.ThrowsAsync<QmpException>(() => answer);
        Assert.True(lost.IsLost);
        Assert.Equal(line.Length > 0, lost.Message.Contains("not QMP", StringComparison.Ordinal));
        Assert.True((await Assert.ThrowsAsync<QmpException>(() => client.Execute("cont", null, Stop))).IsLost);
    }

    [Fact]
    public async Task Execute_LineWithoutEnd_IsLost()
    {
        using var qemu = new FakeSocket();
        await using var client = await Connect(qemu);
        var answer = client.Execute("stop", null, Stop);
        await qemu.Receive();
        var sending = Task.Run(async () =>
        {
            var part = new string('x', 1 << 20);
            for (var sent = 0; sent <= QmpClient.MaxLineBytes; sent += part.Length) await qemu.Send(part);
        }, Stop);
        Assert.True((await Assert.ThrowsAsync<QmpException>(() => answer)).IsLost);
        await Record.ExceptionAsync(() => sending);
    }

    [Fact]
    public async Task Execute_NoAnswer_IsLostAtItsBound()
    {
        using var qemu = new FakeSocket();
        await using var client = await Connect(qemu, commandBound: TimeSpan.FromSeconds(1));
        var late = await Assert.ThrowsAsync<QmpException>(() => client.Execute("stop", null, Stop));
        Assert.Contains("'stop' within 1 s", late.Message, StringComparison.Ordinal);
        // The command may have been carried out or not: the caller must connect again and query the state.
        Assert.True((await Assert.ThrowsAsync<QmpException>(() => client.Execute("cont", null, Stop))).IsLost);
        await client.Closed.WaitAsync(QemuLab.Patience, Stop);
    }

    [Fact]
    public async Task Connect_NobodyOrSomebodyElse_SaysSo()
    {
        using var qemu = new FakeSocket();
        var nobody = await Assert.ThrowsAsync<QmpException>(() => QmpClient.Connect(qemu.Folder, "nobody.sock", QemuLab.Patience, TimeProvider.System, Stop));
        Assert.Contains("Nothing listens", nobody.Message, StringComparison.Ordinal);
        var connecting = QmpClient.Connect(qemu.Folder, FakeSocket.Name, QemuLab.Patience, TimeProvider.System, Stop);
        await qemu.Accept();
        await qemu.Send("{\"hello\": 1}\n");
        await Assert.ThrowsAsync<QmpException>(() => connecting);
    }

    [Fact]
    public async Task Connect_NoGreeting_IsCancelled()
    {
        using var qemu = new FakeSocket();
        using var bound = CancellationTokenSource.CreateLinkedTokenSource(Stop);
        var connecting = QmpClient.Connect(qemu.Folder, FakeSocket.Name, QemuLab.Patience, TimeProvider.System, bound.Token);
        await qemu.Accept();
        await bound.CancelAsync();
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => connecting);
    }

    private static async Task<QmpClient> Connect(FakeSocket qemu, TimeSpan? commandBound = null)
    {
        var connecting = QmpClient.Connect(qemu.Folder, FakeSocket.Name, commandBound ?? QemuLab.Patience, TimeProvider.System, Stop);
        await qemu.Accept();
        await qemu.Send(Greeting);
        await qemu.Send($"{{\"return\": {{}}, \"id\": \"{Id(await qemu.Receive())}\"}}\n");
        return await connecting;
    }

    private static string Id(string command) => JsonDocument.Parse(command).RootElement.GetProperty("id").GetString()!;
}
