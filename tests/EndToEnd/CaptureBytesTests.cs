using System.Globalization;
using Instances.Appliances;
using Instances.Operations;
using Instances.Testing;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.EndToEnd.Tests;

/// <summary>The cost of a capture does not grow with the disk, according to the kernel's counters of the processes. Afterwards the doctor finds no problem.</summary>
public sealed class CaptureBytesTests
{
    private const long DiskBytes = 20L << 30;
    private const long ChangedBytes = 64L << 20;

    /// <summary>Two empty layers, their metadata, a manifest and a few rows in the database, and what an idle guest writes meanwhile.</summary>
    private const long Allowance = 8L << 20;

    [Fact]
    public async Task CreateInstance_OfALargeChangedDisk_ReadsAndWritesNoDiskData()
    {
        await using var data = new DataFolder();
        await using var server = await ServerProcess.Start(data);
        var client = server.Client;
        var master = await client.ImportGuest();
        var appliance = await client.CreateAppliance(new("large"), TestContext.Current.CancellationToken);
        var spec = Guest.Spec("writer", master.Id, DiskBytes) with { UserData = Guest.WriteScattered("/dev/vdb", DiskBytes, (int)(ChangedBytes >> 20)) };
        var machine = await client.AddVirtualMachine(appliance.Id, spec, TestContext.Current.CancellationToken);
        await client.Succeeds(await client.Deploy(appliance.Id, TestContext.Current.CancellationToken));
        await client.WaitForLine(machine.Id, Guest.ChangesDone);

        var guest = Assert.Single(new GuestProcesses(data).Ids());
        var before = (Guest: Io(guest), Server: Io(server.Id));
        var operation = await client.Succeeds(await client.CreateInstance(appliance.Id, new(Undeploy: false, Quiesce: Quiesce.None), TestContext.Current.CancellationToken));
        var after = (Guest: Io(guest), Server: Io(server.Id));

        var image = await client.FindImage(Assert.Single(operation.Result!.Instances!).Image, TestContext.Current.CancellationToken);
        Assert.True(image!.Bytes >= ChangedBytes, $"the image holds {image.Bytes} bytes of changes");
        Assert.Equal(2, image.Disks.Count);
        var moved = after.Guest - before.Guest + (after.Server - before.Server);
        Assert.True(moved < Allowance, $"{moved} bytes were read and written for a capture of {image.Bytes} bytes");
        Assert.True(operation.Result.DiskBytesWritten < Allowance, $"the operation reports {operation.Result.DiskBytesWritten} bytes");

        var report = await client.Examine(fix: true, TestContext.Current.CancellationToken);
        Assert.Empty(report.Findings);
        Assert.Equal((1, 1, 2), (report.Counts.VirtualMachines, report.Counts.HostMachines, report.Counts.Images));
    }

    /// <summary>Bytes that the process caused to be read from and written to storage.</summary>
    private static long Io(int process) => File.ReadLines($"/proc/{process}/io")
        .Select(line => line.Split(": "))
        .Where(field => field[0] is "read_bytes" or "write_bytes")
        .Sum(field => long.Parse(field[1], CultureInfo.InvariantCulture));
}
