using System.Diagnostics;
using System.Formats.Tar;
using System.Security.Cryptography;
using Instances.Client;
using Instances.Library;
using Instances.Operations;
using Instances.Testing;
using Xunit;

namespace Instances.EndToEnd.Tests;

/// <summary>Images that leave the datacenter through a gateway and come back.</summary>
public sealed class ExportTests(SimulatedDatacenter datacenter) : IClassFixture<SimulatedDatacenter>
{
    private const int ImageBytes = 96 << 20;

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    private ProcessCluster Cluster => datacenter.Cluster;

    /// <summary>The digest of a raw export is that of the disk.</summary>
    [Theory]
    [InlineData(ExportFormat.Qcow2, ExportCompression.Zstd), InlineData(ExportFormat.Raw, null), InlineData(ExportFormat.Vmdk, null), InlineData(ExportFormat.Vhdx, null)]
    public async Task Export_OfAnInstance_ComesBackAsTheSameDisk(ExportFormat format, ExportCompression? compression)
    {
        var slave = await CreateInstance(dataDisks: []);
        var disk = await Cluster.Client.ExportImage(slave.Id, ExportFormat.Raw, compression: null, Stream.Null, Stop);
        var file = new MemoryStream();

        var exported = await Cluster.Client.ExportImage(slave.Id, format, compression, file, Stop);

        Assert.StartsWith($"{slave.Name}.{format}".ToLowerInvariant(), exported.FileName, StringComparison.Ordinal);
        var back = await Cluster.Client.Succeeds(await Cluster.Client.UploadImage("back", Enum.Parse<ImageFormat>(format.ToString()), file, exported.Sha256, Stop));
        Assert.Equal(disk.Sha256, (await Cluster.Client.ExportImage(back.Image!.Value, ExportFormat.Raw, compression: null, Stream.Null, Stop)).Sha256);
        Assert.Equal(slave.Disks[0].VirtualSizeBytes, disk.Bytes);
    }

    [Fact]
    public async Task Export_OfAnInstanceWithDataDisks_HasAllOfThem()
    {
        var slave = await CreateInstance(dataDisks: [64 << 20, 32 << 20]);
        var file = new MemoryStream();

        var exported = await Cluster.Client.ExportImage(slave.Id, ExportFormat.Raw, compression: null, file, Stop);

        Assert.Equal(($"{slave.Name}.tar", exported.Bytes), await Cluster.Client.DescribeExport(slave.Id, ExportFormat.Raw, compression: null, Stop));
        file.Position = 0;
        await using var archive = new TarReader(file);
        foreach (var (index, disk) in slave.Disks.Index())
        {
            var entry = await archive.GetNextEntryAsync(copyData: false, Stop);
            Assert.Equal(($"{slave.Name}-disk{index}.raw", disk.VirtualSizeBytes), (entry!.Name, entry.Length));
        }

        Assert.Null(await archive.GetNextEntryAsync(copyData: false, Stop));
    }

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
            return false; // It has ended: somebody else's.
        }
    }

    private async Task<ImageView> CreateInstance(long[] dataDisks)
    {
        var client = Cluster.Client;
        var master = (await client.ListImages(new(Name: "tiny-linux"), Stop)).Single();
        var appliance = await client.CreateAppliance(new($"export-{Guid.NewGuid():N}"), Stop);
        await client.AddVirtualMachine(appliance.Id, Guest.Spec("web", master.Id, dataDisks), Stop);
        await client.Succeeds(await client.Deploy(appliance.Id, Stop));
        var operation = await client.Succeeds(await client.CreateInstance(appliance.Id, new(Quiesce: Appliances.Quiesce.None), Stop));
        return (await client.FindImage(operation.Result!.Instances!.Single().Image, Stop))!;
    }

    /// <summary>Does something when the first bytes have come.</summary>
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
