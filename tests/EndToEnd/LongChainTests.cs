using System.Globalization;
using Instances.Appliances;
using Instances.Client;
using Instances.Library;
using Instances.Testing;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.EndToEnd.Tests;

/// <summary>A running machine is captured repeatedly. The resulting image has a short chain, boots, and can be promoted.</summary>
public sealed class LongChainTests
{
    private const int Boots = 2;
    private const int MaxDepth = 8;

    /// <summary><c>INSTANCES_TEST_CAPTURES=100</c> sets the number of captures.</summary>
    private static readonly int Captures = int.TryParse(Environment.GetEnvironmentVariable("INSTANCES_TEST_CAPTURES"), CultureInfo.InvariantCulture, out var captures) ? captures : 16;

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task CreateInstance_ManyTimesInARow_StaysWithinTheBoundAndBoots()
    {
        await using var data = new DataFolder();
        await using var server = await ServerProcess.Start(data, "--Library:CompactionPeriod=00:00:01");
        var client = server.Client;
        var master = await client.ImportGuest();
        var appliance = await client.CreateAppliance(new("chain"), Stop);
        var machine = await client.AddVirtualMachine(appliance.Id, Guest.Spec("vm", master.Id), Stop);
        await client.Succeeds(await client.Deploy(appliance.Id, Stop));
        var images = new List<ImageId>();
        for (var capture = 0; capture < Captures - 1; capture++)
        {
            if (capture % (Captures / Boots) == 0) await Boot(capture / (Captures / Boots));
            var captured = await client.Succeeds(await client.CreateInstance(appliance.Id, new(Undeploy: false, Quiesce: Quiesce.None), Stop));
            images.Add(Assert.Single(captured.Result!.Instances!).Image);
        }

        await Eventually.Holds(async () => (await client.GetLibraryCompaction(Stop)) is { Running: null, TooDeep: 0 } && await Depth(images[^1]) <= MaxDepth, "all chains are short");
        await DeployOneThatLiesOverAnother();

        var operation = await client.Succeeds(await client.CreateInstance(appliance.Id, new(UpdateImages: true), Stop));
        var image = Assert.Single(operation.Result!.Instances!).Image;
        await Eventually.Holds(async () => (await client.GetLibraryCompaction(Stop)) is { Running: null, TooDeep: 0 } && await Depth(image) <= MaxDepth, "the chain is short");

        await client.Succeeds(await client.Deploy(appliance.Id, Stop));
        Assert.Equal(Boots + 1, await client.WaitForBoot(machine.Id, Boots + 1));
        var compaction = await client.GetLibraryCompaction(Stop);
        Assert.True(compaction.Merges > 0 && compaction.LastFailure is null, $"{compaction}");

        var promoted = await client.Succeeds(await client.PromoteImage(image, "gold", Stop));
        var gold = await client.AddVirtualMachine((await client.CreateAppliance(new("gold"), Stop)).Id, Guest.Spec("gold", promoted.Image!.Value), Stop);
        await client.Succeeds(await client.Deploy(gold.Appliance, Stop));
        Assert.Equal(Boots + 1, await client.WaitForBoot(gold.Id, Boots + 1));
        Assert.Equal((1, ImageKind.Master), (await Depth(promoted.Image.Value), (await client.FindImage(promoted.Image.Value, Stop))!.Kind));

        foreach (var id in new[] { appliance.Id, gold.Appliance }) await client.Succeeds(await client.Undeploy(id, Stop));

        async Task<int> Depth(ImageId id) => (await Layers(id)).Count;

        async Task<IReadOnlyList<LayerManifest>> Layers(ImageId id) => Assert.Single((await client.FindImage(id, Stop))!.Disks).Layers;

        async Task DeployOneThatLiesOverAnother()
        {
            // If each image had its own copies, all these bytes would have been copied.
            var compaction = await client.GetLibraryCompaction(Stop);
            Assert.InRange(compaction.LayersMerged, MaxDepth, Enumerable.Range(MaxDepth, Captures - MaxDepth).Sum() / 2);

            var chains = await Task.WhenAll(images.Select(async image => (Image: image, Layers: await Layers(image))));
            var one = chains.Last(chain => chain.Layers.Count(layer => layer.StandsFor is not null) > 1);
            var other = await client.AddVirtualMachine((await client.CreateAppliance(new("other"), Stop)).Id, Guest.Spec("other", one.Image), Stop);
            await client.Succeeds(await client.Deploy(other.Appliance, Stop));
            Assert.Equal(Boots + 1, await client.WaitForBoot(other.Id, Boots + 1));
            await client.Succeeds(await client.Undeploy(other.Appliance, Stop));
        }

        async Task Boot(int before)
        {
            if (before > 0) await client.Power(machine.Id, PowerAction.Reset, Stop);
            await client.WaitForBoot(machine.Id, before + 1);
        }
    }
}
