using Instances.Appliances;
using Instances.Enterprises;
using Instances.Faults;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Grains.Tests.Enterprises;

/// <summary>Admission by the quota of virtual size: it counts the sizes of disks, however little is written.</summary>
public sealed class VirtualSizeQuotaTests(ClusterFixture fixture) : ClusterTest(fixture)
{
    private const long GiB = 1L << 30;

    private readonly EnterpriseId _id = EnterpriseId.New();

    private IEnterpriseGrain Enterprise => Cluster.Grains.Enterprise(_id);

    [Fact]
    public async Task Import_OfARawDiskLargerThanTheQuota_IsRefusedBeforeItBegins()
    {
        await Create(10 * GiB);
        var (image, operation) = (Cluster.Grains.Image(ImageId.New()), OperationId.New());

        var refused = await Outcome(() => image.BeginUpload(operation, Command(ImageFormat.Raw, (10 * GiB) + 1)));

        Assert.Equal((FaultKind.Capacity, "quota-virtual-bytes"), (refused!.Kind, refused.Code));
        Assert.Null(await Cluster.Grains.Operation(operation).Find());
        Assert.Equal("image-not-found", (await Outcome(image.Get))?.Code);
        Assert.Equal(EnterpriseUsage.None, (await Enterprise.Get()).Usage);
        await Raise((10 * GiB) + 1);
        await image.BeginUpload(operation, Command(ImageFormat.Raw, (10 * GiB) + 1));
        Assert.Equal((10 * GiB) + 1, await Counted());
    }

    [Fact]
    public async Task Import_OfADiskLargerThanTheQuota_IsRefusedWhenItsSizeIsKnown()
    {
        await Create(10 * GiB);
        var (id, operation) = await Begin();
        Assert.Equal(0, await Counted());

        var refused = await Outcome(() => Accept(id, operation, (10 * GiB) + 512));
        await Cluster.Grains.Image(id).FailImport(operation, refused!);

        Assert.Equal((FaultKind.Capacity, "quota-virtual-bytes"), (refused!.Kind, refused.Code));
        var record = (await Cluster.Grains.Operation(operation).Find())!;
        Assert.Equal((OperationStatus.Failed, "quota-virtual-bytes"), (record.Status, record.Fault!.Code));
        Assert.Equal(EnterpriseUsage.None, (await Enterprise.Get()).Usage);
        Assert.False(await Accept(id, operation, GiB));

        await Raise((10 * GiB) + 512);
        (id, operation) = await Begin();
        Assert.True(await Accept(id, operation, (10 * GiB) + 512));
        Assert.True(await Accept(id, operation, (10 * GiB) + 512));
        Assert.Equal((10 * GiB) + 512, await Counted());
        Assert.Equal("quota-virtual-bytes", (await Outcome(Begin))?.Code);
        await Cluster.Grains.Image(id).CancelUpload();
        Assert.Equal(EnterpriseUsage.None, (await Enterprise.Get()).Usage);
    }

    [Theory]
    [InlineData(2, 1)]
    [InlineData(8, 5)]
    public async Task Imports_OfMoreThanFitAtOnce_ExactlyThoseThatFitAreTaken(int imports, int fit)
    {
        await Create((fit * 3 * GiB) + GiB);
        var images = await Task.WhenAll(Enumerable.Range(0, imports).Select(_ => Begin()));

        var outcomes = await Task.WhenAll(images.Select(image => Outcome(() => Accept(image.Image, image.Operation, 3 * GiB))));

        Assert.Equal(fit, outcomes.Count(outcome => outcome is null));
        Assert.All(outcomes.OfType<Fault>(), fault => Assert.Equal("quota-virtual-bytes", fault.Code));
        Assert.Equal(fit * 3 * GiB, await Counted());

        await Raise(imports * 3 * GiB);
        foreach (var (image, operation) in images) Assert.True(await Accept(image, operation, 3 * GiB));
    }

    /// <summary>Compressed bytes count as the disk's size until the upload was examined.</summary>
    [Fact]
    public async Task Import_OfARawDiskThatWasCompressed_CountsWhatCameOut()
    {
        await Create(5000);
        var (id, operation) = (ImageId.New(), OperationId.New());
        await Cluster.Grains.Image(id).BeginUpload(operation, Command(ImageFormat.Raw, 1000));
        Assert.Equal(1000, await Counted());

        Assert.Equal("quota-virtual-bytes", (await Outcome(() => Accept(id, operation, 5001)))?.Code);
        Assert.Equal(1000, await Counted());
        Assert.True(await Accept(id, operation, 5000));
        Assert.Equal(5000, await Counted());
        Assert.True(await Accept(id, operation, 512));
        Assert.Equal(512, await Counted());
    }

