using Instances.Client;
using Instances.Library;
using Instances.Testing;
using Xunit;

namespace Instances.EndToEnd.Tests;

/// <summary>Two datacenters with their own databases. One has a manual copy of the other's library.</summary>
public sealed class PeerTests
{
    private const string Simulated = "--Host:Hypervisor=simulated";

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Verify_WithALayerThatTheOtherDatacenterHas_HealsItsImage()
    {
        await using var east = new DataFolder();
        await using var west = new DataFolder();
        var port = Ports.Free();
        var peer = $"http://127.0.0.1:{port}/api/v1/datacenters/local";

        // The first peer does not answer.
        await using var server = await ServerProcess.Start(
            east, Simulated, "--Library:Peers:0:Url=http://127.0.0.1:9/api/v1/datacenters/local", $"--Library:Peers:1:Url={peer}");
        var image = await server.Client.ImportGuest();
        await Verified(server.Client);
        Assert.Null((await server.Client.GetLibraryHealth(Stop)).LastHealing);
        CopyLibrary(east, west);

        await using var other = await ServerProcess.StartAt(port, west, Simulated);
        await other.Client.RebuildLibrary(dryRun: false, Stop);
        await Eventually.Holds(async () => (await other.Client.GetLibraryRebuild(Stop)) is { FinishedAt: not null, Rebuilt: 1 }, "the other datacenter has taken the library over");

        var layer = image.Disks[0].Layers[0].Id;
        var path = Path.Combine(east, "layers", $"{layer}.qcow2");
        var good = await File.ReadAllBytesAsync(path, Stop);

        var bad = (byte[])good.Clone();
        bad[bad.Length / 2] ^= 1;
        File.Delete(path);
        await File.WriteAllBytesAsync(path, bad, Stop);
        File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.GroupRead | UnixFileMode.OtherRead);
        await server.Client.VerifyLibrary(Stop);

        await Eventually.Holds(async () => (await server.Client.GetLibraryHealth(Stop)) is { IsDone: true, Corrupt.Count: 0, LastHealing: not null }, "the layer is repaired");
        Assert.Equal((layer, peer), (await server.Client.GetLibraryHealth(Stop)).LastHealing is { } healing ? (healing.Layer, healing.From) : default);
        Assert.Equal(good, await File.ReadAllBytesAsync(path, Stop));
        Assert.Contains($"The layer {layer} is corrupt", server.Log, StringComparison.Ordinal);
        Assert.Contains($"The corrupt layer {layer} was replaced by the copy of the datacenter {peer}", server.Log, StringComparison.Ordinal);
        await Eventually.Holds(async () => (await server.Client.FindImage(image.Id, Stop))!.Status is ImageStatus.Ready, "the image is Ready again");
    }

    private static async Task Verified(InstancesClient client)
    {
        await client.VerifyLibrary(Stop);
        await Eventually.Holds(async () => (await client.GetLibraryHealth(Stop)) is { IsDone: true, Reading: null }, "every layer was read");
    }

    private static void CopyLibrary(string from, string to)
    {
        var (source, target) = (Path.Combine(from, "layers"), Directory.CreateDirectory(Path.Combine(to, "layers")));
        foreach (var file in Directory.EnumerateFiles(source).Where(file => Path.GetExtension(file) is ".qcow2" or ".json" or ".binding")) File.Copy(file, Path.Combine(target.FullName, Path.GetFileName(file)));
    }
}
