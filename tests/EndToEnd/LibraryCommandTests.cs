using Instances.Client;
using Instances.Library;
using Instances.Testing;
using Xunit;

namespace Instances.EndToEnd.Tests;

/// <summary>What somebody runs who does not trust a disk, against a server on real files.</summary>
public sealed class LibraryCommandTests
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Verify_OfALibraryInWhichAByteHasFlipped_TellsWhichAndSeesWhenItIsPutRight()
    {
        var data = ServerProcess.MakeDataFolder();
        try
        {
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
        finally
        {
            Directory.Delete(data, recursive: true);
        }
    }

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
