using System.Text.Json;
using Instances.Library;
using Instances.Testing;
using Xunit;

namespace Instances.EndToEnd.Tests;

/// <summary>A datacenter of several processes loses the content of its PostgreSQL database, but keeps its library's files.</summary>
public sealed class LostDatabaseTests
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Rebuild_OfAClusterWhoseDatabaseIsEmpty_BringsItsImagesBackAndTheyDeploy()
    {
        await using var cluster = await ProcessCluster.Start(controls: 1, [new("host-1")], everywhere: ["--Library:SweepPeriod=00:00:01"]);
        var master = await cluster.Client.ImportGuest();
        var appliance = await cluster.Client.CreateAppliance(new("shop"), Stop);
        await cluster.Client.AddVirtualMachine(appliance.Id, Guest.Spec("web", master.Id), Stop);
        await cluster.Client.Succeeds(await cluster.Client.Deploy(appliance.Id, Stop));
        var captured = await cluster.Client.Succeeds(await cluster.Client.CreateInstance(appliance.Id, new(), Stop));
        var before = await Look(cluster);

        foreach (var silo in cluster.Silos) await silo.Stop();
        await cluster.EmptyDatabase();
        foreach (var silo in cluster.Silos) silo.Start();
        foreach (var silo in cluster.Silos) await silo.Ready();
        Assert.Empty(await cluster.Client.ListImages(new(), Stop));
        await Eventually.Holds(
            async () => (await cluster.Client.Examine(fix: true, Stop)).Findings.Any(finding => finding.Code == "library-unknown-to-database"), "the doctor finds that the library is unknown");

        await cluster.Client.RebuildLibrary(dryRun: false, Stop);
        await Eventually.Holds(async () => (await cluster.Client.GetLibraryRebuild(Stop)) is { FinishedAt: not null, Rebuilt: 2, LeftOut: 0 }, "the rebuild ends");

        Assert.Equal(before, await Look(cluster));
        await Eventually.Holds(async () => (await cluster.Client.Examine(fix: false, Stop)).Findings.Count == 0, "nothing is wrong afterwards");
        var again = await cluster.Client.CreateAppliance(new("again"), Stop);
        await cluster.Client.AddVirtualMachine(again.Id, Guest.Spec("web", captured.Result!.Instances![0].Image), Stop);
        await cluster.Client.Succeeds(await cluster.Client.Deploy(again.Id, Stop));
    }

    private static async Task<string> Look(ProcessCluster cluster) => JsonSerializer.Serialize(await cluster.Client.ListImages(new(), Stop), InstancesJson.Options);
}
