using Instances.Appliances;
using Instances.Enterprises;
using Instances.Faults;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Grains.Tests.Enterprises;

/// <summary>Images of one enterprise that machines of another use.</summary>
public sealed class SharingTests(ClusterFixture fixture) : ClusterTest(fixture)
{
    private readonly EnterpriseId _owner = EnterpriseId.New();
    private readonly EnterpriseId _user = EnterpriseId.New();

    [Fact]
    public async Task Machine_OfAnotherEnterprise_FindsTheImageOnlyWhereItIsShared()
    {
        var (master, appliance) = await Make();

        var refused = await Assert.ThrowsAsync<FaultException>(() => Cluster.AddMachine(appliance, master.Id, "web"));
        await Share(master, ImageSharing.AllEnterprises);
        var machine = await Cluster.AddMachine(appliance, master.Id, "web");

        Assert.Equal((FaultKind.NotFound, "image-not-found"), (refused.Fault.Kind, refused.Fault.Code));
        Assert.Equal(OperationStatus.Succeeded, (await Cluster.Deploy(appliance)).Status);
        var own = await Cluster.AddAppliance(1, master.Id, enterprise: _owner);
        Assert.Equal(OperationStatus.Succeeded, (await Cluster.Deploy(own)).Status);
        await Cluster.Undeploy(appliance);
        var hidden = await Cluster.AddMaster(enterprise: _owner);
        Assert.Equal("image-not-found", (await Code(() => appliance.ChangeVirtualMachine(machine.Id, new("web", hidden.Id)))));
        Assert.Equal(master.Id, (await Cluster.Grains.VirtualMachine(machine.Id).Get()).Image);
    }

    [Fact]
    public async Task Share_StandsInTheRecordTheManifestAndTheList()
    {
        var (master, _) = await Make();

        var shared = await Share(master, ImageSharing.AllEnterprises);

        Assert.Equal((ImageSharing.AllEnterprises, _owner, master.Version + 1), (shared.Sharing, shared.Enterprise, shared.Version));
        var manifest = Assert.Single(await Cluster.Layers.ReadManifests(CancellationToken.None), manifest => manifest.Id == master.Id);
        Assert.Equal((ImageSharing.AllEnterprises, _owner), (manifest.Sharing, manifest.Enterprise));
        Assert.Contains((await Cluster.Catalogue.Images(new(Enterprise: _user), new(1000))).Items, image => image.Id == master.Id);
    }

    [Fact]
    public async Task TakeBack_WhileMachinesOfOthersUseIt_IsRefusedAndNamesThem()
    {
        var (master, appliance) = await Make();
        var own = await Cluster.AddAppliance(1, master.Id, enterprise: _owner);
        var shared = await Share(master, ImageSharing.AllEnterprises);
        var machine = await Cluster.AddMachine(appliance, master.Id, "web");

        var refused = await Assert.ThrowsAsync<FaultException>(() => Share(master, ImageSharing.Private));
        Assert.Equal((FaultKind.Conflict, "image-in-use"), (refused.Fault.Kind, refused.Fault.Code));
        Assert.Contains(machine.Id.ToString(), refused.Fault.Message, StringComparison.Ordinal);
        Assert.DoesNotContain((await own.Get()).VirtualMachines[0].ToString(), refused.Fault.Message, StringComparison.Ordinal);
        var after = await Image(master).Get();
        Assert.Equal((shared.ToSpec(), shared.Version), (after.ToSpec(), after.Version));
        await appliance.RemoveVirtualMachine(machine.Id);

        Assert.Equal(ImageSharing.Private, (await Share(master, ImageSharing.Private)).Sharing);
        Assert.Equal("image-not-found", await Code(() => Cluster.AddMachine(appliance, master.Id, "web")));
    }

    /// <summary>After the mark there is a machine that did not exist before it, or the check fails.</summary>
    [Theory]
    [InlineData(true, FaultKind.Conflict, "image-in-use")]
    [InlineData(false, FaultKind.Unavailable, "grain-unavailable")]
    public async Task TakeBack_OvertakenByAUse_SharesItAgain(bool tells, FaultKind kind, string code)
    {
        var (master, _) = await Make();
        var shared = await Share(master, ImageSharing.AllEnterprises);
        Cluster.FailingCatalogue.ForeignUsers.Enqueue(() => []);
        Cluster.FailingCatalogue.ForeignUsers.Enqueue(() => tells ? [VirtualMachineId.New()] : throw new TimeoutException("The database was told to be away."));

        var refused = await Assert.ThrowsAsync<FaultException>(() => Share(master, ImageSharing.Private));

        Assert.Equal((kind, code), (refused.Fault.Kind, refused.Fault.Code));
        var after = await Image(master).Get();
        Assert.Equal((shared.ToSpec(), shared.Version + 2), (after.ToSpec(), after.Version));
        Assert.Equal(shared.ToSpec(), Assert.Single(await Cluster.Layers.ReadManifests(CancellationToken.None), manifest => manifest.Id == master.Id).ToSpec());
        Assert.Contains((await Cluster.Catalogue.Images(new(Enterprise: _user), new(1000))).Items, image => image.Id == master.Id);
    }

