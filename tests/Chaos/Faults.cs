using System.Diagnostics;
using Instances.Testing;

namespace Instances.Chaos;

/// <summary>Injects one fault after the other, and ends each before the run ends. Restarts dead processes, like a service manager.</summary>
internal sealed class Faults(ProcessCluster cluster, FlakyDoors doors, SmallDisk? small, SmallDisk? library, bool withMore, Random random, ChaosReport report)
{
    private static readonly TimeSpan SuperviseEvery = TimeSpan.FromMilliseconds(300);

    /// <summary>How long a frozen silo may take to notice that the others have declared it dead, and to end.</summary>
    private static readonly TimeSpan LearnsItsEnd = TimeSpan.FromSeconds(12);

    /// <summary>How long a second host with the same name may take to refuse its start.</summary>
    private static readonly TimeSpan RefusalBound = Bounds.Wait;

    /// <summary>The processes that a fault keeps down.</summary>
    private readonly HashSet<ClusterProcess> _down = [];

    private long _thawedAt;

    public async Task Make(CancellationToken end)
    {
        (string Name, int Weight, Func<CancellationToken, Task> Make)[] faults =
        [
            ("silo killed", 5, stop => Kill(Choose(cluster.Silos), 0, 4, stop)),
            ("silo frozen", 3, stop => Freeze(Choose(cluster.Silos), 1, 14, stop)),
            ("silo restarted in order", 2, Restart),
            ("gateway killed", 2, stop => Kill(Choose(cluster.Gateways), 0, 3, stop)),
            ("gateway frozen", 1, stop => Freeze(Choose(cluster.Gateways), 1, 6, stop)),
            ("QEMU killed", 2, _ => KillGuest()),
            ("PostgreSQL killed", 2, StopDatabase),
            ("transfers cut", 2, CutTransfers),
            ("transfers slowed", 2, SlowTransfers),
            .. If(withMore, ("all hosts killed", 1, KillAllHosts), ("second host of a name", 1, StartSecondHost)),
            .. If(small is not null, ("disk full", 2, FillDisk)),
            .. If(library is not null, ("deletion on a full disk", 2, DeleteOnFullDisk)),
            .. If(withMore && ClockSteps.CanChange, ("clock set", 3, StepClock)),
            .. If(withMore && SystemCalls.CanChange, ("slow disk", 2, stop => ChangeDisk(SystemCalls.SlowDisk, "slow", stop)), ("failing disk", 2, stop => ChangeDisk(SystemCalls.FailingDisk, "failing", stop))),
        ];
        var lots = faults.SelectMany(fault => Enumerable.Repeat(fault, fault.Weight)).ToList();
        while (!end.IsCancellationRequested)
        {
            var fault = lots[random.Next(lots.Count)];
            report.Count($"fault: {fault.Name}");
            await fault.Make(end);
            await Pause(1, 5, end);
        }

        if (_thawedAt != 0 && LearnsItsEnd - Stopwatch.GetElapsedTime(_thawedAt) is var rest && rest > TimeSpan.Zero) await Task.Delay(rest, CancellationToken.None);
    }

    /// <summary>Restarts processes that have ended and should run.</summary>
    public async Task Supervise(CancellationToken end)
    {
        while (!end.IsCancellationRequested)
        {
            foreach (var process in cluster.All)
            {
                lock (_down)
                {
                    if (process.IsRunning || _down.Contains(process)) continue;
                    report.Count("started again: a process that ended by itself");
                    report.Say($"{process.Name} ended by itself and is started again.");
                    process.Start();
                }
            }

            await Task.Delay(SuperviseEvery, end).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
        }
    }

    /// <summary>Stops all silos, does something, and starts them again.</summary>
    public async Task WhileSilosAreStopped(Action action)
    {
        var silos = cluster.Silos.ToList();
        lock (_down) _down.UnionWith(silos);
        await Task.WhenAll(silos.Select(silo => silo.Stop()));
        action();
        lock (_down)
        {
            _down.ExceptWith(silos);
            foreach (var silo in silos) silo.Start();
        }

        foreach (var process in cluster.All) await Eventually.Holds(async () => process.IsRunning && await process.IsReady(), $"{process.Name} is ready; see {process.LogPath}");
    }

    private static (string, int, Func<CancellationToken, Task>)[] If(bool condition, params (string, int, Func<CancellationToken, Task>)[] faults) => condition ? faults : [];

    private async Task Kill(ClusterProcess process, double least, double most, CancellationToken stop)
    {
        report.Say($"{process.Name} is killed.");
        await Down(process, process.Kill, () => Pause(least, most, stop));
    }

    private async Task Restart(CancellationToken stop)
    {
        var process = Choose(cluster.Silos);
        report.Say($"{process.Name} is restarted in order.");
        await Down(process, process.Stop, () => Task.CompletedTask);
    }

    private async Task Down(ClusterProcess process, Func<Task> take, Func<Task> meanwhile)
    {
        lock (_down) _down.Add(process);
        await take();
        await meanwhile();
        lock (_down)
        {
            _down.Remove(process);
            process.Start();
        }
    }

