using Instances.Appliances;
using Instances.Faults;
using Instances.Operations;
using Xunit;

namespace Instances.Grains.Tests.Operations;

public sealed class OperationTests(ClusterFixture fixture) : ClusterTest(fixture)
{
    private static readonly string[] Steps = ["one", "two"];

    [Fact]
    public async Task Find_OfAnUnknownOperation_IsNull() => Assert.Null(await Cluster.Grains.Operation(OperationId.New()).Find());

    [Fact]
    public async Task WatchAndCancel_OfAnUnknownOperation_AreRefused()
    {
        var record = Cluster.Grains.Operation(OperationId.New());

        Assert.Equal("operation-not-found", (await Assert.ThrowsAsync<FaultException>(record.Cancel)).Fault.Code);
        Assert.Equal("operation-not-found", (await Assert.ThrowsAsync<FaultException>(() => Read(record, after: 0, count: 1))).Fault.Code);
    }

    [Fact]
    public async Task Begin_Repeated_KeepsWhatWasRecordedFirst()
    {
        var (record, start) = Record();

        var first = await record.Begin(start);
        var again = await record.Begin(start with { Kind = OperationKind.Undeploy, Steps = [] });

        Assert.Equal((OperationKind.Deploy, first.Version), (again.Kind, again.Version));
        Assert.Equal(Steps, again.Steps.Select(step => step.Name));
    }

    [Fact]
    public async Task Watch_OfAnOperation_GivesGrowingVersionsAndEndsWithIt()
    {
        var (record, start) = Record();
        await record.Begin(start);
        var watch = Read(record, after: 0, count: int.MaxValue);
        for (var report = 0; report < 5; report++) await record.Report(Progress(report));

        await record.Finish(Outcome(OperationStatus.Succeeded));

        var views = await watch;
        Assert.Equal(views.Select(view => view.Version).Order().Distinct(), views.Select(view => view.Version));
        Assert.Equal(OperationStatus.Succeeded, views[^1].Status);
        Assert.Single(views, view => view.IsFinished);
    }

    [Fact]
    public async Task Watch_FromAVersion_GivesOnlyWhatIsNewer()
    {
        var (record, start) = Record();
        var begun = await record.Begin(start);
        await record.Report(Progress(1));

        var next = Assert.Single(await Read(record, begun.Version, count: 1));
        Assert.True(next.Version > begun.Version);
        await record.Finish(Outcome(OperationStatus.Failed));

        Assert.Equal(OperationStatus.Failed, Assert.Single(await Read(record, next.Version, int.MaxValue)).Status);
        var end = (await record.Find())!.Version;
        Assert.Empty(await Read(record, end, int.MaxValue));
    }

    [Fact]
    public async Task Finish_RepeatedOrFollowedByReports_KeepsTheFirstEnd()
    {
        var (record, start) = Record();
        await record.Begin(start);
        await record.Finish(Outcome(OperationStatus.Succeeded));
        var end = (await record.Find())!.Version;

        await record.Finish(Outcome(OperationStatus.Failed));
        await record.Report(Progress(3));

        var view = (await record.Find())!;
        Assert.Equal((OperationStatus.Succeeded, end), (view.Status, view.Version));
    }

    [Fact]
    public async Task Version_OverACrash_Grows()
    {
        var (record, start) = Record();
        await record.Begin(start);
        for (var report = 0; report < 3; report++) await record.Report(Progress(report));
        var before = (await record.Find())!;

        await Cluster.Crash();

        var after = (await Cluster.Grains.Operation(before.Id).Find())!;
        Assert.True(after.Version > before.Version, $"{after.Version} after {before.Version}");
        Assert.Equal(OperationStatus.Running, after.Status);
        await Cluster.Grains.Operation(before.Id).Finish(Outcome(OperationStatus.Succeeded));
        var end = (await Cluster.Grains.Operation(before.Id).Find())!;
        Assert.True(end.Version > after.Version);

        await Cluster.Crash();

        var kept = (await Cluster.Grains.Operation(before.Id).Find())!;
        Assert.Equal((OperationStatus.Succeeded, end.FinishedAt), (kept.Status, kept.FinishedAt));
        Assert.Equal(end.Version, kept.Version);
    }

