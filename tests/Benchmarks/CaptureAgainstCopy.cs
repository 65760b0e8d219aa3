using System.Diagnostics;
using Instances.Appliances;
using Instances.Testing;
using Instances.VirtualMachines;
using Spectre.Console;

namespace Instances.Benchmarks;

/// <summary>Compares a capture with a cloud that copies: it flattens the disk into one file, and copies that file once as the upload.</summary>
internal static class CaptureAgainstCopy
{
    private const long DiskBytes = 20L << 30;
    private const double Goal = 100;

    public static async Task Measure(Table table, int changedMib)
    {
        await using var data = new DataFolder();
        await using (var server = await ServerProcess.Start(data))
        {
            var client = server.Client;
            var master = await client.ImportGuest();
            var appliance = await client.CreateAppliance(new("copy"), default);
            var machine = await client.AddVirtualMachine(
                appliance.Id, Guest.Spec("writer", master.Id, DiskBytes) with { UserData = Guest.WriteScattered("/dev/vdb", DiskBytes, changedMib) }, default);
            await client.Succeeds(await client.Deploy(appliance.Id, default));
            await client.WaitForLine(machine.Id, Guest.ChangesDone);

            var clock = Stopwatch.StartNew();
            var operation = await client.Succeeds(await client.CreateInstance(appliance.Id, new(Undeploy: false, Quiesce: Quiesce.None), default));
            var capture = clock.Elapsed;
            var image = (await client.FindImage(operation.Result!.Instances![0].Image, default))!;

            clock.Restart();
            foreach (var (index, disk) in image.Disks.Index())
            {
                var (top, flat, upload) = (Path.Combine(data, "layers", $"{disk.Layers[^1].Id}.qcow2"), Path.Combine(data, $"flat{index}"), Path.Combine(data, $"upload{index}"));
                await Run("qemu-img", "convert", "-U", "-f", "qcow2", "-O", "qcow2", top, flat);
                await Run("cp", flat, upload);
                await Run("sync", upload);
            }

            var copy = clock.Elapsed;
            var ratio = copy / capture;
            table.AddRow(
                $"capture of a 20 GiB disk with {changedMib} MiB of changes ({image.Bytes >> 20} MiB on disk)",
                $"{capture.TotalMilliseconds:0} ms, {operation.Result.DiskBytesWritten} bytes written",
                $"flatten and copy: {copy.TotalMilliseconds:0} ms",
                $"{ratio:0} times faster, goal {Goal:0}: {(ratio >= Goal ? "[green]reached[/]" : "[red]missed[/]")}");
            await client.Succeeds(await client.Undeploy(appliance.Id, default));
        }
    }

    private static async Task Run(string program, params string[] arguments)
    {
        using var process = Process.Start(program, arguments);
        await process.WaitForExitAsync();
        if (process.ExitCode != 0) throw new InvalidOperationException($"{program} ended with {process.ExitCode}.");
    }
}
