using Instances.Faults;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Grains.Tests.Library;

/// <summary>The details of an image, their effect on its machines, and what its slaves inherit.</summary>
public sealed class ImageDetailsTests(ClusterFixture fixture) : ClusterTest(fixture)
{
    private const long MiB = 1L << 20;

    private static readonly ImageDetails Details = new(
        "A shop.", MinCpus: 2, DefaultCpus: 3, MinMemoryBytes: 64 * MiB, DefaultMemoryBytes: 128 * MiB, "web", "cart", "Debian 12", new Dictionary<string, string> { ["env"] = "test" });

    [Fact]
    public async Task Change_OfEverything_StandsInTheRecordTheListAndTheManifest()
    {
        var master = await Cluster.AddMaster();
        var spec = new ImageSpec("renamed", Details, Pinned: true, new(KeepLast: 3));

        var view = await Image(master).Change(spec, master.Version);

        Assert.Equal(spec, view.ToSpec());
        Assert.Equal(master.Version + 1, view.Version);
        Assert.Equal(spec, (await Image(master).Get()).ToSpec());
        Assert.Equal(spec, Assert.Single((await Cluster.Catalogue.Images(new(Search: "RENAMED"), new())).Items, image => image.Id == master.Id).ToSpec());
        Assert.Equal(spec, (await Manifest(master)).ToSpec());
    }

    [Fact]
    public async Task Change_ForAnotherVersion_IsRefusedAndNothingIsWritten()
    {
        var master = await Cluster.AddMaster();
        var changed = await Image(master).Change(new("mine", Details), master.Version);

        var refused = await Assert.ThrowsAsync<FaultException>(() => Image(master).Change(new("theirs"), master.Version));

        Assert.Equal((FaultKind.Changed, "image-changed"), (refused.Fault.Kind, refused.Fault.Code));
        Assert.Equal(("mine", changed.Version), ((await Image(master).Get()).Name, (await Image(master).Get()).Version));
        Assert.Equal("mine", (await Manifest(master)).Name);
        Assert.Equal(changed.Version, (await Image(master).Change(new("mine", Details), master.Version)).Version);
    }

    [Fact]
    public async Task Change_OfTwoAtOnceForTheSameVersion_ExactlyOneWins()
    {
        for (var round = 0; round < 10; round++)
        {
            var master = await Cluster.AddMaster();

            var outcomes = await Task.WhenAll(new[] { "a", "b" }.Select(async name =>
            {
                try
                {
                    return (await Image(master).Change(new(name), master.Version)).Name;
                }
                catch (FaultException exception)
                {
                    return exception.Fault.Code;
                }
            }));

            var winner = Assert.Single(outcomes, outcome => outcome != "image-changed");
            Assert.Equal((winner, winner), ((await Image(master).Get()).Name, (await Manifest(master)).Name));
        }
    }

    [Fact]
    public async Task Change_InterruptedBehindTheManifest_IsFoundAndRepairedByTheDoctor()
    {
        var master = await Cluster.AddMaster();
        await Cluster.Layers.WriteManifest(await Manifest(master) with { Name = "half", Details = Details });

        var report = await Cluster.Grains.GetGrain<Instances.Doctor.IDoctorGrain>(Instances.Doctor.IDoctorGrain.Key).Examine(fix: true);

        var finding = Assert.Single(report.Findings, finding => finding.Code == "image-manifest-differs");
        Assert.True(finding.Fixed);
        Assert.Equal(master.ToSpec(), (await Manifest(master)).ToSpec());
    }

    [Fact]
    public async Task AddMachine_ThatNamesNoSize_GetsTheDefaultsOfTheImage()
    {
        var master = await Described();
        var appliance = await Cluster.AddAppliance(0, master.Id);

        var defaulted = await appliance.AddVirtualMachine(VirtualMachineId.New(), new("a", master.Id));
        var named = await appliance.AddVirtualMachine(VirtualMachineId.New(), new("b", master.Id, Cpus: 2, MemoryBytes: 64 * MiB));

        Assert.Equal((3, 128 * MiB), (defaulted.EffectiveCpus, defaulted.EffectiveMemoryBytes));
        Assert.Equal((2, 64 * MiB), (named.EffectiveCpus, named.EffectiveMemoryBytes));
        Assert.Equal(OperationStatus.Succeeded, (await Cluster.Deploy(appliance)).Status);
        Assert.Equal((3, 128 * MiB), (Cluster.Host.Machines[defaulted.Id].Observe().Cpus, Cluster.Host.Machines[defaulted.Id].Observe().MemoryBytes));
    }

