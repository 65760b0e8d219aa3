using Instances.Appliances;
using Instances.Enterprises;
using Instances.Faults;
using Instances.Library;
using Instances.Operations;
using Instances.Testing;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Grains.Tests.Enterprises;

/// <summary>Admission by quotas, for sequential and concurrent requests.</summary>
public sealed class QuotaTests(ClusterFixture fixture) : ClusterTest(fixture)
{
    private const long MiB = 1L << 20;

    private readonly EnterpriseId _id = EnterpriseId.New();

    private IEnterpriseGrain Enterprise => Cluster.Grains.Enterprise(_id);

    [Theory]
    [InlineData("quota-images")]
    [InlineData("quota-uploads")]
    [InlineData("quota-library-bytes")]
    [InlineData("quota-virtual-bytes")]
    public async Task Imports_OfSeveralAtOnceWhereOneFits_ExactlyOneIsTaken(string code)
    {
        await Create(code switch
        {
            "quota-images" => new(Images: 1),
            "quota-uploads" => new(Uploads: 1),
            "quota-library-bytes" => new(LibraryBytes: 1500),
            _ => new(VirtualBytes: 1500),
        });

        var images = Enumerable.Range(0, 8).Select(_ => (Image: ImageId.New(), Operation: OperationId.New())).ToList();
        var outcomes = await Task.WhenAll(images.Select(image => Outcome(() => Begin(image.Image, image.Operation))));

        Assert.Single(outcomes, outcome => outcome is null);
        Assert.All(outcomes.OfType<Fault>(), fault => Assert.Equal((FaultKind.Capacity, code), (fault.Kind, fault.Code)));
        foreach (var (image, outcome) in images.Zip(outcomes).Where(pair => pair.Second is not null))
        {
            Assert.Null(await Cluster.Grains.Operation(image.Operation).Find());
            Assert.Equal("image-not-found", (await Outcome(() => Cluster.Grains.Image(image.Image).Get()))?.Code);
        }

        // A repeat of an admitted request is not refused because of its own usage.
        var taken = images[Array.IndexOf(outcomes, null)];
        await Begin(taken.Image, taken.Operation);
        await Cluster.Grains.Image(taken.Image).CancelUpload();
        await Begin(ImageId.New(), OperationId.New());
    }

    [Fact]
    public async Task Imports_OfManyAtOnceWhereSomeFit_AllThatFitAreTaken()
    {
        await Create(new(Images: 5));

        var outcomes = await Task.WhenAll(Enumerable.Range(0, 20).Select(_ => Outcome(() => Begin(ImageId.New(), OperationId.New()))));

        Assert.Equal(5, outcomes.Count(outcome => outcome is null));
        Assert.Equal(5, (await Enterprise.Get()).Usage!.Images);
    }

    [Fact]
    public async Task Import_AdmittedBeforeACrash_CountsOnceBehindIt()
    {
        await Create(new(Images: 2));
        await Begin(ImageId.New(), OperationId.New());

        await Cluster.Crash();

        await Begin(ImageId.New(), OperationId.New());
        Assert.Equal("quota-images", (await Outcome(() => Begin(ImageId.New(), OperationId.New())))?.Code);
    }

    [Theory]
    [InlineData(1000, OperationStatus.Succeeded, null)]
    [InlineData(1500, OperationStatus.Succeeded, null)]
    [InlineData(1501, OperationStatus.Failed, "quota-library-bytes")]
    public async Task Import_ThatBecameLargerThanItWasAnnounced_IsTakenWhereThereIsRoom(long bytes, OperationStatus status, string? code)
    {
        await Create(new(LibraryBytes: 1500));
        var (id, operation) = (ImageId.New(), OperationId.New());
        await Begin(id, operation);
        var layer = LayerId.New();
        var manifest = new ImageManifest(
            id, "debian", ImageKind.Master, Master: null, Parent: null, [new([new(layer, Parent: null, bytes, id)], 1L << 30)], TimeProvider.System.GetUtcNow()) { Enterprise = _id };
        await Cluster.Layers.WriteManifest(manifest);

        var image = await Cluster.Grains.Image(id).CompleteImport(operation, manifest);
        var again = await Cluster.Grains.Image(id).CompleteImport(operation, manifest);

        var record = (await Cluster.Grains.Operation(operation).Find())!;
        Assert.Equal((status, code), (record.Status, record.Fault?.Code));
        Assert.Equal(code is null ? ImageStatus.Ready : ImageStatus.Failed, image.Status);
        Assert.Equal(image.Status, again.Status);
        Assert.Equal(code is null, Cluster.Layers.Manifests.Contains(id));
        Assert.Equal(code is null ? new(LibraryBytes: bytes, Images: 1, VirtualBytes: 1L << 30) : EnterpriseUsage.None, (await Enterprise.Get()).Usage);
    }

