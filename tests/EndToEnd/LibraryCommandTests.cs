using System.Text.Json;
using Instances.Client;
using Instances.Library;
using Instances.Testing;
using Xunit;

namespace Instances.EndToEnd.Tests;

/// <summary>The commands silo library verify and rebuild, against a server on real files.</summary>
public sealed class LibraryCommandTests
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Verify_OfALibraryInWhichAByteHasFlipped_TellsWhichAndSeesWhenItIsPutRight()
    {
        await using var data = new DataFolder();
        await using var server = await ServerProcess.Start(data);
        var client = server.Client;
        var image = await client.ImportGuest();
        var layer = image.Disks[0].Layers[0].Id;
        var path = Path.Combine(data, "layers", $"{layer}.qcow2");
        var address = $"{server.Http.BaseAddress}";

        var (code, output) = await Verify(address);
        Assert.True(code == 0, output);
        Assert.Contains("all are sound", output, StringComparison.Ordinal);

        var good = await File.ReadAllBytesAsync(path, Stop);
        var bad = (byte[])good.Clone();
        bad[bad.Length / 2] ^= 1;
        await Replace(path, bad);
        (code, output) = await Verify(address);
        Assert.True(code == 1, output);
        Assert.Contains($"corrupt  {layer}", output, StringComparison.Ordinal);
        Assert.Contains($"{image.Id}", output, StringComparison.Ordinal);
        await Becomes(client, image.Id, ImageStatus.Corrupt);

        await Replace(path, good);
        (code, output) = await Verify(address);
        Assert.True(code == 0, output);
        await Becomes(client, image.Id, ImageStatus.Ready);
    }

    [Fact]
    public async Task Rebuild_OfALibraryWhoseDatabaseIsLost_BringsItsImagesBack()
    {
        await using var data = new DataFolder();
        string before;
        ImageView slave;
        await using (var server = await ServerProcess.Start(data, "--Host:Hypervisor=simulated"))
        {
            var master = await server.Client.ImportGuest();
            await server.Client.ChangeImage(master.Id, new { Pinned = true, Details = new { Description = "the first" } }, ifVersion: null, Stop);
            var appliance = await server.Client.CreateAppliance(new("shop"), Stop);
            await server.Client.AddVirtualMachine(appliance.Id, Guest.Spec("web", master.Id), Stop);
            await server.Client.Succeeds(await server.Client.Deploy(appliance.Id, Stop));
            var captured = await server.Client.Succeeds(await server.Client.CreateInstance(appliance.Id, new(), Stop));
            slave = (await server.Client.FindImage(captured.Result!.Instances![0].Image, Stop))!;
            before = await Look(server.Client);
            Assert.Equal(slave.Id, (await server.Client.GetLibraryUsage(limit: 10, Stop)).ByImage.Single(image => image is { OwnBytes: > 0, SharedBytes: > 0 }).Id);
        }

        foreach (var file in Directory.EnumerateFiles(data, "instances.db*")) File.Delete(file);
        var files = Files(data);
        await using (var server = await ServerProcess.Start(data, "--Host:Hypervisor=simulated", "--Library:SweepPeriod=00:00:01"))
        {
            var address = $"{server.Http.BaseAddress}";
            Assert.Empty(await server.Client.ListImages(new(), Stop));
            await Eventually.Holds(() => Task.FromResult(server.Log.Contains("silo library rebuild", StringComparison.Ordinal)), "a sweep finds a library that the database does not know");
            Assert.Equal(files, Files(data));

            var (code, output) = await SiloProgram.Run("library", "rebuild", "--url", address, "--dry-run");
            Assert.True(code == 0, output);
            Assert.Contains("2 images would get records", output, StringComparison.Ordinal);
            Assert.Empty(await server.Client.ListImages(new(), Stop));
            (code, output) = await SiloProgram.Run("library", "rebuild", "--url", address);
            Assert.True(code == 0, output);
            Assert.Contains("2 images got records", output, StringComparison.Ordinal);

            Assert.Equal(before, await Look(server.Client));
            await Eventually.Holds(async () => (await server.Client.Examine(fix: false, Stop)).Findings.Count == 0, "nothing is wrong afterwards");
            Assert.Equal(files.Select(file => file.Name), Files(data).Select(file => file.Name));
            var appliance = await server.Client.CreateAppliance(new("again"), Stop);
            await server.Client.AddVirtualMachine(appliance.Id, Guest.Spec("web", slave.Id), Stop);
            await server.Client.Succeeds(await server.Client.Deploy(appliance.Id, Stop));
            (code, output) = await SiloProgram.Run("library", "rebuild", "--url", address);
            Assert.True(code == 0 && output.Contains("0 images got", StringComparison.Ordinal), output);
            await server.Client.Succeeds(await server.Client.Undeploy(appliance.Id, Stop));
        }

        await BreakTheMaster(data, slave.Master!.Value);
        await using (var server = await ServerProcess.Start(data, "--Host:Hypervisor=simulated"))
        {
            var (code, output) = await SiloProgram.Run("library", "rebuild", "--url", $"{server.Http.BaseAddress}");
            Assert.True(code == 1, output);
            Assert.Contains($"manifest-unreadable  {slave.Master}", output, StringComparison.Ordinal);
            Assert.Contains($"master-missing       {slave.Id}", output, StringComparison.Ordinal);
            Assert.Equal(slave.Id, Assert.Single(await server.Client.ListImages(new(), Stop)).Id);
        }
    }

    /// <summary>The database is lost again, and the manifest of the master too.</summary>
    private static async Task BreakTheMaster(string data, ImageId master)
    {
        foreach (var file in Directory.EnumerateFiles(data, "instances.db*")) File.Delete(file);
        var manifest = Path.Combine(data, "layers", $"{master}.json");
        File.Delete(manifest);
        await File.WriteAllTextAsync(manifest, "{", Stop);
    }

    /// <summary>The visible state of images. Versions begin again.</summary>
    private static async Task<string> Look(InstancesClient client) =>
        JsonSerializer.Serialize((await client.ListImages(new(), Stop)).Select(image => image with { Version = 1 }), InstancesJson.Options);

    private static IReadOnlyList<(string Name, long Bytes)> Files(string data) =>
        [.. Directory.EnumerateFiles(Path.Combine(data, "layers")).Where(file => Path.GetExtension(file) is ".qcow2" or ".json").Order(StringComparer.Ordinal).Select(file => (file, new FileInfo(file).Length))];

    private static Task Becomes(InstancesClient client, ImageId image, ImageStatus status) =>
        Eventually.Holds(async () => (await client.FindImage(image, Stop))!.Status == status, $"the image is {status}");

    /// <summary>Sealed layers are read-only.</summary>
    private static async Task Replace(string path, byte[] bytes)
    {
        File.Delete(path);
        await File.WriteAllBytesAsync(path, bytes, Stop);
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.GroupRead | UnixFileMode.OtherRead);
    }

    private static Task<(int Code, string Output)> Verify(string address) => SiloProgram.Run("library", "verify", "--url", address);
}
