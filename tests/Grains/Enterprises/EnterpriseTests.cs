using Instances.Appliances;
using Instances.Catalogue;
using Instances.Enterprises;
using Instances.Faults;
using Instances.Library;
using Instances.Operations;
using Xunit;

namespace Instances.Grains.Tests.Enterprises;

/// <summary>Enterprises: made, changed and deleted; what belongs to them, and what does not.</summary>
public sealed class EnterpriseTests(ClusterFixture fixture) : ClusterTest(fixture)
{
    private readonly EnterpriseId _id = EnterpriseId.New();

    private IEnterpriseGrain Enterprise => Cluster.Grains.Enterprise(_id);

    [Fact]
    public async Task Default_WithoutBeingMade_IsThereFirstInTheListAndCannotGo()
    {
        await Enterprise.Create(new("acme"));

        var listed = await Cluster.Grains.Catalogue().Enterprises(new(1000));
        var view = await Cluster.Grains.Enterprise(EnterpriseId.Default).Get();

        Assert.Equal(EnterpriseId.Default, listed.Items[0].Id);
        Assert.Single(listed.Items, enterprise => enterprise.Id == EnterpriseId.Default);
        Assert.Single(listed.Items, enterprise => enterprise.Id == _id);
        Assert.Equal(("default", EnterpriseQuotas.None), (view.Name, view.Quotas));
        await AssertRefused(() => Cluster.Grains.Enterprise(EnterpriseId.Default).Delete(), FaultKind.Conflict, "enterprise-default");
        await AssertRefused(() => Cluster.Grains.Enterprise(EnterpriseId.Default).Create(new("mine")), FaultKind.Conflict, "enterprise-exists");
    }

    [Fact]
    public async Task Create_Repeated_IsTheSameAndAnotherIsRefused()
    {
        var first = await Enterprise.Create(new("acme", new(Images: 3)));

        Assert.Equal(first, await Enterprise.Create(new(" acme ", new(Images: 3))));
        await AssertRefused(() => Enterprise.Create(new("acme")), FaultKind.Conflict, "enterprise-exists");
        await AssertRefused(() => Cluster.Grains.Enterprise(EnterpriseId.New()).Create(new("")), FaultKind.Invalid, "name-invalid");
        await AssertRefused(() => Cluster.Grains.Enterprise(EnterpriseId.New()).Create(new("x", new(Cpus: -1))), FaultKind.Invalid, "quota-invalid");
        await AssertRefused(() => Cluster.Grains.Enterprise(EnterpriseId.New()).Get(), FaultKind.NotFound, "enterprise-not-found");
    }

    [Fact]
    public async Task Change_OverACrash_IsKeptAndRefusedForAnotherVersion()
    {
        var created = await Enterprise.Create(new("acme"));

        var changed = await Enterprise.Change(new("acme", new(Images: 3)), created.Version);
        await Cluster.Crash();

        Assert.Equal(changed with { Usage = EnterpriseUsage.None }, await Enterprise.Get());
        Assert.Equal((created.Version + 1, created.CreatedAt), (changed.Version, changed.CreatedAt));
        await AssertRefused(() => Enterprise.Change(new("other"), created.Version), FaultKind.Changed, "enterprise-changed");
        Assert.Equal(changed, await Enterprise.Change(new("acme", new(Images: 3)), created.Version));
        Assert.Equal(changed.Version + 1, (await Enterprise.Change(new("other"), ifVersion: null)).Version);
    }

    [Fact]
    public async Task Delete_OfOneThatHasSomething_IsRefusedAndNamesItUntilItIsGone()
    {
        await Enterprise.Create(new("acme"));
        var appliance = await Cluster.AddAppliance(0, default, enterprise: _id);
        var image = await Cluster.AddMaster(enterprise: _id);
        var applianceId = (await appliance.Get()).Id;

        var refused = await AssertRefused(Enterprise.Delete, FaultKind.Conflict, "enterprise-not-empty");
        Assert.Contains(applianceId.ToString(), refused.Message, StringComparison.Ordinal);
        Assert.Contains(image.Id.ToString(), refused.Message, StringComparison.Ordinal);
        await appliance.Delete();
        await AssertRefused(Enterprise.Delete, FaultKind.Conflict, "enterprise-not-empty");
        await Cluster.Grains.Image(image.Id).Delete();
        await Enterprise.Delete();

        await AssertRefused(Enterprise.Get, FaultKind.NotFound, "enterprise-not-found");
        Assert.DoesNotContain((await Cluster.Grains.Catalogue().Enterprises(new(1000))).Items, enterprise => enterprise.Id == _id);
        await AssertRefused(() => Cluster.AddAppliance(0, default, enterprise: _id), FaultKind.NotFound, "enterprise-not-found");
        await AssertRefused(
            () => Cluster.Grains.Image(ImageId.New()).BeginImport(OperationId.New(), new("debian", ImageFormat.Raw, Enterprise: _id)), FaultKind.NotFound, "enterprise-not-found");
    }

