using Instances.Appliances;
using Instances.Catalogue;
using Instances.Faults;
using Instances.Library;
using Instances.Operations;
using Instances.Testing;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Grains.Tests.Library;

/// <summary>How images are retired and restored.</summary>
public sealed class RetirementTests : ClusterTest
{
    public RetirementTests(ClusterFixture fixture)
        : base(fixture) => Cluster.Library.GracePeriod = TimeSpan.FromHours(24);

    [Fact]
    public async Task Restore_OfWhatWasDeleted_MakesItReadyAndDeployable()
    {
        var master = await Cluster.AddMaster();
        await Image(master.Id).Delete();
        var retired = await Image(master.Id).Get();
        Assert.Equal((ImageStatus.Retired, RetirementReason.Deleted), (retired.Status, retired.RetiredReason));
        Assert.Empty((await Cluster.Catalogue.Images(new(Master: master.Id), new())).Items);

        var restored = await Image(master.Id).Restore();
        var again = await Image(master.Id).Restore();

        Assert.Equal((ImageStatus.Ready, null, null), (restored.Status, restored.RetiredAt, restored.RetiredReason));
        Assert.NotNull(restored.RestoredAt);
        Assert.Equal(restored.Version, again.Version);
        Assert.Equal(OperationStatus.Succeeded, (await Cluster.Deploy(await Cluster.AddAppliance(1, master.Id))).Status);
    }

    [Fact]
    public async Task Export_OfARetiredImage_IsRefusedUntilItIsRestored()
    {
        var master = await Cluster.AddMaster();
        Assert.Contains($"{master.Id}", (await Image(master.Id).Export()).Address.AbsolutePath, StringComparison.Ordinal);
        await Image(master.Id).Delete();

        await AssertRefused(() => Image(master.Id).Export(), FaultKind.Conflict, "image-not-ready");
        await AssertRefused(() => Image(master.Id).AcceptExport(), FaultKind.Conflict, "image-not-ready");

        await Image(master.Id).Restore();
        Assert.Equal(master.Disks[0].ToChain().Layers, (await Image(master.Id).AcceptExport()).Disks[0].ToChain().Layers);
    }

    [Fact]
    public async Task Restore_BehindTheGracePeriod_IsGone()
    {
        var master = await Cluster.AddMaster();
        await Image(master.Id).Delete();
        Cluster.Library.GracePeriod = TimeSpan.FromTicks(1);

        await AssertRefused(() => Image(master.Id).Restore(), FaultKind.NotFound, "image-gone");
        await Cluster.Grains.Library().Sweep();

        await AssertRefused(() => Image(master.Id).Restore(), FaultKind.NotFound, "image-not-found");
    }

    /// <summary>The state after a crash has interrupted a removal.</summary>
    [Fact]
    public async Task Restore_OfAnImageWithoutItsManifest_WritesItAnew()
    {
        var scene = await Scene.Undeployed(Cluster, machines: 0);
        await Image(scene.Master.Id).Delete();
        await Cluster.Layers.DeleteManifest(scene.Master.Id);

        await Image(scene.Master.Id).Restore();

        await scene.AssertNothingWithoutOwner();
    }

    [Fact]
    public async Task Restore_AgainstCollection_WhoIsFirstWins()
    {
        for (var round = 0; round < 20; round++)
        {
            Cluster.Library.GracePeriod = TimeSpan.FromHours(24);
            var scene = await Scene.Undeployed(Cluster, machines: 0);
            var id = scene.Master.Id;
            await Image(id).Delete();
            FaultException? refused;
            if (round % 2 == 0)
            {
                var restore = Outcome(() => Image(id).Restore());
                Cluster.Library.GracePeriod = TimeSpan.FromTicks(1);
                await Task.WhenAll(restore, Image(id).Expire());
                refused = await restore;
            }
            else
            {
                Cluster.Library.GracePeriod = TimeSpan.FromTicks(1);
                var expire = Image(id).Expire();
                Cluster.Library.GracePeriod = TimeSpan.FromHours(24);
                refused = await Outcome(() => Image(id).Restore());
                await expire;
            }

            if (refused is null) Assert.Equal(ImageStatus.Ready, (await Image(id).Get()).Status);
            else Assert.Contains(refused.Fault.Code, (string[])["image-gone", "image-not-found"]);
            Assert.Equal(refused is null, (await Cluster.Catalogue.KnownImages()).Contains(id));
            await scene.AssertNothingWithoutOwner();
        }
    }

