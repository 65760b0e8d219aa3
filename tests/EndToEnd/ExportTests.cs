using System.Diagnostics;
using System.Security.Cryptography;
using Instances.Client;
using Instances.Library;
using Instances.Operations;
using Instances.Testing;
using Xunit;

namespace Instances.EndToEnd.Tests;

/// <summary>Exports through a gateway whose processes die.</summary>
[Collection(nameof(SimulatedDatacenter))]
public sealed class ExportTests(SimulatedDatacenter datacenter)
{
    private const int ImageBytes = 96 << 20;

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    private ProcessCluster Cluster => datacenter.Cluster;

    [Fact]
    public async Task Export_WhoseGatewayOrLibraryIsKilledInTheMiddle_BreaksOffAndLeavesNothing()
    {
        var bytes = RandomNumberGenerator.GetBytes(ImageBytes);
        var import = await Cluster.Client.Succeeds(await Cluster.Client.UploadImage("noise", ImageFormat.Raw, new MemoryStream(bytes), sha256: null, Stop));
        var (gateway, library, image) = (Cluster.Gateways[0], Cluster.Controls[0], import.Image!.Value);

        await BreaksOff(gateway.Kill);
        gateway.Start();
        await gateway.Ready();

        IReadOnlyList<int> programs = [];
        await BreaksOff(async () =>
        {
            programs = [.. Process.GetProcessesByName("zstd").Where(IsOfLibrary).Select(process => process.Id)];
            await library.Kill();
        });
        Assert.Single(programs);
        await Eventually.Holds(() => Task.FromResult(!Directory.Exists($"/proc/{programs[0]}")), "the program that compressed has ended");
        library.Start();
        await library.Ready();

        var exported = await Cluster.Client.ExportImage(image, ExportFormat.Raw, compression: null, Stream.Null, Stop);
        Assert.Equal((ImageBytes, Convert.ToHexStringLower(SHA256.HashData(bytes))), ((int)exported.Bytes, exported.Sha256));

        async Task BreaksOff(Func<Task> kill)
        {
            using var http = new HttpClient { BaseAddress = gateway.Address, Timeout = Timeout.InfiniteTimeSpan };
            await Assert.ThrowsAnyAsync<IOException>(() => new InstancesClient(http).ExportImage(image, ExportFormat.Raw, ExportCompression.Zstd, new KillingStream(kill), Stop));
        }
    }

    private bool IsOfLibrary(Process process)
    {
        try
        {
            var parent = File.ReadAllText($"/proc/{process.Id}/stat").Split(") ")[1].Split(' ')[1];
            return File.ReadAllText($"/proc/{parent}/cmdline").Contains(Cluster.DataOf("control-1"), StringComparison.Ordinal);
        }
        catch (IOException)
        {
            return false; // The process has ended: it is not ours.
        }
    }

    /// <summary>Runs an action when the first bytes have arrived.</summary>
    private sealed class KillingStream(Func<Task> kill) : MemoryStream
    {
        private bool _hasKilled;

        public override async ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default)
        {
            if (_hasKilled) return;
            _hasKilled = true;
            await kill();
        }
    }
}
