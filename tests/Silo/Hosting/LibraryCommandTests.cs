using System.Net;
using System.Text.Json;
using Instances.Library;
using Instances.Testing;
using Xunit;

namespace Instances.Hosting;

/// <summary>The command's output for right and wrong answers of a gateway.</summary>
public sealed class LibraryCommandTests
{
    private static readonly LibraryRebuild Begun = new(DateTimeOffset.UnixEpoch, DryRun: false, FinishedAt: null, 3, Rebuilt: 1, Known: 0, LeftOut: 0, []);

    private static readonly LibraryRebuild Ended = Begun with { FinishedAt = Begun.StartedAt.AddSeconds(1), Rebuilt = 3 };

    [Fact]
    public async Task Rebuild_ThatEnds_IsToldOf()
    {
        var (code, said) = await Run(dryRun: false, Begun, Begun, Ended);

        Assert.Equal(LibraryCommand.Rebuilt, code);
        Assert.Contains("3 images got records", said, StringComparison.Ordinal);
        Assert.Contains("enterprises with their quotas", said, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Rebuild_InWhosePlaceAnotherHasEnded_IsNotTakenForIt()
    {
        var other = Ended with { StartedAt = Begun.StartedAt.AddDays(-1) };
        await IsNotTold(Begun, other);
        await IsNotTold(Begun, other with { FinishedAt = null });
        await IsNotTold(Begun, Ended with { DryRun = true });
    }

    [Fact]
    public async Task DryRun_ThatJoinsARebuild_TellsOfThat()
    {
        var (code, said) = await Run(dryRun: true, Begun, Ended);

        Assert.Equal(LibraryCommand.Rebuilt, code);
        Assert.Contains("3 images got records", said, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Rebuild_ThatIsRefused_SaysWhy()
    {
        var (code, said) = await Run(dryRun: false, new { Code = "rebuild-running", Detail = "A dry run is under way." });

        Assert.Equal(GatewayOptions.NotAsked, code);
        Assert.Contains("A dry run is under way.", said, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Rebuild_ThatLeavesAnImageOut_NamesItAndTellsByItsExitCode()
    {
        var (unreadable, orphan) = (ImageId.New(), ImageId.New());
        var (code, said) = await Run(dryRun: false, Begun, Ended with
        {
            LeftOut = 1,
            Remarks = [new(unreadable, Name: null, "manifest-unreadable", "It is cut off."), new(orphan, "web", "master-missing", "Its master is not in the library.")],
        });

        Assert.Equal(LibraryCommand.HasLeftOut, code);
        Assert.Contains($"manifest-unreadable  {unreadable} (its name cannot be read): It is cut off.", said, StringComparison.Ordinal);
        Assert.Contains($"master-missing       {orphan} 'web': Its master is not in the library.", said, StringComparison.Ordinal);
        Assert.Contains("1 were left out", said, StringComparison.Ordinal);
    }

    private static async Task IsNotTold(params object[] answers)
    {
        var (code, said) = await Run(dryRun: false, answers);

        Assert.Equal(GatewayOptions.NotAsked, code);
        Assert.Contains("Another rebuild was started", said, StringComparison.Ordinal);
        Assert.DoesNotContain("got records", said, StringComparison.Ordinal);
    }

    /// <param name="answers">The answers of a gateway, in order. A value that is not a rebuild is sent as a conflict.</param>
    private static async Task<(int Code, string Said)> Run(bool dryRun, params object[] answers)
    {
        var url = $"http://127.0.0.1:{Ports.Free()}/";
        using var listener = new HttpListener { Prefixes = { url } };
        listener.Start();
        var answering = Answer(listener, answers);
        await using var said = new StringWriter();
        var code = await LibraryCommand.Rebuild(new(url), "local", dryRun, json: false, said, said, TestContext.Current.CancellationToken);
        await answering;
        return (code, said.ToString());
    }

    private static async Task Answer(HttpListener listener, object[] answers)
    {
        foreach (var answer in answers)
        {
            var context = await listener.GetContextAsync();
            context.Response.StatusCode = answer is LibraryRebuild ? (int)HttpStatusCode.OK : (int)HttpStatusCode.Conflict;
            context.Response.ContentType = "application/json";
            await context.Response.OutputStream.WriteAsync(JsonSerializer.SerializeToUtf8Bytes(answer, InstancesJson.Options));
            context.Response.Close();
        }
    }
}
