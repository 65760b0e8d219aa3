using Instances.Appliances;
using Instances.Library;
using Instances.Testing;
using Xunit;

namespace Instances.EndToEnd.Tests;

/// <summary>Database, layers and machines on one disk, which is full to the last byte.</summary>
public sealed class FullDiskTests
{
    private static readonly string[] Configuration = ["--LayerStore:MinimumFreeBytes=0", "--Host:DiskHeadroomBytes=0"];

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Server_WithNoByteFree_UndeploysDeletesAndRestarts()
    {
        using var disk = SmallDisk.TryMake();
        Assert.SkipWhen(disk is null, "Only root can mount a small disk.");
        ImageView image;
        ApplianceView appliance;
        await using (var server = await ServerProcess.Start(disk.Path, Configuration))
        {
            image = await server.Client.ImportGuest();
            appliance = await server.Client.CreateAppliance(new("shop"), Stop);
            var machine = await server.Client.AddVirtualMachine(appliance.Id, Guest.Spec("web", image.Id), Stop);
            await server.Client.Succeeds(await server.Client.Deploy(appliance.Id, Stop));
            await server.Client.WaitForBoot(machine.Id, atLeast: 1);
            await Eventually.Holds(() => Task.FromResult(new FileInfo(Path.Combine(disk.Path, "instances.db.reserve")) is { Exists: true, Length: > 0 }), "the reserve is there");

            disk.Fill();
            await server.Client.Succeeds(await server.Client.Undeploy(appliance.Id, Stop));
            disk.Fill();
            await server.Stop();
        }

        disk.Fill();
        await using var again = await ServerProcess.Start(disk.Path, Configuration);
        Assert.Equal(ApplianceStatus.Undeployed, (await again.Client.GetAppliance(appliance.Id, Stop)).Status);
        disk.Fill();
        await again.Client.DeleteAppliance(appliance.Id, Stop);
        await again.Client.DeleteImage(image.Id, Stop);
        await Eventually.Holds(() => Task.FromResult(!Directory.EnumerateFiles(Path.Combine(disk.Path, "layers"), "*.qcow2").Any()), "the layers of the image are gone");
    }
}
