using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.Simulation;
using Instances.Testing;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Grains.Tests.Hosts;

/// <summary>A machine that is captured again and again without being undeployed keeps a bounded chain.</summary>
public sealed class MachineMergeTests(ClusterFixture fixture) : ClusterTest(fixture)
{
    /// <summary>With the base and without the top.</summary>
    private int MaxSealed => 2 * Cluster.Library.MaxChainDepth;

    [Fact]
    public async Task CreateInstance_ManyTimesWithoutUndeployment_MachineKeepsABoundedChain()
    {
        var scene = await Scene.Deployed(Cluster, machines: 2, disks: 2);
        for (var capture = 0; capture < MaxSealed + 4; capture++) await Capture(scene, machines: 2);

        await IsShort(scene);
        Assert.All((await scene.Machines()).SelectMany(machine => machine.Disks).SelectMany(disk => disk.Layers.SkipLast(1)), layer => Assert.True(Cluster.Layers.Layers[layer]));
        await scene.AssertRestsDeployed();

        await scene.AssertInstances(await scene.CreateInstance(new(UpdateImages: true)), 2);
        Assert.Equal(OperationStatus.Succeeded, (await scene.Deploy()).Status);
        await scene.AssertRestsDeployed();
        await scene.Undeploy();
        await scene.AssertRestsUndeployed();
    }

    [Fact]
    public async Task Merge_CaptureComesBetween_GoesOverWhatWasMade()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        Cluster.Layers.HoldMerges();
        for (var capture = 0; capture < MaxSealed; capture++) await Capture(scene, machines: 1);
        await Eventually.Holds(async () => (await Cluster.Catalogue.ReferencedLayers()).Any(layer => !Cluster.Layers.Contains(layer)), "a merge is under way");
        var merging = (await Cluster.Catalogue.ReferencedLayers()).Single(layer => !Cluster.Layers.Contains(layer));

        await Capture(scene, machines: 1);
        Cluster.Layers.ReleaseMerges();

        await IsShort(scene);
        var disk = Assert.Single((await scene.Machines())[0].Disks);
        Assert.Equal(merging, disk.Layers[^3]);
        await scene.AssertRestsDeployed();
        await scene.Undeploy();
    }

    [Fact]
    public async Task Merge_QemuCannotReadMergedLayers_IsSkippedUntilItCan()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        Cluster.Host.CanReplaceLayers = false;
        for (var capture = 0; capture < MaxSealed + 1; capture++) await Capture(scene, machines: 1);
        await Asked(1);
        await Capture(scene, machines: 1);
        await Asked(2);
        Assert.Equal(MaxSealed + 4, Assert.Single((await scene.Machines())[0].Disks).Layers.Count);
        Assert.All(await Cluster.Catalogue.ReferencedLayers(), layer => Assert.True(Cluster.Layers.Contains(layer)));

        Cluster.Host.CanReplaceLayers = true;
        await Capture(scene, machines: 1);
        await IsShort(scene);
        await scene.Undeploy();

        Task Asked(int times) => Eventually.Holds(
            () => Task.FromResult(Cluster.Host.Journal.Count(entry => entry.Call is SimulatedCall.CanReplaceLayers) >= times), $"the host was asked {times} times");
    }

    [Fact]
    public async Task Merge_AnswerOfTheHostIsLost_RecordComesToTheNewChain()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        Cluster.Host.LoseNextAnswer(SimulatedCall.ReplaceLayers);
        for (var capture = 0; capture < MaxSealed; capture++) await Capture(scene, machines: 1);
        await Eventually.Holds(() => Task.FromResult(Cluster.Host.Machines.Values.Any(machine => machine.Disks[0].Layers.Count <= MaxSealed)), "the host has the new chain");

        await Capture(scene, machines: 1);

        await IsShort(scene);
        await scene.AssertRestsDeployed();
        await scene.Undeploy();
        await scene.AssertRestsUndeployed();
    }

    [Fact]
    public async Task Merge_MachineIsLost_IsGivenUpAtOnce()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        var host = new HostId(Cluster.HostOptions.Name);
        var machine = Assert.Single(await scene.Machines());
        Cluster.Host.Machines.TryGetValue(machine.Id, out var simulated);
        var merge = new LayerMerge(LayerId.New(), [.. machine.Disks[0].Layers.SkipLast(1)], 0);
        Assert.True(await scene.Machine(machine.Id).BeginMerge(host, simulated!.Spec.Deployment, [merge.Merged]));
        Cluster.Host.Machines.TryRemove(machine.Id, out _);
        await scene.Machine(machine.Id).LoseSight(host);

        Assert.Equal(MergeVerdict.Gone, await scene.Machine(machine.Id).CompleteMerge(host, simulated.Spec.Deployment, merge));

        Assert.False(await scene.Machine(machine.Id).BeginMerge(host, simulated.Spec.Deployment, [merge.Merged]));
        await scene.Undeploy();
    }

    private static async Task Capture(Scene scene, int machines) => await scene.AssertInstances(await scene.CreateInstance(new(Undeploy: false)), machines);

    private Task IsShort(Scene scene) => Eventually.Holds(
        async () => (await scene.Machines()).SelectMany(machine => machine.Disks).All(disk => disk.Layers.Count - 1 <= MaxSealed),
        "all chains are short");
}