    [Fact]
    public async Task Delete_WhileSomethingIsBeingMade_IsRefused()
    {
        await Enterprise.Create(new("acme"));
        var claimant = Guid.NewGuid();

        await Enterprise.Admit(claimant, EnterpriseUsage.None);
        await AssertRefused(Enterprise.Delete, FaultKind.Conflict, "enterprise-busy");
        await Enterprise.Admitted(claimant);

        await Enterprise.Delete();
    }

    [Fact]
    public async Task DeleteAgainstCreationOfAnAppliance_InAnyOrder_LeavesNoApplianceWithoutItsEnterprise()
    {
        for (var round = 0; round < 10; round++)
        {
            var id = EnterpriseId.New();
            await Cluster.Grains.Enterprise(id).Create(new("acme"));
            var appliance = Cluster.Grains.Appliance(ApplianceId.New());

            var outcomes = await Task.WhenAll(Outcome(() => Cluster.Grains.Enterprise(id).Delete()), Outcome(() => appliance.Create(new("shop") { Enterprise = id })));

            var isThere = await Outcome(() => appliance.Get()) is null;
            Assert.Equal(isThere, await Outcome(() => Cluster.Grains.Enterprise(id).Get()) is null);
            Assert.Single(outcomes, outcome => outcome is null);
        }
    }

    [Fact]
    public async Task Appliance_OfAnEnterprise_StaysThereWithItsInstances()
    {
        await Enterprise.Create(new("acme"));
        var master = await Cluster.AddMaster(enterprise: _id);
        var appliance = await Cluster.AddAppliance(1, master.Id, enterprise: _id);
        await Cluster.Deploy(appliance);

        var captured = await Cluster.CreateInstance(appliance, new(UpdateImages: true));

        var view = await appliance.Get();
        var slave = await Cluster.Grains.Image(Assert.Single(captured.Result!.Instances!).Image).Get();
        Assert.Equal((_id, _id, ImageSharing.Private), (view.Enterprise, slave.Enterprise, slave.Sharing));
        Assert.Equal(_id, Assert.Single(await Cluster.Layers.ReadManifests(CancellationToken.None), manifest => manifest.Id == slave.Id).Enterprise);
        Assert.Equal([view.Id], (await Cluster.Catalogue.Appliances(_id, new())).Items.Select(listed => listed.Id));
        await AssertRefused(() => appliance.Change(new("shop")), FaultKind.Invalid, "enterprise-fixed");
        await AssertRefused(() => appliance.Create(new("shop")), FaultKind.Conflict, "appliance-exists");
    }

    [Fact]
    public async Task Import_ForAnEnterprise_IsItsFromTheBeginningOn()
    {
        await Enterprise.Create(new("acme"));
        var image = Cluster.Grains.Image(ImageId.New());

        await image.BeginUpload(OperationId.New(), new("debian", ImageFormat.Raw, Bytes: 1000, Enterprise: _id));

        Assert.Equal(_id, (await image.Get()).Enterprise);
        Assert.Equal(new EnterpriseUsage(LibraryBytes: 1000, Images: 1, Uploads: 1, VirtualBytes: 1000), (await Enterprise.Get()).Usage);
        await image.CancelUpload();
        Assert.Equal(EnterpriseUsage.None, (await Enterprise.Get()).Usage);
    }

    private static async Task<Fault> AssertRefused(Func<Task> call, FaultKind kind, string code)
    {
        var refused = await Assert.ThrowsAsync<FaultException>(call);
        Assert.Equal((kind, code), (refused.Fault.Kind, refused.Fault.Code));
        return refused.Fault;
    }

    private static async Task<string?> Outcome(Func<Task> call)
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