    [Fact]
    public async Task Restore_OfASlaveWhoseMasterIsRetired_IsRefusedUntilThatIsBack()
    {
        var (scene, slave) = await WithUnusedSlave();
        await Image(scene.Master.Id).DeleteWith(cascade: true, dryRun: false);

        await AssertRefused(() => Image(slave).Restore(), FaultKind.Conflict, "master-retired");
        var retired = await scene.Image(slave);
        Assert.Equal((ImageStatus.Retired, RetirementReason.Deleted), (retired.Status, retired.RetiredReason));

        await Image(scene.Master.Id).Restore();
        Assert.Equal(ImageStatus.Ready, (await Image(slave).Restore()).Status);
        await scene.AssertNothingWithoutOwner();
    }

    [Fact]
    public async Task Restore_OfASlaveAgainstDeletionOfItsMaster_NeverLeavesASlaveWithoutMaster()
    {
        for (var round = 0; round < 15; round++)
        {
            var (scene, slave) = await WithUnusedSlave();
            await Image(slave).Delete();
            Func<Task> restoreSlave = () => Image(slave).Restore(), deleteMaster = () => Image(scene.Master.Id).Delete();

            var outcomes = await Task.WhenAll((round % 2 == 0 ? (Func<Task>[])[restoreSlave, deleteMaster] : [deleteMaster, restoreSlave]).Select(Outcome));

            Assert.Contains(outcomes, outcome => outcome is not null);
            var (one, other) = ((await scene.Image(slave)).Status, (await scene.Image(scene.Master.Id)).Status);
            Assert.True(one is ImageStatus.Retired || other is ImageStatus.Ready, $"The slave is {one} and its master {other}.");
            await scene.AssertNothingWithoutOwner();
        }
    }

    [Fact]
    public async Task Delete_OfAPinnedImage_IsRefusedByAnyWay()
    {
        var (scene, slave) = await WithUnusedSlave();
        await Pin(slave);

        await AssertRefused(() => Image(slave).Delete(), FaultKind.Conflict, "image-pinned");
        await AssertRefused(() => Image(slave).Retire(RetirementReason.Retention), FaultKind.Conflict, "image-pinned");
        await AssertRefused(() => Image(slave).DeleteWith(cascade: false, dryRun: true), FaultKind.Conflict, "image-pinned");
        await AssertRefused(() => Image(scene.Master.Id).DeleteWith(cascade: true, dryRun: false), FaultKind.Conflict, "image-pinned");

        Assert.Equal((ImageStatus.Ready, ImageStatus.Ready), ((await scene.Image(slave)).Status, (await scene.Image(scene.Master.Id)).Status));
    }

    [Fact]
    public async Task Update_OverAPinnedVersion_KeepsItAndSaysWhy()
    {
        var (scene, slave) = await WithSlave(new(UpdateImages: true));
        await Pin(slave);
        await scene.Deploy();

        var operation = await scene.CreateInstance(new(UpdateImages: true));

        var kept = Assert.Single(operation.Result!.Kept!);
        Assert.Equal(slave, kept.Image);
        Assert.Contains("pinned", kept.Reason, StringComparison.Ordinal);
        Assert.Equal(ImageStatus.Ready, (await scene.Image(slave)).Status);
    }

    [Fact]
    public async Task Update_OfAPreviousVersion_CanBeUndone()
    {
        var (scene, slave) = await WithSlave(new(UpdateImages: true));
        await scene.Deploy();
        await scene.CreateInstance(new(UpdateImages: true));
        Assert.Equal((ImageStatus.Retired, RetirementReason.Updated), ((await scene.Image(slave)).Status, (await scene.Image(slave)).RetiredReason));

        Assert.Equal(ImageStatus.Ready, (await Image(slave).Restore()).Status);
        await scene.AssertNothingWithoutOwner();
    }