    [Fact]
    public async Task AddMachine_ThatNamesNoSizeOnAnImageWithAMinimumAlone_GetsTheMinimum()
    {
        var master = await Cluster.AddMaster();
        await Image(master).Change(new("big", new ImageDetails(MinCpus: 4, MinMemoryBytes: 512 * MiB)), ifVersion: null);
        var appliance = await Cluster.AddAppliance(0, master.Id);

        var machine = await appliance.AddVirtualMachine(VirtualMachineId.New(), new("a", master.Id));

        Assert.Equal((4, 512 * MiB), (machine.EffectiveCpus, machine.EffectiveMemoryBytes));
    }

    [Theory]
    [InlineData(1, 64L << 20)]
    [InlineData(2, 63L << 20)]
    public async Task AddMachine_BelowTheMinimum_IsRefusedAndLeavesNothing(int cpus, long memoryBytes)
    {
        var master = await Described();
        var appliance = await Cluster.AddAppliance(0, master.Id);

        var refused = await Assert.ThrowsAsync<FaultException>(() => appliance.AddVirtualMachine(VirtualMachineId.New(), new("a", master.Id, cpus, memoryBytes)));

        Assert.Equal((FaultKind.Invalid, "virtual-machine-too-small"), (refused.Fault.Kind, refused.Fault.Code));
        Assert.Empty((await appliance.Get()).VirtualMachines);
        Assert.Empty(await Cluster.Catalogue.UsersOf(master.Id, 1));
    }

    [Fact]
    public async Task Deploy_OfAMachineBelowAMinimumThatCameLater_IsRefused()
    {
        var scene = await Scene.Undeployed(Cluster, machines: 2);
        await Image(scene.Master).Change(scene.Master.ToSpec() with { Details = Details }, ifVersion: null);

        await scene.AssertRefused(() => scene.Deploy(), FaultKind.Invalid, "virtual-machine-too-small", "vm0");
        await scene.AssertRestsUndeployed();
    }

    [Fact]
    public async Task CreateInstance_OfAMachine_InheritsTheDetailsOfItsImageAndNothingElse()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        await Image(scene.Master).Change(new("debian", new ImageDetails("A shop.", Category: "web", Labels: new Dictionary<string, string> { ["env"] = "test" }), Pinned: true, new(KeepLast: 9)), ifVersion: null);

        var slave = (await Cluster.CreateInstance(scene.Appliance, new(UpdateImages: true))).Result!.Instances!.Single().Image;
        await scene.Deploy();
        await Image(await scene.Image(slave)).Change((await scene.Image(slave)).ToSpec() with { Details = new("Its own.") }, ifVersion: null);
        var grandchild = await scene.Image((await Cluster.CreateInstance(scene.Appliance, new())).Result!.Instances!.Single().Image);

        var manifest = Assert.Single(await Cluster.Layers.ReadManifests(CancellationToken.None), manifest => manifest.Id == slave);
        Assert.Equal((false, null), (manifest.Pinned, manifest.Retention));
        Assert.Equal(("Its own.", null), (grandchild.Details.Description, grandchild.Details.Category));
    }

    private IImageGrain Image(ImageView image) => Cluster.Grains.Image(image.Id);

    private async Task<ImageManifest> Manifest(ImageView image) => Assert.Single(await Cluster.Layers.ReadManifests(CancellationToken.None), manifest => manifest.Id == image.Id);

    private async Task<ImageView> Described()
    {
        var master = await Cluster.AddMaster();
        return await Image(master).Change(master.ToSpec() with { Details = Details }, ifVersion: null);
    }
}