    [Fact]
    public async Task Deploys_OfTwoAtOnceWhereOneFits_ExactlyOneIsTaken()
    {
        await Create(new(VirtualMachines: 3));
        var master = await Cluster.AddMaster(enterprise: _id);
        for (var round = 0; round < 5; round++)
        {
            var appliances = new[] { await Cluster.AddAppliance(2, master.Id, enterprise: _id), await Cluster.AddAppliance(2, master.Id, enterprise: _id) };

            var outcomes = await Task.WhenAll(appliances.Select(appliance => Outcome(async () => await Cluster.End(await appliance.Deploy(OperationId.New())))));

            Assert.Equal("quota-virtual-machines", Assert.Single(outcomes.OfType<Fault>()).Code);
            var refused = appliances[outcomes[0] is null ? 1 : 0];
            Assert.Equal(ApplianceStatus.Undeployed, (await refused.Get()).Status);
            Assert.Equal(new EnterpriseUsage(LibraryBytes: 1_000_000, Images: 1, VirtualMachines: 2, Cpus: 2, MemoryBytes: 128 * MiB, VirtualBytes: 1024 * MiB), (await Enterprise.Get()).Usage);
            await Cluster.Undeploy(appliances[outcomes[0] is null ? 0 : 1]);
            Assert.Equal(0, (await Enterprise.Get()).Usage!.VirtualMachines);
        }
    }

    [Theory]
    [InlineData(1L, null, "quota-cpus")]
    [InlineData(null, 127L << 20, "quota-memory-bytes")]
    public async Task Deploy_OfMoreThanTheQuota_IsRefusedUntilItIsRaised(long? cpus, long? memoryBytes, string code)
    {
        await Create(new(Cpus: cpus, MemoryBytes: memoryBytes));
        var appliance = await Cluster.AddAppliance(2, (await Cluster.AddMaster(enterprise: _id)).Id, enterprise: _id);

        var refused = await Outcome(() => appliance.Deploy(OperationId.New()));
        await Enterprise.Change(new("acme", new(Cpus: 2, MemoryBytes: 128 * MiB)), ifVersion: null);

        Assert.Equal((FaultKind.Capacity, code), (refused!.Kind, refused.Code));
        Assert.Equal(OperationStatus.Succeeded, (await Cluster.Deploy(appliance)).Status);
    }

    [Fact]
    public async Task Deploy_OfMachinesThatWereAddedLater_CountsThemOnce()
    {
        await Create(new(VirtualMachines: 2));
        var master = await Cluster.AddMaster(enterprise: _id);
        var appliance = await Cluster.AddAppliance(1, master.Id, enterprise: _id);
        await Cluster.Deploy(appliance);
        await Cluster.AddMachine(appliance, master.Id, "later");

        Assert.Equal(OperationStatus.Succeeded, (await Cluster.Deploy(appliance)).Status);

        await Cluster.AddMachine(appliance, master.Id, "more");
        Assert.Equal("quota-virtual-machines", (await Outcome(() => appliance.Deploy(OperationId.New())))?.Code);
        Assert.Equal(ApplianceStatus.Deployed, (await appliance.Get()).Status);
    }

