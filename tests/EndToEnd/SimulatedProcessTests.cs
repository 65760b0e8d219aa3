using Instances.Operations;
using Instances.Testing;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.EndToEnd.Tests;

/// <summary>A process whose hypervisor is simulated: its machines go on without it, as those of QEMU do, and its layers are files.</summary>
public sealed class SimulatedProcessTests
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Machines_WhenTheProcessIsKilled_GoOnAndAreCapturedByTheNext()
    {
        var data = ServerProcess.MakeDataFolder();
        await using (var first = await ServerProcess.Start(data, "--Host:Hypervisor=simulated"))
        {
            var master = await first.Client.ImportGuest();
            var appliance = await first.Client.CreateAppliance(new("shop"), Stop);
            var machine = await first.Client.AddVirtualMachine(appliance.Id, Guest.Spec("web", master.Id), Stop);
            await first.Client.Succeeds(await first.Client.Deploy(appliance.Id, Stop));
            await first.Client.Power(machine.Id, PowerAction.Pause, Stop);
            await first.Kill();

            await using var second = await ServerProcess.Start(data, "--Host:Hypervisor=simulated");
            var found = await second.Client.GetVirtualMachine(machine.Id, Stop);
            Assert.Equal(VirtualMachineStatus.Paused, found.Status);
            var end = await second.Client.Succeeds(await second.Client.CreateInstance(appliance.Id, new(), Stop));

            var image = await second.Client.FindImage(Assert.Single(end.Result!.Instances!).Image, Stop);
            Assert.All(image!.Disks.SelectMany(disk => disk.Layers), layer => Assert.True(File.Exists(Path.Combine(data, "layers", $"{layer.Id}.qcow2")), $"{layer.Id} is a file"));
            Assert.Empty(Directory.EnumerateFiles(Path.Combine(data, "machines")));
        }

        Directory.Delete(data, recursive: true);
    }
}
