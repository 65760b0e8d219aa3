using System.Text.Json;
using Xunit;

namespace Instances.Qemu;

public sealed class GuestAgentTests
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Connect_RemainsOfEarlierTalks_AreSkipped()
    {
        using var guest = new FakeSocket();
        await using var agent = await Connect(guest, before: "{\"return\": 7}\n\u00ff{\"return\": 0}\n\u00ff\u00ff{\"error\": 1}\n");
        var frozen = agent.Freeze(Stop);
        Assert.Contains("guest-fsfreeze-freeze", await guest.Receive(), StringComparison.Ordinal);
        await guest.Send("{\"return\": 3}\n");
        Assert.Equal(3, await frozen);
    }

    [Theory]
    [InlineData("{\"return\": \"many\"}\n")]
    [InlineData("{\"return\": [[]]}\n")]
    [InlineData("{\"return\": 1e99}\n")]
    public async Task Freeze_AnswerOfAnotherType_IsNone(string line)
    {
        using var guest = new FakeSocket();
        await using var agent = await Connect(guest);
        var frozen = agent.Freeze(Stop);
        await guest.Receive();
        await guest.Send(line);
        Assert.Equal(0, await frozen);
    }

    [Theory]
    [InlineData("{\"error\": {\"class\": \"GenericError\", \"desc\": \"busy\"}}\n")]
    [InlineData("{\"error\": 5}\n")]
    [InlineData("nonsense\n")]
    [InlineData("[]\n")]
    [InlineData("half a line")]
    public async Task Freeze_AnswerMakesNoSense_Fails(string line)
    {
        using var guest = new FakeSocket();
        await using var agent = await Connect(guest);
        var frozen = agent.Freeze(Stop);
        await guest.Receive();
        await guest.Send(line);
        if (!line.EndsWith('\n')) guest.Close();
        await Assert.ThrowsAsync<QmpException>(() => frozen);
    }

    [Theory]
    [InlineData("\\u0000b\\u0007", "The guest agent says: b")]
    [InlineData("\\ud83d", "The guest agent says: \"\\ud83d\"")]
    public async Task Freeze_ReasonThatNoDatabaseTakes_IsCleaned(string reason, string shown)
    {
        using var guest = new FakeSocket();
        await using var agent = await Connect(guest);
        var frozen = agent.Freeze(Stop);
        await guest.Receive();
        await guest.Send($"{{\"error\": {{\"class\": \"GenericError\", \"desc\": \"{reason}\"}}}}\n");
        Assert.Equal(shown, (await Assert.ThrowsAsync<QmpException>(() => frozen)).Message);
    }

    private static async Task<GuestAgent> Connect(FakeSocket guest, string before = "")
    {
        var connecting = GuestAgent.Connect(guest.Folder, FakeSocket.Name, Stop);
        await guest.Accept();
        var command = await guest.Receive();
        Assert.Equal('\u00ff', command[0]);
        var id = JsonDocument.Parse(command[1..]).RootElement.GetProperty("arguments").GetProperty("id").GetInt32();
        await guest.Send($"{before}\u00ff{{\"return\": {id}}}\n");
        return await connecting;
    }
}