    [Fact]
    public async Task TakeBackAgainstUse_InAnyOrder_OneWins()
    {
        for (var round = 0; round < 15; round++)
        {
            var (master, appliance) = await Make();
            await Share(master, ImageSharing.AllEnterprises);

            var outcomes = await Task.WhenAll(Code(() => Share(master, ImageSharing.Private)), Code(() => Cluster.AddMachine(appliance, master.Id, "web")));

            var isPrivate = (await Image(master).Get()).Sharing is ImageSharing.Private;
            Assert.Equal(isPrivate ? [null, "image-not-found"] : ["image-in-use", null], outcomes);
            Assert.Equal(isPrivate ? 0 : 1, (await Cluster.Catalogue.UsersOfOthers(master.Id, _owner, 10)).Count);
            Assert.Equal((await Image(master).Get()).ToSpec(), Assert.Single(await Cluster.Layers.ReadManifests(CancellationToken.None), manifest => manifest.Id == master.Id).ToSpec());
            if (!isPrivate) await appliance.RemoveVirtualMachine((await appliance.Get()).VirtualMachines[0]);
        }
    }

    [Fact]
    public async Task Slave_OfASharedMaster_IsItsAppliancesAndOutlivesTheSharing()
    {
        var (master, appliance) = await Make();
        await Share(master, ImageSharing.AllEnterprises);
        await Cluster.AddMachine(appliance, master.Id, "web");
        await Cluster.Deploy(appliance);

        var captured = await Cluster.CreateInstance(appliance, new(UpdateImages: true));
        var slave = await Cluster.Grains.Image(Assert.Single(captured.Result!.Instances!).Image).Get();
        await Share(master, ImageSharing.Private);

        Assert.Equal((_user, master.Id), (slave.Enterprise, slave.Master!.Value));
        Assert.Equal(OperationStatus.Succeeded, (await Cluster.Deploy(appliance)).Status);
        await Cluster.Undeploy(appliance);
        await appliance.Delete();
        foreach (var dryRun in (bool[])[true, false])
        {
            var refused = await Assert.ThrowsAsync<FaultException>(() => Image(master).DeleteWith(cascade: true, dryRun));
            Assert.Equal((FaultKind.Conflict, "master-has-slaves"), (refused.Fault.Kind, refused.Fault.Code));
            Assert.Contains(slave.Id.ToString(), refused.Fault.Message, StringComparison.Ordinal);
        }

        Assert.Equal(ImageStatus.Ready, (await Image(slave).Get()).Status);
        await Image(slave).Delete();
        await Image(master).DeleteWith(cascade: true, dryRun: false);
    }

    [Fact]
    public async Task CreateInstance_WithUpdate_KeepsAPreviousVersionThatIsShared()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        var first = (await scene.CreateInstance(new(UpdateImages: true))).Result!.Instances![0].Image;
        await Share(await scene.Image(first), ImageSharing.AllEnterprises);
        await scene.Deploy();

        var result = (await scene.CreateInstance(new(UpdateImages: true))).Result!;

        Assert.Empty(result.Retired!);
        var kept = Assert.Single(result.Kept!);
        Assert.Equal(first, kept.Image);
        Assert.Contains("shared with all enterprises", kept.Reason, StringComparison.Ordinal);
        Assert.Equal("image-shared", await Code(() => Cluster.Grains.Image(first).Retire(RetirementReason.Retention)));
        await Cluster.Grains.Image(first).Delete();
    }

    private async Task<(ImageView Master, IApplianceGrain Appliance)> Make()
    {
        foreach (var enterprise in new[] { _owner, _user }) await Cluster.Grains.Enterprise(enterprise).Create(new("acme"));
        return (await Cluster.AddMaster(enterprise: _owner), await Cluster.AddAppliance(0, default, enterprise: _user));
    }

    private IImageGrain Image(ImageView image) => Cluster.Grains.Image(image.Id);

    private async Task<ImageView> Share(ImageView image, ImageSharing sharing) => await Image(image).Change((await Image(image).Get()).ToSpec() with { Sharing = sharing }, ifVersion: null);

    private static async Task<string?> Code(Func<Task> call)
    {
        try
        {
            await call();
            return null;
        }
        catch (FaultException exception)
        {
            return exception.Fault.Code;
        }
    }
}