    /// <summary>Lowered quotas do not affect imports that have begun.</summary>
    [Fact]
    public async Task Import_ThatHasBegun_IsAskedForNothingThatItHas()
    {
        await Create(10 * GiB);
        var (id, operation) = await Begin();
        await Enterprise.Change(new("acme", new(Images: 0, Uploads: 0, LibraryBytes: 0, VirtualBytes: 10 * GiB)), ifVersion: null);

        Assert.True(await Accept(id, operation, 10 * GiB));

        Assert.Equal(new EnterpriseUsage(LibraryBytes: 1000, Images: 1, Uploads: 1, VirtualBytes: 10 * GiB), (await Enterprise.Get()).Usage);
    }

    [Fact]
    public async Task Import_WhoseDiskWasAccepted_CountsOnceOverACrash()
    {
        await Create(10 * GiB);
        var (id, operation) = await Begin();
        await Accept(id, operation, 10 * GiB);

        await Cluster.Crash();

        Assert.Equal(10 * GiB, await Counted());
        Assert.True(await Accept(id, operation, 10 * GiB));
        Assert.Equal(new EnterpriseUsage(LibraryBytes: 1000, Images: 1, Uploads: 1, VirtualBytes: 10 * GiB), (await Enterprise.Get()).Usage);
    }

    /// <summary>A lowered quota does not affect admitted imports. The part that was not admitted is checked before the image is Ready.</summary>
    [Theory]
    [InlineData(true, 1, null)]
    [InlineData(false, 10, null)]
    [InlineData(false, 9, "quota-virtual-bytes")]
    public async Task Import_ThatIsComplete_IsReadyWhereItsDiskWasOrCanBeLetIn(bool isAccepted, long quotaGiB, string? code)
    {
        await Create(10 * GiB);
        var (id, operation) = await Begin();
        if (isAccepted) await Accept(id, operation, 10 * GiB);
        await Raise(quotaGiB * GiB);
        var manifest = new ImageManifest(
            id, "debian", ImageKind.Master, Master: null, Parent: null, [new([new(LayerId.New(), Parent: null, 700, id)], 10 * GiB)], TimeProvider.System.GetUtcNow()) { Enterprise = _id };
        await Cluster.Layers.WriteManifest(manifest);

        var image = await Cluster.Grains.Image(id).CompleteImport(operation, manifest);

        var record = (await Cluster.Grains.Operation(operation).Find())!;
        Assert.Equal((code is null ? ImageStatus.Ready : ImageStatus.Failed, code), (image.Status, record.Fault?.Code));
        Assert.Equal(code is null, Cluster.Layers.Manifests.Contains(id));
        Assert.Equal(code is null ? new(LibraryBytes: 700, Images: 1, VirtualBytes: 10 * GiB) : EnterpriseUsage.None, (await Enterprise.Get()).Usage);
    }

    [Fact]
    public async Task Import_FromAPath_IsRefusedAsAnUploadIs()
    {
        await Create(GiB);
        Cluster.Imports.Files["/srv/large.raw"] = 2 * GiB;
        var image = Cluster.Grains.Image(ImageId.New());

        var refused = await Outcome(() => image.BeginImportFromPath(OperationId.New(), new("debian", ImageFormat.Raw, Enterprise: _id), "/srv/large.raw"));

        Assert.Equal("quota-virtual-bytes", refused?.Code);
        Assert.Equal("image-not-found", (await Outcome(image.Get))?.Code);
        Assert.DoesNotContain(Cluster.Imports.TakenFiles, taken => taken.Path == "/srv/large.raw");
    }

    [Fact]
    public async Task CreateInstance_OfDisksThatDoNotFit_IsRefusedUntilTheQuotaIsRaised()
    {
        // A master of 1 GiB, and two machines of 1 GiB and two data disks of 1 GiB each.
        await Create(6 * GiB);
        var appliance = await Cluster.AddAppliance(2, (await Cluster.AddMaster(enterprise: _id)).Id, dataDisks: 2, enterprise: _id);
        await Cluster.Deploy(appliance);
        var machine = (await Cluster.Machines(await appliance.Get()))[0];

        Assert.Equal("quota-virtual-bytes", (await Outcome(() => appliance.CreateInstance(OperationId.New(), new(Undeploy: false))))?.Code);
        Assert.Equal((ApplianceStatus.Deployed, VirtualMachineStatus.Running), ((await appliance.Get()).Status, (await Cluster.Grains.VirtualMachine(machine.Id).Get()).Status));
        Assert.Equal(GiB, await Counted());
        Assert.Equal(OperationStatus.Succeeded, (await Cluster.CreateInstance(appliance, new([machine.Id], Undeploy: false))).Status);
        Assert.Equal(4 * GiB, await Counted());

        await Raise(10 * GiB);
        Assert.Equal(OperationStatus.Succeeded, (await Cluster.CreateInstance(appliance, new(Undeploy: false))).Status);
        Assert.Equal(10 * GiB, await Counted());
    }