    [Fact]
    public async Task CreateInstance_WhereItsImagesDoNotFit_IsRefusedAndNothingIsHeld()
    {
        await Create(new(Images: 2));
        var appliance = await Cluster.AddAppliance(2, (await Cluster.AddMaster(enterprise: _id)).Id, enterprise: _id);
        await Cluster.Deploy(appliance);
        var machine = (await Cluster.Machines(await appliance.Get()))[0];

        Assert.Equal("quota-images", (await Outcome(() => appliance.CreateInstance(OperationId.New(), new(Undeploy: false))))?.Code);
        Assert.Equal((ApplianceStatus.Deployed, VirtualMachineStatus.Running), ((await appliance.Get()).Status, (await Cluster.Grains.VirtualMachine(machine.Id).Get()).Status));
        Assert.Equal(OperationStatus.Succeeded, (await Cluster.CreateInstance(appliance, new([machine.Id], Undeploy: false))).Status);
        Assert.Equal(2, (await Enterprise.Get()).Usage!.Images);
        Assert.Equal("quota-images", (await Outcome(() => Begin(ImageId.New(), OperationId.New())))?.Code);
    }

    [Fact]
    public async Task CreateInstance_InALibraryThatIsAtItsQuota_IsRefused()
    {
        await Create(new(LibraryBytes: 1_000_001));
        var appliance = await Cluster.AddAppliance(1, (await Cluster.AddMaster(enterprise: _id)).Id, enterprise: _id);
        await Cluster.Deploy(appliance);

        // One byte is left: the size of a capture is known only after the seal.
        Assert.Equal(OperationStatus.Succeeded, (await Cluster.CreateInstance(appliance, new(Undeploy: false))).Status);
        Assert.Equal("quota-library-bytes", (await Outcome(() => appliance.CreateInstance(OperationId.New(), new(Undeploy: false))))?.Code);
    }

    [Theory]
    [InlineData("seal")]
    [InlineData("undeploy")]
    [InlineData("finish")]
    public async Task CreateInstance_WhileItRuns_CountsItsImagesOnceAndNoneWhenItWasCancelled(string step)
    {
        await Create(EnterpriseQuotas.None);
        var appliance = await Cluster.AddAppliance(2, (await Cluster.AddMaster(enterprise: _id)).Id, enterprise: _id);
        await Cluster.Deploy(appliance);
        Cluster.Probe.HoldBefore = step;
        var operation = await appliance.CreateInstance(OperationId.New(), new());
        await Cluster.Probe.Arrived;

        Assert.Equal(3, (await Enterprise.Get()).Usage!.Images);
        if (step == "seal") await Cluster.Grains.Operation(operation.Id).Cancel();
        Cluster.Probe.Release();
        await Cluster.End(operation);

        Assert.Equal(step == "seal" ? 1 : 3, (await Enterprise.Get()).Usage!.Images);
    }

    [Fact]
    public async Task CreateInstances_OfTwoAtOnceWhereOneFits_ExactlyOneIsTaken()
    {
        await Create(new(Images: 2));
        var master = await Cluster.AddMaster(enterprise: _id);
        var appliances = new[] { await Cluster.AddAppliance(1, master.Id, enterprise: _id), await Cluster.AddAppliance(1, master.Id, enterprise: _id) };
        foreach (var appliance in appliances) await Cluster.Deploy(appliance);

        var outcomes = await Task.WhenAll(appliances.Select(appliance => Outcome(async () => await Cluster.End(await appliance.CreateInstance(OperationId.New(), new(Undeploy: false))))));

        Assert.Equal("quota-images", Assert.Single(outcomes.OfType<Fault>()).Code);
        Assert.Equal(2, (await Enterprise.Get()).Usage!.Images);
        Assert.All(await Task.WhenAll(appliances.Select(appliance => appliance.Get())), appliance => Assert.Equal(ApplianceStatus.Deployed, appliance.Status));
    }

