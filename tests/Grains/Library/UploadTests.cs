using Instances.Faults;
using Instances.Library;
using Instances.Operations;
using Instances.Testing;
using Orleans.Runtime;
using Xunit;

namespace Instances.Grains.Tests.Library;

/// <summary>Uploads in parts and imports from a path, with the test acting as the library's silo.</summary>
public sealed class UploadTests(ClusterFixture fixture) : ClusterTest(fixture)
{
    private const long Length = 1000;

    private readonly ImageId _id = ImageId.New();
    private readonly OperationId _operation = OperationId.New();

    private IImageGrain Image => Cluster.Grains.Image(_id);

    private IOperationGrain Record => Cluster.Grains.Operation(_operation);

    [Fact]
    public async Task Upload_OverACrash_IsPinnedAndGoesOnWhereItWas()
    {
        await Begin();
        var plan = await Part(received: 400);

        await Cluster.Crash();
        await Cluster.Grains.Library().Sweep();

        Assert.Equal((400, Length), ((await Image.GetUpload()).Offset, (await Image.GetUpload()).Length));
        Assert.Equal(plan, await Part(received: Length));
        await Image.CompleteUpload(_operation);
        Assert.Equal("upload-mismatch", (await Assert.ThrowsAsync<FaultException>(Image.ContinueUpload)).Fault.Code);
    }

    [Fact]
    public async Task Ticket_OfAPart_IsGoodOnceAndAnotherDoesNotSpoilIt()
    {
        await Begin();
        var (first, second) = (await Image.ContinueUpload(), await Image.ContinueUpload());

        await Image.AcceptPart(first.Secret);
        await Image.AcceptPart(second.Secret);

        foreach (var used in new[] { first.Secret, second.Secret, "" })
            Assert.Equal("ticket-invalid", (await Assert.ThrowsAsync<FaultException>(() => Image.AcceptPart(used))).Fault.Code);
    }

    [Fact]
    public async Task BeginUpload_Repeated_IsTheSameAndAnotherIsRefused()
    {
        await Begin();
        await Begin();

        Assert.Equal("image-exists", (await Assert.ThrowsAsync<FaultException>(() => Image.BeginUpload(_operation, new("other", ImageFormat.Raw, Length)))).Fault.Code);
        Assert.Equal("upload-length-missing", (await Assert.ThrowsAsync<FaultException>(() => Image.BeginUpload(_operation, new("debian", ImageFormat.Raw)))).Fault.Code);
    }

    [Fact]
    public async Task Reminder_OfAnUploadThatNobodyGoesOnWith_EndsItAfterItsOwnBound()
    {
        await Begin();
        await Part(received: 400);
        Cluster.Library.UploadIdleBound = TimeSpan.Zero;
        await Remind();
        Assert.Equal(ImageStatus.Importing, (await Image.Get()).Status);

        Cluster.Library.UploadResumeBound = TimeSpan.Zero;
        await Remind();

        Assert.Equal((OperationStatus.Failed, "upload-timed-out"), ((await Record.Find())!.Status, (await Record.Find())!.Fault?.Code));
        Assert.Equal("upload-not-found", (await Assert.ThrowsAsync<FaultException>(Image.GetUpload)).Fault.Code);
    }

    [Theory, InlineData(true), InlineData(false)]
    public async Task Reminder_OfAWholeUploadThatNobodyWorksOn_TakesItUpOrEndsIt(bool hasBytes)
    {
        await Begin();
        var plan = await Part(received: Length);
        (Cluster.Library.UploadIdleBound, Cluster.Imports.HasBytes) = (TimeSpan.Zero, hasBytes);

        await Remind();

        Assert.Equal(hasBytes, Cluster.Imports.TakenUp.Contains(plan));
        Assert.Equal(hasBytes ? null : "import-interrupted", (await Record.Find())!.Fault?.Code);
    }

    [Theory, InlineData(true), InlineData(false)]
    public async Task GetUpload_OfAWholeUploadThatNobodyWorksOn_TakesItUpOrEndsIt(bool hasBytes)
    {
        await Begin();
        var plan = await Part(received: Length);
        await Image.CompleteUpload(_operation);
        Cluster.Imports.HasBytes = hasBytes;
        await Cluster.Crash();

        if (hasBytes) Assert.Equal(Length, (await Image.GetUpload()).Offset);
        else Assert.Equal("upload-not-found", (await Assert.ThrowsAsync<FaultException>(Image.GetUpload)).Fault.Code);

        Assert.Equal(hasBytes, Cluster.Imports.TakenUp.Contains(plan));
        Assert.Equal(hasBytes ? null : "import-interrupted", (await Record.Find())!.Fault?.Code);
    }

