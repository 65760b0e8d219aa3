using System.Text.Json;
using Instances.Appliances;
using Instances.Hosting;
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
        await using var cluster = await ProcessCluster.Start(controls: 1, [new("host-1")], gateways: 1, everywhere: ["--Library:SweepPeriod=00:00:01"]);
        var (client, gateway) = (cluster.Client, $"{cluster.Gateways[0].Address}");
        var master = await client.ImportGuest();
        await client.ChangeImage(master.Id, new { Pinned = true, Details = new { Description = "the first" } }, ifVersion: null, Stop);
        var slave = Assert.Single((await client.Succeeds(await client.CreateInstance(await Deployed("shop", master.Id), new(), Stop))).Result!.Instances!).Image;
        var (before, owned) = (await Look(), await FilesOfImages());
        Assert.Equal(slave, (await client.GetLibraryUsage(limit: 10, Stop)).ByImage.Single(image => image is { OwnBytes: > 0, SharedBytes: > 0 }).Id);

        foreach (var silo in cluster.Silos) await silo.Stop();
        await cluster.EmptyDatabase();
        var files = Files();
        foreach (var silo in cluster.Silos) silo.Start();
        foreach (var silo in cluster.Silos) await silo.Ready();

        Assert.Empty(await client.ListImages(new(), Stop));
        await Eventually.Holds(
            async () => (await client.Examine(fix: true, Stop)).Findings.Any(finding => finding.Code == "library-unknown-to-database"), "the doctor finds that the library is unknown");
        await Eventually.Holds(() => Task.FromResult(File.ReadAllText(cluster.Controls[0].LogPath).Contains("silo library rebuild", StringComparison.Ordinal)), "a sweep finds the same");
        var (code, output) = await Rebuild(dryRun: true);
        Assert.True(code == 0, output);
        Assert.Contains("2 images would get records", output, StringComparison.Ordinal);
        Assert.Empty(await client.ListImages(new(), Stop));
        Assert.Equal(files, Files());

        (code, output) = await SiloProgram.Run("library", "rebuild", "--url", gateway);
        Assert.True(code == 0, output);
        Assert.Contains("2 images got records", output, StringComparison.Ordinal);

        Assert.Equal(before, await Look());
        await Eventually.Holds(async () => (await client.Examine(fix: false, Stop)).Findings.Count == 0, "nothing is wrong afterwards");

        // Sweeps delete files again, but none of an image.
        await Eventually.Holds(() => Task.FromResult(owned.SequenceEqual(Files())), "the library has the files of its images, and no others");
        var again = await Deployed("again", slave);
        (code, output) = await Rebuild(dryRun: false);
        Assert.True(code == 0 && output.Contains("0 images got", StringComparison.Ordinal), output);
        await client.Succeeds(await client.Undeploy(again, Stop));

        Task<(int Code, string Output)> Rebuild(bool dryRun) =>
            SiloProgram.RunHere((output, errors) => LibraryCommand.Rebuild(new(gateway), null, dryRun, json: false, output, errors, Stop));

        async Task<ApplianceId> Deployed(string name, ImageId image)
        {
            var appliance = await client.CreateAppliance(new(name), Stop);
            await client.AddVirtualMachine(appliance.Id, Guest.Spec("web", image), Stop);
            await client.Succeeds(await client.Deploy(appliance.Id, Stop));
            return appliance.Id;
        }

        // What people see of images. How often one was changed begins anew.
        async Task<string> Look() => JsonSerializer.Serialize((await client.ListImages(new(), Stop)).Select(image => image with { Version = 1 }), InstancesJson.Options);

        async Task<IReadOnlyList<string>> FilesOfImages() => [.. (await client.ListImages(new(), Stop))
            .SelectMany(image => image.Disks.SelectMany(disk => disk.Layers).Select(layer => $"{layer.Id}.qcow2").Append($"{image.Id}.json")).Distinct().Order(StringComparer.Ordinal)];

        IReadOnlyList<string> Files() => [.. Directory.EnumerateFiles(Path.Combine(cluster.DataOf("control-1"), "layers")).Where(file => Path.GetExtension(file) is ".qcow2" or ".json")
            .Select(file => Path.GetFileName(file)).Order(StringComparer.Ordinal)];
    }
}