    [Fact]
    public async Task DeleteWith_DryRun_NamesWhatWouldGoAndDoesNothing()
    {
        var (scene, slave) = await WithUnusedSlave();
        var before = await scene.Look();

        var deletion = await Image(scene.Master.Id).DeleteWith(cascade: true, dryRun: true);

        Assert.Equal([slave, scene.Master.Id], deletion.Images.Select(image => image.Id));
        Assert.True(deletion.DryRun);
        Assert.Equal(before, await scene.Look());
        await AssertRefused(() => Image(scene.Master.Id).DeleteWith(cascade: false, dryRun: true), FaultKind.Conflict, "master-has-slaves");
    }

    [Theory, InlineData(0), InlineData(24)]
    public async Task DeleteWith_Cascade_TakesTheWholeTree(int graceHours)
    {
        var (scene, slave) = await WithUnusedSlave();
        Cluster.Library.GracePeriod = TimeSpan.FromHours(graceHours);

        var deletion = await Image(scene.Master.Id).DeleteWith(cascade: true, dryRun: false);

        Assert.Equal(2, deletion.Images.Count);
        if (graceHours == 0) Assert.Empty((await Cluster.Catalogue.KnownImages()).Intersect([slave, scene.Master.Id]));
        else Assert.Equal((ImageStatus.Retired, ImageStatus.Retired), ((await scene.Image(slave)).Status, (await scene.Image(scene.Master.Id)).Status));
        await scene.AssertNothingWithoutOwner();
    }

    [Fact]
    public async Task DeleteWith_CascadeWhereASlaveIsUsed_RefusesWholeAndNamesTheMachine()
    {
        var (scene, used) = await WithUnusedSlave();
        var other = await Cluster.AddAppliance(1, used);
        var before = await scene.Look();

        var refused = await AssertRefused(() => Image(scene.Master.Id).DeleteWith(cascade: true, dryRun: false), FaultKind.Conflict, "image-in-use");

        Assert.Contains($"{(await other.Get()).VirtualMachines[0]}", refused.Fault.Message, StringComparison.Ordinal);
        Assert.Equal(before, await scene.Look());
    }

    [Fact]
    public async Task DeleteWith_CascadeAgainstCreateVirtualMachine_ExactlyOneWinsAndNothingIsHalfDone()
    {
        for (var round = 0; round < 15; round++)
        {
            var (scene, slave) = await WithUnusedSlave();
            var appliance = await Cluster.AddAppliance(0, slave);
            Func<Task> delete = () => Image(scene.Master.Id).DeleteWith(cascade: true, dryRun: false), add = () => Cluster.AddMachine(appliance, slave, "vm");

            var early = Outcome(round % 2 == 0 ? delete : add);
            for (var turn = 0; turn < round; turn++) await Task.Yield();
            var late = await Outcome(round % 2 == 0 ? add : delete);
            var (deleted, added) = round % 2 == 0 ? (await early, late) : (late, await early);

            if (added is null) Assert.Equal("image-in-use", deleted!.Fault.Code);
            var (one, other) = ((await scene.Image(slave)).Status, (await scene.Image(scene.Master.Id)).Status);
            Assert.Equal(deleted is null ? ImageStatus.Retired : ImageStatus.Ready, one);
            Assert.Equal(one, other);
            await scene.AssertNothingWithoutOwner();
        }
    }

    [Fact]
    public async Task Expire_OfASlaveWhoseMasterIsBeingDeleted_WaitsForThat()
    {
        var (scene, slave) = await WithUnusedSlave();
        await Image(slave).RetireWith(scene.Master.Id);
        Cluster.Library.GracePeriod = TimeSpan.Zero;

        await Image(slave).Expire();
        Assert.Equal(ImageStatus.Retired, (await scene.Image(slave)).Status);

        await Image(slave).TakeBack(scene.Master.Id);
        await Image(slave).TakeBack(scene.Master.Id);
        Assert.Equal(ImageStatus.Ready, (await scene.Image(slave)).Status);
    }