    [Fact]
    public async Task CreateInstances_OfTwoAtOnceWhereOneFits_ExactlyOneIsTaken()
    {
        await Create(2 * GiB);
        var master = await Cluster.AddMaster(enterprise: _id);
        var appliances = new[] { await Cluster.AddAppliance(1, master.Id, enterprise: _id), await Cluster.AddAppliance(1, master.Id, enterprise: _id) };
        foreach (var appliance in appliances) await Cluster.Deploy(appliance);

        var outcomes = await Task.WhenAll(appliances.Select(appliance => Outcome(async () => await Cluster.End(await appliance.CreateInstance(OperationId.New(), new(Undeploy: false))))));

        Assert.Equal("quota-virtual-bytes", Assert.Single(outcomes.OfType<Fault>()).Code);
        Assert.Equal(2 * GiB, await Counted());
    }

    [Theory]
    [InlineData("seal")]
    [InlineData("undeploy")]
    [InlineData("finish")]
    public async Task CreateInstance_WhileItRuns_CountsItsDisksOnceAlsoOverACrash(string step)
    {
        await Create(null);
        var appliance = await Cluster.AddAppliance(2, (await Cluster.AddMaster(enterprise: _id)).Id, dataDisks: 1, enterprise: _id);
        await Cluster.Deploy(appliance);
        Cluster.Probe.HoldBefore = step;
        var operation = await appliance.CreateInstance(OperationId.New(), new());
        await Cluster.Probe.Arrived;

        Assert.Equal(5 * GiB, await Counted());
        await Cluster.Crash();

        // The operation was before its commit point, so it is undone, perhaps already now.
        if (step != "seal") Assert.Equal(5 * GiB, await Counted());
        await Cluster.End(operation);
        Assert.Equal((step == "seal" ? 1 : 5) * GiB, await Counted());
    }

    [Fact]
    public async Task Promotion_OfASlave_CountsItsDisksFromTheBeginningOn()
    {
        await Create(6 * GiB);
        var appliance = await Cluster.AddAppliance(1, (await Cluster.AddMaster(enterprise: _id)).Id, dataDisks: 1, enterprise: _id);
        await Cluster.Deploy(appliance);
        var slave = Assert.Single((await Cluster.CreateInstance(appliance, new())).Result!.Instances!).Image;
        Assert.Equal(3 * GiB, await Counted());

        await Cluster.Grains.Image(ImageId.New()).BeginPromotion(OperationId.New(), slave, "gold");

        Assert.Equal(5 * GiB, await Counted());
        var refused = Cluster.Grains.Image(ImageId.New());
        Assert.Equal("quota-virtual-bytes", (await Outcome(() => refused.BeginPromotion(OperationId.New(), slave, "gold")))?.Code);
        Assert.Equal("image-not-found", (await Outcome(refused.Get))?.Code);
    }

    private async Task Create(long? virtualBytes) => await Enterprise.Create(new("acme", new(VirtualBytes: virtualBytes)));

    private async Task Raise(long virtualBytes) => await Enterprise.Change(new("acme", new(VirtualBytes: virtualBytes)), ifVersion: null);

    private async Task<long> Counted() => (await Enterprise.Get()).Usage!.VirtualBytes;

    private ImportCommand Command(ImageFormat? format, long bytes) => new("debian", format, bytes, Enterprise: _id);

    private async Task<(ImageId Image, OperationId Operation)> Begin()
    {
        var (image, operation) = (ImageId.New(), OperationId.New());
        await Cluster.Grains.Image(image).BeginUpload(operation, Command(format: null, bytes: 1000));
        return (image, operation);
    }

    private Task<bool> Accept(ImageId image, OperationId operation, long virtualSizeBytes) => Cluster.Grains.Image(image).AcceptDisk(operation, virtualSizeBytes);

    private static async Task<Fault?> Outcome(Func<Task> call)
    {
        try
        {
            await call();
            return null;
        }
        catch (FaultException exception)
        {
            return exception.Fault;
        }
    }
}