    [Fact]
    public async Task Operations_OverACrash_CountWhatTheyEndWith()
    {
        await Create(new(Images: 3, VirtualMachines: 2));
        var appliance = await Cluster.AddAppliance(2, (await Cluster.AddMaster(enterprise: _id)).Id, enterprise: _id);
        Cluster.Probe.HoldBefore = "start";
        var deploy = await appliance.Deploy(OperationId.New());
        await Cluster.Probe.Arrived;
        Assert.Equal((1, 2), await Counts());
        await Cluster.Crash();
        Assert.Equal((1, 2), await Counts());
        Assert.Equal(OperationStatus.Succeeded, (await Cluster.End(deploy)).Status);
        Assert.Equal((1, 2), await Counts());

        appliance = Cluster.Grains.Appliance(deploy.Appliance!.Value);
        Cluster.Probe.HoldBefore = "seal";
        var capture = await appliance.CreateInstance(OperationId.New(), new());
        await Cluster.Probe.Arrived;
        Assert.Equal((3, 2), await Counts());
        await Cluster.Crash();
        Assert.Equal(OperationStatus.Failed, (await Cluster.End(capture)).Status);
        Assert.Equal((1, 2), await Counts());

        await Cluster.Undeploy(Cluster.Grains.Appliance(deploy.Appliance!.Value));
        Assert.Equal((1, 0), await Counts());

        async Task<(long, long)> Counts()
        {
            var usage = (await Enterprise.Get()).Usage!;
            return (usage.Images, usage.VirtualMachines);
        }
    }

    [Fact]
    public async Task Promotion_OfASlave_IsItsEnterprisesAndCountsWhatItCopies()
    {
        await Create(new(Images: 3));
        var appliance = await Cluster.AddAppliance(1, (await Cluster.AddMaster(enterprise: _id)).Id, enterprise: _id);
        await Cluster.Deploy(appliance);
        var captured = await Cluster.CreateInstance(appliance, new());
        var slave = await Cluster.Grains.Image(Assert.Single(captured.Result!.Instances!).Image).Get();
        var before = (await Enterprise.Get()).Usage!;
        var promoted = Cluster.Grains.Image(ImageId.New());

        await promoted.BeginPromotion(OperationId.New(), slave.Id, "gold");

        Assert.Equal(_id, (await promoted.Get()).Enterprise);
        Assert.Equal(before + new EnterpriseUsage(LibraryBytes: slave.Disks.SelectMany(disk => disk.Layers).Sum(layer => layer.Bytes), Images: 1, Uploads: 1, VirtualBytes: 1L << 30), (await Enterprise.Get()).Usage);
        var refused = ImageId.New();
        Assert.Equal("quota-images", (await Outcome(() => Cluster.Grains.Image(refused).BeginPromotion(OperationId.New(), slave.Id, "gold")))?.Code);
        Assert.Equal("image-not-found", (await Outcome(() => Cluster.Grains.Image(refused).Get()))?.Code);
    }

    [Fact]
    public async Task Admission_Withdrawn_LeavesItsRoomToOthers()
    {
        await Create(new(Images: 1));
        var (first, second) = (Guid.NewGuid(), Guid.NewGuid());

        await Enterprise.Admit(first, new(Images: 1));
        await Enterprise.Admit(first, new(Images: 1));
        Assert.Equal("quota-images", (await Outcome(() => Enterprise.Admit(second, new(Images: 1))))?.Code);
        await Enterprise.Admitted(first);

        await Enterprise.Admit(second, new(Images: 1));
        Assert.True(await Enterprise.Admitted(second));
        Assert.False(await Enterprise.Admitted(second));
    }

    [Fact]
    public async Task Import_WhoseClaimIsLostAndWhoseRoomIsTaken_IsTakenBack()
    {
        await Create(new(Images: 1));
        var (first, second) = (ImageId.New(), ImageId.New());

        // The claim is lost after its admission, for example with the enterprise's silo, and another request uses the room.
        Cluster.AfterNext("Instances.Enterprises.IEnterpriseGrain.Admit", async () =>
        {
            await Enterprise.Admitted(first.Value);
            await Begin(second, OperationId.New());
        });

        Assert.Equal("quota-images", (await Outcome(() => Begin(first, OperationId.New())))?.Code);

        Assert.Equal("image-not-found", (await Outcome(() => Cluster.Grains.Image(first).Get()))?.Code);
        Assert.Equal(ImageStatus.Importing, (await Cluster.Grains.Image(second).Get()).Status);
        Assert.Equal(1, (await Enterprise.Get()).Usage!.Images);
    }

