using System.Globalization;
using System.Text.RegularExpressions;
using Instances.Appliances;
using Instances.Client;
using Instances.Testing;
using Instances.VirtualMachines;
using Spectre.Console;

namespace Instances.Benchmarks;

/// <summary>Measures the stall of a guest in a capture while the kernel still has to write much of the guest's data to a slow disk. The guest itself measures it.</summary>
internal static partial class GuestStall
{
    private const int GoalMs = 100;
    private const long DiskBytesPerSecond = 40L << 20;
    private const long FileSystemBytes = 8L << 30;

    /// <summary>Shorter gaps are the guest's own: its only processor writes too.</summary>
    private const int LeastGapMs = 30;

    private static readonly TimeSpan AloneFor = TimeSpan.FromSeconds(5);

    public static async Task Measure(Table table, int mib)
    {
        using var disk = SlowDisk.TryMake(FileSystemBytes, DiskBytesPerSecond);
        if (disk is null)
        {
            table.AddRow("stall of a guest on a slow disk", "left out: needs root and control groups of version 1", "", "");
            return;
        }

        // Below the mount point, because a data folder deletes itself.
        await using var data = new DataFolder(disk.Path);
        await using var server = await ServerProcess.Start(data, $"--Library:Folder={data.Path}/library");
        var client = server.Client;
        var master = await client.ImportGuest();
        var appliance = await client.CreateAppliance(new("stall"), default);
        var machine = await client.AddVirtualMachine(appliance.Id, Guest.Spec("writer", master.Id, (mib + 64L) << 20) with { UserData = Script(mib) }, default);
        await client.Succeeds(await client.Deploy(appliance.Id, default));
        await client.WaitForLine(machine.Id, Guest.ChangesDone);

        // The gaps without a capture, from the guest's only processor and other work on this machine.
        await Task.Delay(AloneFor);
        var alone = await Gaps(client, machine.Id);
        var dirty = DirtyMib();
        var operation = await client.Succeeds(await client.CreateInstance(appliance.Id, new(Undeploy: false, Quiesce: Quiesce.None), default));
        var gaps = (await Gaps(client, machine.Id)).Skip(alone.Count).ToList();
        var stall = gaps.Count == 0 ? LeastGapMs : gaps.Max();
        var image = (await client.FindImage(operation.Result!.Instances![0].Image, default))!;
        var write = dirty * 1000.0 / (DiskBytesPerSecond >> 20);
        table.AddRow(
            $"stall of a guest in a capture, {dirty} MiB dirty, disk of {DiskBytesPerSecond >> 20} MiB/s",
            $"{(gaps.Count == 0 ? "under " : "")}{stall} ms in the guest; {image.Capture!.LongestStallMs:0} ms reported; window {operation.Result!.ConsistencyWindowMs:0.0} ms; {AloneFor.TotalSeconds:0} s before it {alone.DefaultIfEmpty(LeastGapMs).Max()} ms",
            $"the disk writes that in {write:0} ms",
            $"{stall / write:0.000}, goal {GoalMs} ms {(stall <= GoalMs ? "[green]within[/]" : "[red]beyond[/]")}");
        await client.Succeeds(await client.Undeploy(appliance.Id, default));
    }

    /// <summary>Writes to the data disk without ever asking for a flush, keeps writing a little, and prints each gap between two readings of its clock.</summary>
    private static string Script(int mib) => $$"""
        #!/bin/sh
        dd if=/dev/urandom of=/run/piece bs=1M count=1 2>/dev/null
        i=0
        while [ $i -lt {{mib}} ]; do
          dd if=/run/piece of=/dev/vdb bs=1M count=1 seek=$i conv=notrunc 2>/dev/null
          i=$((i + 1))
        done
        (while :; do
          dd if=/run/piece of=/dev/vdb bs=64k count=1 seek=$i conv=notrunc 2>/dev/null
          i=$((i + 16))
          if [ $i -gt $(({{mib}} * 16)) ]; then i=0; fi
          usleep 100000
        done) &
        read up rest </proc/uptime
        last=$((${up%.*}${up#*.}))
        echo {{Guest.ChangesDone}}
        while :; do
          read up rest </proc/uptime
          now=$((${up%.*}${up#*.}))
          gap=$(((now - last) * 10))
          if [ $gap -ge {{LeastGapMs}} ]; then echo "gap=$gap"; fi
          last=$now
        done
        """;

    private static async Task<IReadOnlyList<int>> Gaps(InstancesClient client, VirtualMachineId machine) =>
        [.. GapPattern().Matches(await client.ReadConsole(machine, default)).Select(match => int.Parse(match.Groups[1].ValueSpan, CultureInfo.InvariantCulture))];

    /// <summary>The bytes that the kernel has not written yet, on all disks.</summary>
    private static long DirtyMib() =>
        File.ReadLines("/proc/meminfo").Where(line => line.StartsWith("Dirty:", StringComparison.Ordinal)).Select(line => long.Parse(line.Split(' ', StringSplitOptions.RemoveEmptyEntries)[1], CultureInfo.InvariantCulture)).Single() >> 10;

    [GeneratedRegex(@"gap=(\d+)")]
    private static partial Regex GapPattern();
}
