using Instances.Appliances;
using Instances.Faults;
using Instances.Library;
using Instances.Operations;
using Instances.Requests;
using Instances.Testing;
using Instances.VirtualMachines;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;
using Microsoft.Extensions.Time.Testing;
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

    /// <summary>Ends the lease, as after the death of the gateway.</summary>
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

    /// <summary>Its gateway died before the answer was recorded, and another client deleted the appliance.</summary>
    [Fact]
    public async Task Appliance_CreatedWithAKeyAndDeleted_IsNotCreatedByARepeat()
    {
        var id = new ApplianceId(Derived());
        await Create();
        Assert.Equal("shop", (await Create()).Name);
        await Cluster.Grains.Appliance(id).Delete();

        await AssertDeleted("appliance-deleted", Create);
        await Cluster.Crash();
        await AssertDeleted("appliance-deleted", Create);
        Assert.Equal("appliance-not-found", (await Assert.ThrowsAsync<FaultException>(Cluster.Grains.Appliance(id).Get)).Fault.Code);

        Task<ApplianceView> Create() => Cluster.Grains.Appliance(id).Create(new("shop"));
    }

    [Fact]
    public async Task Machine_CreatedWithAKeyAndDeleted_IsNotCreatedByARepeat()
    {
        var scene = await Scene.Undeployed(Cluster, machines: 0);
        var id = new VirtualMachineId(Derived());
        await Add();
        await Add();
        await scene.Appliance.RemoveVirtualMachine(id);

        await AssertDeleted("virtual-machine-deleted", Add);
        Assert.Empty((await scene.Appliance.Get()).VirtualMachines);

        Task Add() => scene.Appliance.AddVirtualMachine(id, new("web", scene.Master.Id));
    }

    [Fact]
    public async Task Prune_WithARecordThatFails_ForgetsTheOthers()
    {
        // Records of other tests.
        await Pruning().Prune(TestContext.Current.CancellationToken);
        var ids = await Answered(count: 3);
        Cluster.FailNext["Expire"] = FaultException.Unavailable("told-to-fail", "The record was told to fail.");

        await Pruning().Prune(TestContext.Current.CancellationToken);
        Assert.Single(await Left(ids));
        await Pruning().Prune(TestContext.Current.CancellationToken);

        Assert.Empty(await Left(ids));
    }

    [Fact]
    public async Task Prune_WhoseOldestRecordIsInUse_ForgetsAllOthers()
    {
        await Pruning().Prune(TestContext.Current.CancellationToken);
        await Record.Begin("a", _first, isUpload: true);
        var ids = await Answered(count: 501);

        await Pruning().Prune(TestContext.Current.CancellationToken);

        Assert.Equal([_id], await Left([_id, .. ids]));
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

    /// <summary>An id as a gateway derives it from a key.</summary>
    private static Guid Derived() => Guid.Parse(Guid.NewGuid().ToString().Remove(14, 1).Insert(14, "8"));

    private static async Task AssertDeleted(string code, Func<Task> create) =>
        Assert.Equal((FaultKind.Conflict, code), (await Assert.ThrowsAsync<FaultException>(create)) is { Fault: var fault } ? (fault.Kind, fault.Code) : default);

    private async Task<List<RequestId>> Answered(int count)
    {
        var ids = Enumerable.Range(0, count).Select(_ => RequestId.New()).ToList();
        await Task.WhenAll(ids.Select(id => Cluster.Grains.Request(id).Answer(_first, "a", Made)));
        return ids;
    }

    private async Task<IEnumerable<RequestId>> Left(IReadOnlyList<RequestId> ids) =>
        ids.Intersect(await Cluster.Catalogue.RequestsBefore(TimeProvider.System.GetUtcNow().AddDays(1), 10_000));

    /// <summary>When all records are old.</summary>
    private RequestPruning Pruning() => new(
        Cluster.Catalogue, Cluster.Grains, Options.Create(new RequestOptions()), new FakeTimeProvider(TimeProvider.System.GetUtcNow().AddDays(8)), NullLogger<RequestPruning>.Instance);

    private async Task AssertAnswered()
    {
        var turn = await Record.Begin("a", _second, isUpload: false);
        Assert.Equal((RequestTurnKind.Answered, 201, "/one"), (turn.Kind, turn.Answer!.Status, turn.Answer.Headers["Location"]));
        Assert.Equal(RequestTurnKind.Reused, (await Record.Begin("b", _second, isUpload: false)).Kind);
    }
}
