using Instances.Faults;
using Instances.Library;
using Instances.Operations;
using Instances.Testing;
using Orleans.Runtime;
using Xunit;

namespace Instances.Grains.Tests.Library;

/// <summary>The import of an image, with the test acting as the data plane.</summary>
public sealed class ImportTests(ClusterFixture fixture) : ClusterTest(fixture)
{
    private readonly ImageId _id = ImageId.New();
    private readonly OperationId _operation = OperationId.New();

    private IImageGrain Image => Cluster.Grains.Image(_id);

    private IOperationGrain Record => Cluster.Grains.Operation(_operation);

    [Fact]
    public async Task Import_WhenAllGoesWell_MakesAMasterThatCanBeDeployed()
    {
        var ticket = await Begin();
        Assert.EndsWith(_id.ToString(), ticket.Address.AbsolutePath, StringComparison.Ordinal);
        Assert.Equal(ImageStatus.Importing, (await Image.Get()).Status);
        var plan = await Image.AcceptUpload(ticket.Secret);
        Assert.Equal((_operation, "debian"), (plan.Operation, plan.Command.Name));
        foreach (var stage in Enum.GetValues<ImportStage>()) Assert.True(await Image.ReportImport(_operation, stage, bytes: 10));

        var image = await Complete(plan);
        await Complete(plan);

        Assert.Equal((ImageKind.Master, ImageStatus.Ready, "debian", 1000), (image.Kind, image.Status, image.Name, image.Bytes));
        await AssertEnded(OperationStatus.Succeeded, code: null);
        Assert.All((await Record.Find())!.Steps, step => Assert.Equal(StepStatus.Done, step.Status));
        await Cluster.Grains.Library().Sweep();
        Assert.True(Cluster.Layers.Contains(plan.Layer));
        var appliance = await Cluster.AddAppliance(1, _id);
        Assert.Equal(OperationStatus.Succeeded, (await Cluster.Deploy(appliance)).Status);
    }

    [Fact]
    public async Task AcceptUpload_WithAWrongTicket_IsForbiddenAndTheRightOneIsStillGood()
    {
        var ticket = await Begin();

        foreach (var wrong in (string[])["", "x", new('0', 64), ticket.Secret[1..], ticket.Secret + "0"]) await AssertForbidden(wrong);

        Assert.Equal(_operation, (await Image.AcceptUpload(ticket.Secret)).Operation);
    }

    [Fact]
    public async Task AcceptUpload_Twice_IsForbidden()
    {
        var ticket = await Begin();
        await Image.AcceptUpload(ticket.Secret);

        await AssertForbidden(ticket.Secret);
    }

    [Fact]
    public async Task BeginImport_RepeatedBeforeTheUpload_GivesANewTicketAndTheOldOneIsNoMoreGood()
    {
        var first = await Begin();

        var second = await Begin();

        await AssertForbidden(first.Secret);
        await Image.AcceptUpload(second.Secret);
        Assert.Equal("image-exists", (await Assert.ThrowsAsync<FaultException>(Begin)).Fault.Code);
    }