    [Theory, InlineData(true), InlineData(false)]
    public async Task Begin_RepeatedAfterTheEnd_IsTheSameAndAnotherIsRefused(bool isPath)
    {
        var path = $"/srv/{_id}";
        Cluster.Imports.Files[path] = Length;
        Task Repeat(OperationId operation) => isPath ? Image.BeginImportFromPath(operation, new("debian", ImageFormat.Raw), path) : Image.BeginUpload(operation, new("debian", ImageFormat.Raw, Length));
        await Repeat(_operation);
        await Image.FailImport(_operation, new(FaultKind.Invalid, "image-corrupt", "It is."));

        await Repeat(_operation);

        Assert.Equal("image-corrupt", (await Record.Find())!.Fault?.Code);
        Assert.Equal("image-exists", (await Assert.ThrowsAsync<FaultException>(() => Repeat(OperationId.New()))).Fault.Code);
    }

    [Fact]
    public async Task Admission_OfMoreThanTheBound_IsRefusedAndLeavesNothing()
    {
        await Begin();
        Cluster.Imports.UnderWay = [_id];
        Cluster.Library.MaxUploads = 1;
        var (other, operation) = (Cluster.Grains.Image(ImageId.New()), OperationId.New());

        var refused = await Assert.ThrowsAsync<FaultException>(() => other.BeginUpload(operation, new("other", ImageFormat.Raw, Length)));

        Assert.Equal((FaultKind.Unavailable, "too-many-uploads"), (refused.Fault.Kind, refused.Fault.Code));
        Assert.Null(await Cluster.Grains.Operation(operation).Find());
    }

    /// <summary>The file is still there.</summary>
    [Fact]
    public async Task FromPath_WhoseSiloEnded_IsTakenAgainByTheNextOne()
    {
        var path = $"/srv/{_id}";
        Cluster.Imports.Files[path] = Length;
        await Image.BeginImportFromPath(_operation, new("debian", ImageFormat.Raw), path);

        await Cluster.Crash();
        await Cluster.Grains.Library().Get();

        await Eventually.Holds(() => Task.FromResult(Cluster.Imports.TakenFiles.Count(taken => taken.Path == path) == 2), "the file is taken again");
        Assert.Equal(ImageStatus.Importing, (await Image.Get()).Status);
    }

    [Fact]
    public async Task Admission_OfMoreWaitingUploadsThanTheBound_SaysSo()
    {
        const int bound = 64;
        Cluster.Library.MaxUploads = 1;
        var open = (await Cluster.Catalogue.ImagesIn(ImageStatus.Importing)).Count;
        for (; open < bound; open++) await BeginOne();

        var refused = await Assert.ThrowsAsync<FaultException>(BeginOne);

        Assert.Equal((FaultKind.Unavailable, "too-many-uploads"), (refused.Fault.Kind, refused.Fault.Code));
        Assert.Contains("64 uploads have begun and have not ended", refused.Message, StringComparison.Ordinal);

        Task BeginOne() => Cluster.Grains.Image(ImageId.New()).BeginUpload(OperationId.New(), new("other", ImageFormat.Raw, Length));
    }

    [Fact]
    public async Task FromPath_FileThatIsThere_IsTakenWithItsLength()
    {
        var path = $"/srv/{_id}";
        Cluster.Imports.Files[path] = 77;

        await Image.BeginImportFromPath(_operation, new("debian", ImageFormat.Raw), path);

        Assert.Contains(Cluster.Imports.TakenFiles, taken => taken.Path == path && taken.Plan.Command.Bytes == 77);
        Assert.Equal("path-not-allowed", (await Assert.ThrowsAsync<FaultException>(
            () => Cluster.Grains.Image(ImageId.New()).BeginImportFromPath(OperationId.New(), new("debian", ImageFormat.Raw), "/etc/passwd"))).Fault.Code);
    }

    /// <summary>The library has 1000 bytes left.</summary>
    [Theory, InlineData(1000, null), InlineData(1001, "no-space")]
    public async Task FromPath_FileWithHoles_NeedsRoomForItsDataOnly(long dataBytes, string? code)
    {
        var path = $"/srv/{_id}";
        Cluster.Imports.Files[path] = 1L << 40;
        Cluster.Imports.DataBytes[path] = dataBytes;
        var free = Cluster.Layers.FreeBytes;
        Cluster.Layers.FreeBytes = 1000;

        var outcome = await Xunit.Record.ExceptionAsync(() => Image.BeginImportFromPath(_operation, new("debian", ImageFormat.Raw), path));

        Cluster.Layers.FreeBytes = free;
        Assert.Equal(code, (outcome as FaultException)?.Fault.Code);
        Assert.Equal(code is null, Cluster.Imports.TakenFiles.Any(taken => taken.Path == path && taken.Plan.Command.Bytes == 1L << 40));
    }

    private Task Begin() => Image.BeginUpload(_operation, new("debian", ImageFormat.Raw, Length));

    private async Task<UploadPlan> Part(long received)
    {
        var plan = await Image.AcceptPart((await Image.ContinueUpload()).Secret);
        Cluster.Layers.Received[plan.Layer] = received;
        return plan;
    }

    /// <summary>As the reminder does, without its period.</summary>
    private Task Remind() => Image.AsReference<IRemindable>().ReceiveReminder("import", default);
}
