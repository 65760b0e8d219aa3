using Instances.Faults;
using Instances.Library;
using Instances.Operations;
using Instances.Requests;
using Instances.Testing;
using Xunit;

namespace Instances.Grains.Tests.Requests;

public sealed class RequestTests(ClusterFixture fixture) : ClusterTest(fixture)
{
    private static readonly RequestAnswer Made = new(201, new Dictionary<string, string> { ["Location"] = "/one" }, "{}");

    private readonly RequestId _id = RequestId.New();
    private readonly Guid _first = Guid.NewGuid();
    private readonly Guid _second = Guid.NewGuid();

    private IRequestGrain Record => Cluster.Grains.Request(_id);

    [Fact]
    public async Task Begin_WhileAnEqualRequestRuns_WaitsForItsAnswer()
    {
        Assert.Equal(RequestTurnKind.Run, (await Record.Begin("a", _first, isUpload: false)).Kind);
        Assert.Equal(RequestTurnKind.Run, (await Record.Begin("a", _first, isUpload: false)).Kind);
        Assert.Equal(RequestTurnKind.Wait, (await Record.Begin("a", _second, isUpload: false)).Kind);
        Assert.Equal(RequestTurnKind.Reused, (await Record.Begin("b", _second, isUpload: false)).Kind);

        await Record.Answer(_first, "a", Made);

        await AssertAnswered();
        await Cluster.Crash();
        await AssertAnswered();
    }

    [Fact]
    public async Task Begin_AfterAnAttemptWithoutAnAnswer_Runs()
    {
        await Record.Begin("a", _first, isUpload: false);
        await Record.Release(_first);

        Assert.Equal(RequestTurnKind.Run, (await Record.Begin("b", _second, isUpload: false)).Kind);
    }

    /// <summary>Its gateway is dead.</summary>
    [Fact]
    public async Task Begin_AfterAnAttemptThatShowsNoSignOfLife_TakesOver()
    {
        await Record.Begin("a", _first, isUpload: true);

        await Eventually.Holds(async () => await Record.Begin("a", _second, isUpload: true) is { Kind: RequestTurnKind.Run, Number: 2 }, "the second attempt takes over");
        Assert.False(await Record.Touch(_first));
        Assert.True(await Record.Touch(_second));
        Assert.Null(await Record.Answer(_first, "a", Made));
        Assert.Equal(201, (await Record.Answer(_second, "a", Made))!.Status);
    }

    [Fact]
    public async Task Answer_OfTwoThatRanBecauseASiloDied_IsTheFirstOne()
    {
        await Record.Begin("a", _first, isUpload: false);
        await Cluster.Crash();
        Assert.Equal(RequestTurnKind.Run, (await Record.Begin("a", _second, isUpload: false)).Kind);

        var first = await Record.Answer(_first, "a", Made);
        var second = await Record.Answer(_second, "a", Made with { Status = 409 });

        Assert.Equal((201, 201), (first!.Status, second!.Status));
    }

    [Fact]
    public async Task Attempts_OfAnUpload_AreCountedOverACrash()
    {
        Assert.Equal(1, (await Record.Begin("a", _first, isUpload: true)).Number);
        await Cluster.Crash();

        Assert.True(await Record.Touch(_first));
        Assert.Equal(RequestTurnKind.Wait, (await Record.Begin("a", _second, isUpload: true)).Kind);
        await Cluster.Crash();
        Assert.Equal(2, (await Record.Begin("a", _second, isUpload: true)).Number);
        Assert.False(await Record.Touch(_first));
    }

    [Fact]
    public async Task Record_ThatIsOld_IsFoundAndForgotten()
    {
        await Record.Answer(_first, "a", Made);
        var now = TimeProvider.System.GetUtcNow();
        Assert.DoesNotContain(_id, await Cluster.Catalogue.RequestsBefore(now.AddDays(-1), 1000));

        Assert.Contains(_id, await Cluster.Catalogue.RequestsBefore(now.AddDays(1), 1000));
        await Record.Expire(now.AddDays(-1));
        await AssertAnswered();
        await Record.Expire(now.AddDays(1));

        Assert.DoesNotContain(_id, await Cluster.Catalogue.RequestsBefore(now.AddDays(1), 1000));
        Assert.Equal(RequestTurnKind.Run, (await Record.Begin("b", _second, isUpload: false)).Kind);
    }

    [Fact]
    public async Task Supersede_OfAnImportThatWaitsForBytes_EndsIt()
    {
        var (image, operation) = (Cluster.Grains.Image(ImageId.New()), OperationId.New());
        Assert.False(await image.Supersede(operation));
        await image.BeginImport(operation, new("debian", ImageFormat.Raw));

        Assert.False(await image.Supersede(operation));
        Assert.False(await image.Supersede(operation));

        Assert.Equal(OperationStatus.Cancelled, (await Cluster.Grains.Operation(operation).Find())!.Status);
    }

    [Fact]
    public async Task Supersede_OfAnImportWhoseBytesHaveCome_LeavesItAlsoAfterItsImageWasDeleted()
    {
        var (id, operation) = (ImageId.New(), OperationId.New());
        var image = Cluster.Grains.Image(id);
        var plan = await image.AcceptUpload((await image.BeginImport(operation, new("debian", ImageFormat.Raw))).Secret);
        await image.ReportImport(operation, ImportStage.Checking, bytes: 10);
        Assert.True(await image.Supersede(operation));

        var at = TimeProvider.System.GetUtcNow();
        await image.CompleteImport(operation, new(
            id, "debian", ImageKind.Master, Master: null, Parent: null, [new([new(plan.Layer, Parent: null, Bytes: 1, id)], 1L << 20)], at, new ImportFacts(operation, at, ImageFormat.Raw, "5dfa", Bytes: 1)));
        Assert.True(await image.Supersede(operation));
        await image.Delete();

        await Eventually.Holds(async () => await Cluster.Catalogue.FindImage(id) is null, "the image is gone");
        Assert.True(await image.Supersede(operation));
    }

    [Fact]
    public async Task Import_NameWithSpacesAtItsEnds_IsTheSameInTheRecordAndTheManifest()
    {
        var image = Cluster.Grains.Image(ImageId.New());
        var plan = await image.AcceptUpload((await image.BeginImport(OperationId.New(), new(" debian ", ImageFormat.Raw))).Secret);

        Assert.Equal(("debian", "debian"), ((await image.Get()).Name, plan.Command.Name));
    }

    [Fact]
    public async Task Image_ThatIsImported_NamesItsOperationAlsoWhenItsDeletionIsRefused()
    {
        var (image, operation) = (Cluster.Grains.Image(ImageId.New()), OperationId.New());
        await image.BeginImport(operation, new("debian", ImageFormat.Raw));

        var refusal = (await Assert.ThrowsAsync<FaultException>(() => image.Delete())).Fault;

        Assert.Equal((operation, "image-importing"), ((await image.Get()).Operation!.Value, refusal.Code));
        Assert.Contains(operation.ToString(), refusal.Message, StringComparison.Ordinal);
    }

    private async Task AssertAnswered()
    {
        var turn = await Record.Begin("a", _second, isUpload: false);
        Assert.Equal((RequestTurnKind.Answered, 201, "/one"), (turn.Kind, turn.Answer!.Status, turn.Answer.Headers["Location"]));
        Assert.Equal(RequestTurnKind.Reused, (await Record.Begin("b", _second, isUpload: false)).Kind);
    }
}
