using System.Security.Cryptography;
using Instances.Client;
using Instances.Library;
using Instances.Operations;
using Instances.Testing;
using Xunit;

namespace Instances.EndToEnd.Tests;

/// <summary>An upload in parts continues after a process on its way dies.</summary>
[Collection(nameof(SimulatedDatacenter))]
public sealed class UploadTests(SimulatedDatacenter datacenter)
{
    private const int ImageBytes = 96 << 20;

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    private ProcessCluster Cluster => datacenter.Cluster;

    [Fact]
    public async Task Upload_WhoseGatewayAndThenWhoseLibraryAreKilledInTheMiddle_ArrivesWhole()
    {
        var bytes = RandomNumberGenerator.GetBytes(ImageBytes);
        var sha256 = Convert.ToHexStringLower(SHA256.HashData(bytes));
        using var pool = GatewayPool.CreateClient([.. Cluster.Gateways.Select(gateway => gateway.Address)]);
        await using var stream = new SteppedStream(bytes, [
            (ImageBytes / 4, Cluster.Gateways[0].Kill),
            (ImageBytes / 2, async () =>
            {
                await Cluster.Controls[0].Kill();
                Cluster.Controls[0].Start();
                await Cluster.Controls[0].Ready();
            }),
        ]);

        var operation = await new InstancesClient(pool).UploadImage("disk", ImageFormat.Raw, stream, sha256, Stop);
        var ended = await new InstancesClient(pool).End(operation);

        Assert.Equal((OperationStatus.Succeeded, null), (ended.Status, ended.Fault?.Message));
        Assert.Equal(0, stream.StepsLeft);
        var image = await new InstancesClient(pool).FindImage(ended.Image!.Value, Stop);
        Assert.Equal((ImageStatus.Ready, sha256, ImageBytes), (image!.Status, image.Import!.Sha256, (int)image.Import.Bytes));
        Cluster.Gateways[0].Start();
        await Cluster.Gateways[0].Ready();
    }

    /// <summary>Runs an action when it is first read up to a place.</summary>
    private sealed class SteppedStream(byte[] bytes, (int At, Func<Task> Do)[] steps) : MemoryStream(bytes)
    {
        private int _done;

        public int StepsLeft => steps.Length - _done;

        public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
        {
            if (_done < steps.Length && Position >= steps[_done].At) await steps[_done++].Do();
            return await base.ReadAsync(buffer, cancellationToken);
        }
    }
}