    [Fact]
    public async Task Deploy_WhoseClaimIsLostAndWhoseRoomIsTaken_FailsAndLeavesNothing()
    {
        await Create(new(VirtualMachines: 1));
        var master = await Cluster.AddMaster(enterprise: _id);
        var (first, second) = (await Cluster.AddAppliance(1, master.Id, enterprise: _id), await Cluster.AddAppliance(1, master.Id, enterprise: _id));
        var operation = OperationId.New();
        Cluster.AfterNext("Instances.Enterprises.IEnterpriseGrain.Admit", async () =>
        {
            await Enterprise.Admitted((await first.Get()).Id.Value);
            await Cluster.Deploy(second);
        });

        Assert.Equal("quota-virtual-machines", (await Outcome(() => first.Deploy(operation)))?.Code);

        var end = await Cluster.End((await Cluster.Grains.Operation(operation).Find())!);
        Assert.Equal((OperationStatus.Failed, "quota-virtual-machines"), (end.Status, end.Fault!.Code));
        Assert.Equal((ApplianceStatus.Undeployed, ApplianceStatus.Deployed), ((await first.Get()).Status, (await second.Get()).Status));
    }

    /// <summary>The claim is lost and another appliance takes the room. The operation has ended before the quotas are checked again.</summary>
    [Theory]
    [InlineData(OperationStatus.Succeeded)]
    [InlineData(OperationStatus.Failed)]
    public async Task Deploy_RefusedAfterItsOperationHasEnded_IsAnsweredWithTheOperationAndLeavesTheApplianceUsable(OperationStatus status)
    {
        await Create(new(VirtualMachines: 1));
        var master = await Cluster.AddMaster(enterprise: _id);
        var (first, second) = (await Cluster.AddAppliance(1, master.Id, enterprise: _id), await Cluster.AddAppliance(1, master.Id, enterprise: _id));
        var third = await Cluster.AddAppliance(1, (await Cluster.AddMaster()).Id);
        if (status is OperationStatus.Failed) await first.PatchVirtualMachine((await first.Get()).VirtualMachines[0], new("{\"memoryBytes\":1099511627776}"), []);
        var operation = OperationId.New();
        Cluster.AfterNext("Instances.Enterprises.IEnterpriseGrain.Admit", async () =>
        {
            await Enterprise.Admitted((await first.Get()).Id.Value);
            await Cluster.Deploy(second);
            Cluster.AfterNext("Instances.Enterprises.IEnterpriseGrain.Admitted", async () =>
            {
                await Eventually.Holds(async () => await Cluster.Grains.Operation(operation).Find() is { IsFinished: true }, "the operation has ended");

                // What the appliance does after the end takes less time than another operation.
                await Cluster.Deploy(third);
            });
        });

        Assert.Equal(operation, (await first.Deploy(operation)).Id);

        var end = (await Cluster.Grains.Operation(operation).Find())!;
        Assert.Equal((status, status is OperationStatus.Failed ? "no-capacity" : null), (end.Status, end.Fault?.Code));
        if (status is OperationStatus.Succeeded) await Cluster.Undeploy(first);
        await first.Delete();
    }

    [Fact]
    public async Task Import_RefusedByTheLibrary_GivesItsRoomBack()
    {
        await Create(new(Images: 1));
        Cluster.Library.MaxUploads = 0;
        Assert.Equal("too-many-uploads", (await Outcome(() => Begin(ImageId.New(), OperationId.New())))?.Code);
        Cluster.Library.MaxUploads = 10_000;

        await Begin(ImageId.New(), OperationId.New());
    }

    private async Task Create(EnterpriseQuotas quotas) => await Enterprise.Create(new("acme", quotas));

    private Task Begin(ImageId image, OperationId operation) =>
        Cluster.Grains.Image(image).BeginUpload(operation, new("debian", ImageFormat.Raw, Bytes: 1000, Enterprise: _id));

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