    [Theory, InlineData(true), InlineData(false)]
    public async Task Retention_AfterACapture_RetiresWhatItsRuleDoesNotKeep(bool ofMaster)
    {
        var (scene, first) = await WithSlave();
        if (ofMaster) await Image(scene.Master.Id).Change((await scene.Image(scene.Master.Id)).ToSpec() with { Retention = new(KeepLast: 1) }, ifVersion: null);
        else await scene.Appliance.Change(new("shop", Retention: new(KeepLast: 1)));
        await scene.Deploy();

        var second = (await scene.CreateInstance(new())).Result!.Instances!.Single().Image;

        await Eventually.Holds(async () => (await scene.Image(first)).Status is ImageStatus.Retired, "the older instance is retired");
        Assert.Equal(RetirementReason.Retention, (await scene.Image(first)).RetiredReason);
        Assert.Equal((ImageStatus.Ready, ImageStatus.Ready), ((await scene.Image(second)).Status, (await scene.Image(scene.Master.Id)).Status));

        await Image(first).Restore();
        await Cluster.Grains.Library().Sweep();
        Assert.Equal(ImageStatus.Ready, (await scene.Image(first)).Status);
    }

    [Fact]
    public async Task Retention_WithTheSweep_LeavesAloneWhatIsPinnedOrUsed()
    {
        var (scene, oldest) = await WithSlave();
        var images = new List<ImageId> { oldest };
        for (var number = 0; number < 3; number++)
        {
            await scene.Deploy();
            images.Add((await scene.CreateInstance(new())).Result!.Instances!.Single().Image);
        }

        await Pin(images[0]);
        await Cluster.AddAppliance(1, images[1]);
        await Image(scene.Master.Id).Change((await scene.Image(scene.Master.Id)).ToSpec() with { Retention = new(KeepLast: 1) }, ifVersion: null);

        await Cluster.Grains.Library().Sweep();

        var statuses = await Task.WhenAll(images.Select(async image => (await scene.Image(image)).Status));
        Assert.Equal([ImageStatus.Ready, ImageStatus.Ready, ImageStatus.Retired, ImageStatus.Ready], statuses);
    }

    [Fact]
    public async Task Retention_WhoseLookFails_IsTriedAgainByTheNextSweep()
    {
        var (scene, first) = await WithSlave();
        await scene.Deploy();
        await scene.CreateInstance(new());

        // The call is accepted only after the end of the capture: so the sweep is the first to apply the rule.
        await scene.Deploy();
        await Image(scene.Master.Id).Change((await scene.Image(scene.Master.Id)).ToSpec() with { Retention = new(KeepLast: 1) }, ifVersion: null);
        Cluster.FailingCatalogue.FailNextUsersOf();

        await Cluster.Grains.Library().Sweep();
        Assert.Equal(ImageStatus.Ready, (await scene.Image(first)).Status);

        await Cluster.Grains.Library().Sweep();
        Assert.Equal(ImageStatus.Retired, (await scene.Image(first)).Status);
    }

    private IImageGrain Image(ImageId id) => Cluster.Grains.Image(id);

    private async Task Pin(ImageId id) => await Image(id).Change((await Image(id).Get()).ToSpec() with { Pinned = true }, ifVersion: null);

    /// <summary>An undeployed appliance of one machine, and an instance of that. The machine uses its master, unless images are updated.</summary>
    private async Task<(Scene Scene, ImageId Slave)> WithSlave(CreateInstanceCommand? command = null)
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        var slave = (await scene.CreateInstance(command ?? new())).Result!.Instances!.Single().Image;
        return (scene, slave);
    }

    /// <summary>A master and its slave, which no machine uses.</summary>
    private async Task<(Scene Scene, ImageId Slave)> WithUnusedSlave()
    {
        var (scene, slave) = await WithSlave();
        await scene.Appliance.RemoveVirtualMachine((await scene.Appliance.Get()).VirtualMachines.Single());
        return (scene, slave);
    }

    private static async Task<FaultException> AssertRefused(Func<Task> call, FaultKind kind, string code)
    {
        var refused = await Assert.ThrowsAsync<FaultException>(call);
        Assert.Equal((kind, code), (refused.Fault.Kind, refused.Fault.Code));
        return refused;
    }

    private static async Task<FaultException?> Outcome(Func<Task> call)
    {
        try
        {
            await call();
            return null;
        }
        catch (FaultException exception)
        {
            return exception;
        }
    }
}