    [Fact]
    public async Task BeginImport_ByAnotherOperation_IsRefused()
    {
        await Begin();

        var refused = await Assert.ThrowsAsync<FaultException>(() => Image.BeginImport(OperationId.New(), new("debian", ImageFormat.Qcow2)));

        Assert.Equal((FaultKind.Conflict, "image-exists"), (refused.Fault.Kind, refused.Fault.Code));
        Assert.Contains("Importing", refused.Fault.Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData("", null, null, "name-invalid")]
    [InlineData("a\nb", null, null, "name-invalid")]
    [InlineData("a", 0L, null, "image-empty")]
    [InlineData("a", long.MaxValue, null, "image-too-large")]
    [InlineData("a", 2_000L, null, "no-space")]
    [InlineData("a", null, "abc", "digest-invalid")]
    public async Task BeginImport_OfWhatCannotBe_IsRefusedAndLeavesNothing(string name, long? bytes, string? sha256, string code)
    {
        Cluster.Layers.FreeBytes = 1_000;
        try
        {
            var refused = await Assert.ThrowsAsync<FaultException>(() => Image.BeginImport(_operation, new(name, ImageFormat.Raw, bytes, sha256)));

            Assert.Equal(code, refused.Fault.Code);
        }
        finally
        {
            Cluster.Layers.FreeBytes = 1L << 40;
        }

        Assert.Null(await Record.Find());
        Assert.Equal("image-not-found", (await Assert.ThrowsAsync<FaultException>(Image.Get)).Fault.Code);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task FailImport_AtAnyTime_LeavesAFailedImageThatCanBeDeleted(bool withUpload)
    {
        var ticket = await Begin();
        if (withUpload) Receive(await Image.AcceptUpload(ticket.Secret));

        await Image.FailImport(_operation, new(FaultKind.Invalid, "not-an-image", "It is none."));
        await Image.FailImport(_operation, new(FaultKind.Invalid, "other", "Other."));

        await AssertEnded(OperationStatus.Failed, "not-an-image");
        var image = await Image.Get();
        Assert.Equal((ImageStatus.Failed, "It is none."), (image.Status, image.Failure));
        await AssertForbidden(ticket.Secret);
        Assert.False(await Image.ReportImport(_operation, ImportStage.Checking, bytes: 1));
        await AssertNothingLeft();
        await Image.Delete();
        Assert.Equal("image-not-found", (await Assert.ThrowsAsync<FaultException>(Image.Get)).Fault.Code);
    }

    [Fact]
    public async Task Cancel_OfAnImport_StopsTheDataPlaneAndLeavesNothing()
    {
        var ticket = await Begin();
        Receive(await Image.AcceptUpload(ticket.Secret));

        var view = await Record.Cancel();

        Assert.Equal(OperationStatus.Cancelled, view.Status);
        Assert.False(await Image.ReportImport(_operation, ImportStage.Receiving, bytes: 1));
        await Image.CompleteImport(_operation, Manifest(LayerId.New()));
        Assert.Equal(ImageStatus.Failed, (await Image.Get()).Status);
        await AssertEnded(OperationStatus.Cancelled, "operation-cancelled");
        await AssertNothingLeft();
    }

    [Fact]
    public async Task Cancel_OfAnImportThatHasFinished_IsRefused()
    {
        await Complete(await Image.AcceptUpload((await Begin()).Secret));

        Assert.Equal("operation-finished", (await Assert.ThrowsAsync<FaultException>(Record.Cancel)).Fault.Code);
        Assert.Equal(ImageStatus.Ready, (await Image.Get()).Status);
    }

    [Fact]
    public async Task Reminder_OfAnImportWithoutASignWithinTheBound_FailsItAndLeavesNothing()
    {
        Receive(await Image.AcceptUpload((await Begin()).Secret));
        await Remind();
        Assert.Equal(ImageStatus.Importing, (await Image.Get()).Status);

        Cluster.Library.UploadIdleBound = TimeSpan.Zero;
        await Remind();

        Assert.Equal(ImageStatus.Failed, (await Image.Get()).Status);
        await AssertEnded(OperationStatus.Failed, "import-interrupted");
        await AssertNothingLeft();
    }

    [Fact]
    public async Task Import_OverACrash_FailsWhenNoBytesCome()
    {
        var ticket = await Begin();
        await Cluster.Crash();
        Assert.Equal(ImageStatus.Importing, (await Image.Get()).Status);
        Assert.Equal(OperationStatus.Running, (await Record.Find())!.Status);

        Cluster.Library.UploadIdleBound = TimeSpan.Zero;
        await Remind();

        await AssertEnded(OperationStatus.Failed, "import-interrupted");
        await AssertForbidden(ticket.Secret);
        await AssertNothingLeft();
    }

    [Fact]
    public async Task Import_OverACrashWithTheTicket_GoesOn()
    {
        var ticket = await Begin();
        await Cluster.Crash();

        var image = await Complete(await Image.AcceptUpload(ticket.Secret));

        Assert.Equal(ImageStatus.Ready, image.Status);
        await AssertEnded(OperationStatus.Succeeded, code: null);
    }

    /// <summary>The clock stands still: no reminder ends it.</summary>
    [Theory, InlineData(false), InlineData(true)]
    public async Task Import_WhoseSiloEnded_EndsWhenTheNextOneStarts(bool isMade)
    {
        var plan = await Image.AcceptUpload((await Begin()).Secret);
        Receive(plan);
        if (isMade) await Cluster.Layers.WriteManifest(Manifest(plan.Layer) with { Import = new(_operation, TimeProvider.System.GetUtcNow(), ImageFormat.Qcow2, new('0', 64), 1000, null) });

        await Cluster.Crash();
        await Cluster.Grains.Library().Get();

        await Eventually.Holds(async () => (await Image.Get()).Status == (isMade ? ImageStatus.Ready : ImageStatus.Failed), "the import ends");
        await AssertEnded(isMade ? OperationStatus.Succeeded : OperationStatus.Failed, isMade ? null : "import-interrupted");
    }

    /// <summary>The sender was told that the bytes are taken.</summary>
    [Theory, InlineData(true), InlineData(false)]
    public async Task Import_WhoseBytesAreDurable_IsTakenUpByTheNextSilo(bool hasBytes)
    {
        var plan = await Image.AcceptUpload((await Begin()).Secret);
        await Image.CompleteUpload(_operation);
        Assert.True(await Image.Supersede(_operation));
        Cluster.Imports.HasBytes = hasBytes;

        await Cluster.Crash();
        await Cluster.Grains.Library().Get();

        if (hasBytes) await Eventually.Holds(() => Task.FromResult(Cluster.Imports.TakenUp.Contains(plan)), "the import is taken up");
        else await Eventually.Holds(async () => (await Record.Find())!.Fault?.Code == "import-interrupted", "the import ends");
    }

    [Theory, InlineData(false), InlineData(true)]
    public async Task ResumeImport_WithASenderThatIsThereOrMayCome_LeavesIt(bool isThere)
    {
        var ticket = await Begin();
        if (isThere)
        {
            await Image.AcceptUpload(ticket.Secret);
            Cluster.Imports.UnderWay = [_id];
        }

        await Image.ResumeImport();

        Assert.Equal(ImageStatus.Importing, (await Image.Get()).Status);
    }

    private Task<UploadTicket> Begin() => Image.BeginImport(_operation, new("debian", ImageFormat.Qcow2));

    /// <summary>As the reminder does, without its period.</summary>
    private Task Remind() => Image.AsReference<IRemindable>().ReceiveReminder("import", default);

    private void Receive(UploadPlan plan) => Cluster.Layers.Layers[plan.Layer] = false;

    private async Task<ImageView> Complete(UploadPlan plan)
    {
        Receive(plan);
        var manifest = Manifest(plan.Layer);
        await Cluster.Layers.WriteManifest(manifest);
        return await Image.CompleteImport(_operation, manifest);
    }

    private ImageManifest Manifest(LayerId layer) => new(
        _id, "debian", ImageKind.Master, Master: null, Parent: null, [new([new(layer, Parent: null, Bytes: 1000, _id)], 1L << 30)], TimeProvider.System.GetUtcNow());

    private async Task AssertForbidden(string secret)
    {
        var refused = await Assert.ThrowsAsync<FaultException>(() => Image.AcceptUpload(secret));
        Assert.Equal((FaultKind.Forbidden, "ticket-invalid"), (refused.Fault.Kind, refused.Fault.Code));
    }

    private async Task AssertEnded(OperationStatus status, string? code)
    {
        var view = (await Record.Find())!;
        Assert.Equal((status, code), (view.Status, view.Fault?.Code));
        Assert.NotNull(view.FinishedAt);
    }

    private async Task AssertNothingLeft()
    {
        await Cluster.Grains.Library().Sweep();
        Assert.DoesNotContain(_id, Cluster.Layers.Manifests);
        Assert.Subset((await Cluster.Catalogue.ReferencedLayers()).ToHashSet(), Cluster.Layers.Layers.Keys.ToHashSet());
    }
}