    private async Task Freeze(ClusterProcess process, double least, double most, CancellationToken stop)
    {
        report.Say($"{process.Name} is frozen.");
        process.Freeze();
        await Pause(least, most, stop);
        process.Thaw();
        _thawedAt = Stopwatch.GetTimestamp();
    }

    private Task KillGuest()
    {
        var guests = cluster.Guests.Ids();
        if (guests.Count == 0) return Task.CompletedTask;
        try
        {
            using var guest = Process.GetProcessById(guests[random.Next(guests.Count)]);
            report.Say($"QEMU {guest.Id} is killed.");
            guest.Kill();
        }
        catch (Exception exception) when (exception is ArgumentException or InvalidOperationException)
        {
            // It ended just now.
        }

        return Task.CompletedTask;
    }

    private async Task StopDatabase(CancellationToken stop)
    {
        report.Say("PostgreSQL is killed.");
        cluster.Database.Kill();
        await Pause(1, 8, stop);
        cluster.Database.Start();
    }

    private async Task CutTransfers(CancellationToken stop)
    {
        for (var cut = 0; cut < 5; cut++)
        {
            doors.Cut();
            await Pause(0.1, 0.8, stop);
        }
    }

    private async Task SlowTransfers(CancellationToken stop)
    {
        doors.IsSlow = true;
        await Pause(2, 6, stop);
        doors.IsSlow = false;
    }

    private async Task FillDisk(CancellationToken stop)
    {
        report.Say("The disk of host-3 is full.");
        small!.Fill();
        await Pause(2, 6, stop);
        small.Free();
    }

    /// <summary>The library's disk is full, and an image is deleted, as the error message advises.</summary>
    private async Task DeleteOnFullDisk(CancellationToken stop)
    {
        var imported = await cluster.Client.End(await cluster.Client.UploadImage("spare", Library.ImageFormat.Raw, new MemoryStream(new byte[1 << 20]), sha256: null, default));
        if (imported.Status is not Operations.OperationStatus.Succeeded) return;
        report.Say("The library's disk is full, and an image is deleted.");
        library!.Fill();
        try
        {
            await Eventually.Holds(() => IsDeleted(imported.Image!.Value), "an image is deleted on a full disk");
        }
        catch (TimeoutException exception)
        {
            report.Violation(exception.Message);
        }

        await Pause(1, 4, stop);
        library.Free();
    }

    private async Task<bool> IsDeleted(Library.ImageId image)
    {
        try
        {
            if (await cluster.Client.FindImage(image, default) is not null) await cluster.Client.DeleteImage(image, default);
            return await cluster.Client.FindImage(image, default) is null;
        }
        catch (Exception exception) when (exception is Client.ProblemException or HttpRequestException)
        {
            return false; // An earlier fault may still have effects.
        }
    }

    private async Task KillAllHosts(CancellationToken stop)
    {
        report.Say("All hosts are killed.");
        await Task.WhenAll(cluster.Hosts.Select(host => Down(host, host.Kill, () => Pause(1, 8, stop))));
    }

    /// <summary>A second silo of a running host must refuse to start.</summary>
    private async Task StartSecondHost(CancellationToken stop)
    {
        var first = Choose(cluster.Hosts);
        if (!first.IsRunning || !await first.IsReady()) return;
        var id = first.Id;
        report.Say($"A second silo starts as {first.Name}.");
        await using var second = cluster.Second(first.Name);
        second.Start();
        var clock = Stopwatch.StartNew();
        while (second.IsRunning && clock.Elapsed < RefusalBound && !stop.IsCancellationRequested) await Task.Delay(SuperviseEvery, CancellationToken.None);
        if (second.IsRunning && !stop.IsCancellationRequested && first.IsRunning && first.Id == id) report.Violation($"a second silo runs as {first.Name}");
    }

    private async Task StepClock(CancellationToken stop)
    {
        var silo = Choose(cluster.Silos);
        var seconds = ClockSteps.Choose(random);
        report.Say($"The clock of {silo.Name} is set by {seconds} s, and back later.");
        ClockSteps.Write(cluster.Folder, silo.Name, seconds);
        await Pause(2, 8, stop);
        ClockSteps.Write(cluster.Folder, silo.Name, 0);
    }

    /// <summary>The disk of a host's silo, or of a guest.</summary>
    private async Task ChangeDisk(string how, string word, CancellationToken stop)
    {
        var host = Choose(cluster.Hosts);
        var guests = cluster.Guests.Ids();
        var guest = guests.Count > 0 && random.Next(2) == 0 ? guests[random.Next(guests.Count)] : 0;
        if (guest == 0 && !host.IsRunning) return;
        report.Say($"The disk of {(guest == 0 ? host.Name : $"QEMU {guest}")} is {word}.");
        await SystemCalls.Change(guest == 0 ? host.Id : guest, how, () => Pause(2, 8, stop));
    }

    private ClusterProcess Choose(IEnumerable<ClusterProcess> processes)
    {
        var all = processes.ToList();
        return all[random.Next(all.Count)];
    }

    /// <summary>Cut short at the end of the run.</summary>
    private async Task Pause(double least, double most, CancellationToken stop) =>
        await Task.Delay(TimeSpan.FromSeconds(least + (random.NextDouble() * (most - least))), stop).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
}