    [Fact]
    public async Task Watch_FromAVersionOfASiloWhoseClockWasAhead_GivesTheEndAndItsVersionOnlyOnce()
    {
        var (record, start) = Record();
        await record.Begin(start);
        var ahead = (await record.Find())!.Version + 10_000;
        var watch = Read(record, ahead, count: int.MaxValue);

        await record.Finish(Outcome(OperationStatus.Succeeded));

        Assert.Equal(OperationStatus.Succeeded, (await watch)[^1].Status);
        var end = Assert.Single(await Read(record, ahead, int.MaxValue));
        Assert.True(end.IsFinished);
        Assert.Empty(await Read(record, end.Version, int.MaxValue));
    }

    [Fact]
    public async Task Finish_AfterTheClockWasSetBack_IsNotBeforeTheStart()
    {
        var (record, start) = Record();
        await record.Begin(start);

        await record.Finish(Outcome(OperationStatus.Succeeded) with { FinishedAt = start.StartedAt.AddHours(-1) });

        Assert.Equal(start.StartedAt, (await record.Find())!.FinishedAt);
    }

    [Fact]
    public async Task Report_OfARealOperation_ShowsItsStepsInOrder()
    {
        var scene = await Scene.Deployed(Cluster);
        Cluster.Probe.HoldBefore = "seal";
        var begun = await scene.Appliance.CreateInstance(OperationId.New(), new());
        await Cluster.Probe.Arrived;
        await Testing.Eventually.Holds(async () => (await Cluster.Grains.Operation(begun.Id).Find())!.Step == "seal", "the held step is shown");

        var view = (await Cluster.Grains.Operation(begun.Id).Find())!;
        Assert.Equal(
            [StepStatus.Done, StepStatus.Done, StepStatus.Done, StepStatus.Running, StepStatus.Waiting],
            view.Steps.Take(5).Select(step => step.Status));
        Assert.True(view.Cancellable);
        Assert.Equal(["vm0", "vm1", "vm2"], view.VirtualMachines.Select(machine => machine.Name));
        Cluster.Probe.Release();
        var end = await Cluster.End(begun);
        Assert.All(end.Steps, step => Assert.True(step.FinishedAt >= step.StartedAt));
        Assert.False(end.Cancellable);
        Assert.Null(end.Step);
    }

    [Fact]
    public async Task Nudge_OfAnOperationWhoseFinishWasLost_TellsItsEnd()
    {
        var scene = await Scene.Undeployed(Cluster, machines: 1);
        var operation = await scene.Appliance.Deploy(OperationId.New());
        await Testing.Eventually.Holds(async () => (await scene.Appliance.Get()).Status is ApplianceStatus.Deployed, "it is deployed");

        // A watch activates the record, which asks the appliance if the operation has not ended in the record.
        await Cluster.Crash();

        Assert.Equal(OperationStatus.Succeeded, (await Cluster.End(operation)).Status);
    }

    [Fact]
    public async Task Operations_OfAnAppliance_AreListed()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        await scene.CreateInstance(new());

        var listed = (await Cluster.Catalogue.Operations(new(scene.Id), new())).Items;

        Assert.Equal([OperationKind.CreateInstance, OperationKind.Deploy], listed.Select(operation => operation.Kind));
        Assert.All(listed, operation => Assert.Equal(OperationStatus.Succeeded, operation.Status));
        Assert.Equal(new CreateInstanceCommand(), listed[0].Command);
    }

    private (IOperationGrain Record, OperationStart Start) Record() => (
        Cluster.Grains.Operation(OperationId.New()),
        new(OperationKind.Deploy, ApplianceId.New(), Image: null, Steps, VirtualMachines: [], TimeProvider.System.GetUtcNow()));

    private static OperationProgress Progress(int done) =>
        new(OperationStatus.Running, [.. Steps.Index().Select(step => new StepView(step.Item, step.Index < done ? StepStatus.Done : StepStatus.Waiting))], [], Cancellable: true);

    private static OperationOutcome Outcome(OperationStatus status) => new(status, Progress(2), TimeProvider.System.GetUtcNow(), Fault: null, Result: null);

    private static async Task<List<OperationView>> Read(IOperationGrain record, long after, int count)
    {
        var views = new List<OperationView>();
        using var bound = new CancellationTokenSource(Testing.Bounds.Wait);
        await foreach (var view in record.Watch(after, bound.Token))
        {
            views.Add(view);
            if (views.Count == count) break;
        }

        return views;
    }
}
