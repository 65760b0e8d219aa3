using CsCheck;
using Instances.Appliances;
using Instances.Library;
using Xunit;

namespace Instances.Grains.Tests.Appliances;

/// <summary>After any sequence of actions on an appliance, its chains and those of its images are valid.</summary>
public sealed class ChainPropertyTests(ClusterFixture fixture) : ClusterTest(fixture)
{
    private const int Sequences = 25;

    private enum Act
    {
        Deploy,
        Undeploy,
        Capture,
        CaptureAndGoOn,
        CaptureAndUpdate,
        CaptureThatFailsBehindTheSeal,
    }

    [Fact]
    public Task Chains_AfterAnySequenceOfOperations_AreWholeAndOwned() =>
        Gen.Enum<Act>().List[1, 10].SampleAsync(Holds, iter: Sequences, threads: 1);

    private async Task Holds(List<Act> acts)
    {
        var scene = await Scene.Undeployed(Cluster, machines: 2, disks: 2, dataDisks: 1);
        foreach (var act in acts)
        {
            await Do(scene, act);
            await AssertChains(scene);
        }

        if ((await scene.Appliance.Get()).Status is ApplianceStatus.Deployed) await scene.Undeploy();
        await scene.AssertNothingWithoutOwner();
    }

    private async Task Do(Scene scene, Act act)
    {
        var isDeployed = (await scene.Appliance.Get()).Status is ApplianceStatus.Deployed;
        if (act is Act.Deploy == isDeployed) return;
        switch (act)
        {
            case Act.Deploy:
                await scene.Deploy();
                break;
            case Act.Undeploy:
                await scene.Undeploy();
                break;
            case Act.Capture:
                await scene.CreateInstance(new());
                break;
            case Act.CaptureAndGoOn:
                await scene.CreateInstance(new(Undeploy: false));
                break;
            case Act.CaptureAndUpdate:
                await scene.CreateInstance(new(UpdateImages: true));
                break;
            case Act.CaptureThatFailsBehindTheSeal:
                Cluster.Probe.FailBefore = "publish";
                await scene.CreateInstance(new());
                break;
        }
    }

    private async Task AssertChains(Scene scene)
    {
        var machines = await scene.Machines();
        foreach (var machine in machines)
        {
            var image = await scene.Image(machine.Image);
            if (machine.Host is null) continue;
            Assert.Equal(Cluster.Host.Machines[machine.Id].Disks.Select(disk => disk.Layers.ToArray()), machine.Disks.Select(disk => disk.Layers.ToArray()));
            foreach (var (disk, base_) in machine.Disks.Zip(image.Disks)) Assert.Equal(base_.ToChain().Layers, disk.Layers.Take(base_.Layers.Count));
            Assert.All(machine.Disks, disk => Assert.Equal(disk.Layers.Count, disk.Layers.Distinct().Count()));
            Assert.All(machine.Disks.SelectMany(disk => disk.Layers), layer => Assert.True(Cluster.Layers.Contains(layer)));
        }

        // A writable top belongs to one disk only.
        var tops = machines.SelectMany(machine => machine.Disks).Select(disk => disk.Layers[^1]).ToList();
        Assert.Equal(tops.Count, tops.Distinct().Count());
        foreach (var manifest in await Cluster.Layers.ReadManifests(CancellationToken.None)) AssertChain(manifest);
        Assert.DoesNotContain(await Cluster.Layers.ReadManifests(CancellationToken.None), manifest => manifest.Disks.Any(disk => tops.Contains(disk.Layers[^1].Id)));
    }

    private void AssertChain(ImageManifest manifest) => Assert.All(manifest.Disks, disk =>
    {
        Assert.Null(disk.Layers[0].Parent);
        Assert.Equal(disk.Layers.SkipLast(1).Select(layer => (LayerId?)layer.Id), disk.Layers.Skip(1).Select(layer => layer.Parent));
        Assert.All(disk.Layers, layer => Assert.True(Cluster.Layers.Layers[layer.Id], "a layer of an image is sealed"));
    });
}
