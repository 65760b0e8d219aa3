using System.Diagnostics;
using System.Globalization;
using Instances.Appliances;
using Instances.Faults;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Qemu;

/// <summary>Real guests. A boot takes seconds, so each test uses one machine for many checks.</summary>
public sealed class QemuGuestTests
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Machine_FromStartToDeath_DoesWhatItIsToldAndTellsTheRest()
    {
        await using var lab = await QemuLab.Create(configure: SetClockAlways);
        var spec = await lab.Spec("web-1", ports: [new(80)]);
        var clock = Stopwatch.StartNew();
        var started = await lab.Driver.Start(spec, Stop);
        Measured("start", clock);
        Assert.Equal(VirtualMachineStatus.Running, started.Status);
        Assert.Equal(QemuLab.TopsOf(spec.Disks), QemuLab.TopsOf(started.Disks));
        await lab.Printed(spec.Id, "boots=1");
        Measured("boots=1", clock);
        await lab.Printed(spec.Id, "root@web-1");

        using var http = new HttpClient { BaseAddress = new($"http://127.0.0.1:{Assert.Single(started.PortForwards).HostPort}") };
        await Eventually(async () => (await http.GetStringAsync("/", Stop)).StartsWith("web-1", StringComparison.Ordinal));

        await lab.AgentAnswers(spec.Id);
        await LoseClock(lab, spec.Id);
        var pause = Stopwatch.StartNew();
        Assert.Equal(VirtualMachineStatus.Paused, (await lab.Driver.Power(spec.Id, PowerAction.Pause)).Status);
        Assert.Equal(VirtualMachineStatus.Running, (await lab.Driver.Power(spec.Id, PowerAction.Resume)).Status);
        Measured("pause and resume", pause);
        await HasClock(lab, spec.Id);

        await lab.Driver.Power(spec.Id, PowerAction.Reset);
        await lab.Printed(spec.Id, "boots=2");
        // The shell has printed more than one prompt before the reset.
        await QemuLab.Until(
            async () => (await lab.Driver.ReadConsole(spec.Id, 1 << 20)).Split("boots=2")[^1].Contains("root@web-1", StringComparison.Ordinal), () => "No shell after the reset.");
        await lab.Driver.Power(spec.Id, PowerAction.Shutdown);
        var stopped = await lab.NextChange(spec.Id, VirtualMachineStatus.Stopped);
        Assert.Equal(QemuLab.TopsOf(spec.Disks), QemuLab.TopsOf(stopped.Disks));
        Assert.Equal(StopReason.Guest, stopped.StopReason);

        var again = await lab.Driver.Power(spec.Id, PowerAction.On);
        Assert.Equal(started.PortForwards, again.PortForwards);

        // Its count of boots is on its disk.
        await lab.Printed(spec.Id, "boots=3");

        Process.GetProcessById(lab.PidOf(spec.Id)).Kill();
        Assert.Equal(StopReason.Died, (await lab.NextChange(spec.Id, VirtualMachineStatus.Stopped)).StopReason);
        Assert.Equal(VirtualMachineStatus.Running, (await lab.Driver.Power(spec.Id, PowerAction.On)).Status);
    }

    [Fact]
    public async Task Capture_RunningMachine_SealsWhatWasWrittenBeforeAndGoesOn()
    {
        await using var lab = await QemuLab.Create(configure: SetClockAlways);
        var spec = await lab.Spec("db", dataDisks: 1);
        await lab.Driver.Start(spec, Stop);
        await lab.Printed(spec.Id, "root@db");
        await lab.AgentAnswers(spec.Id);
        await lab.Shell(spec.Id, "echo content-one | dd of=/dev/vdb conv=fsync 2>/dev/null; echo wri''tten-one", "written-one");

        await LoseClock(lab, spec.Id);
        var operation = OperationId.New();
        var next = await lab.NextLayers(spec.Id);
        await lab.Driver.AddNextLayers(spec.Id, operation, next);
        var clock = Stopwatch.StartNew();
        var outcome = await lab.Driver.Quiesce(spec.Id, operation, Quiesce.Freeze, QemuLab.Patience, Stop);
        Measured("freeze", clock);
        Assert.Equal(new(spec.Id, ConsistencyLevel.Application, null), outcome);
        clock.Restart();
        await lab.Driver.Pause(spec.Id, operation);
        Measured("pause", clock);
        await lab.Driver.Seal(spec.Id, operation);
        var bytes = await lab.Driver.CaptureBytes(spec.Id, operation);
        Measured($"pause and seal, {bytes} bytes", clock);
        await lab.Driver.Resume(spec.Id, operation);
        Measured("pause, seal and resume", clock);
        await lab.Driver.Unquiesce(spec.Id, operation);
        await lab.Driver.EndHold(spec.Id, operation);

        await HasClock(lab, spec.Id);
        var first = QemuLab.TopsOf(spec.Disks).ToList();
        Assert.Equal(next, QemuLab.TopsOf((await lab.Observe(spec.Id)).Disks));
        Assert.All(first, layer => Assert.True(IsOpenReadOnly(lab.PidOf(spec.Id), lab.Store.PathOf(layer)), "A sealed layer is open for writing."));
        await lab.Shell(spec.Id, "echo content-two | dd of=/dev/vdb conv=fsync 2>/dev/null; echo wri''tten-two", "written-two");
        Assert.StartsWith("content-one", await lab.Content(first[1]), StringComparison.Ordinal);

        // A new driver adopts the machine; the next capture is like the first one for it.
        await lab.RestartDriver();
        var second = await lab.Capture(spec.Id, Quiesce.Freeze);
        Assert.Equal(next, second);
        Assert.StartsWith("content-two", await lab.Content(second[1]), StringComparison.Ordinal);

        await lab.Driver.Power(spec.Id, PowerAction.Off);
        var third = await lab.Capture(spec.Id);
        foreach (var layer in (LayerId[])[.. first, .. second, .. third]) Assert.Contains("No errors were found", await lab.Check(layer), StringComparison.Ordinal);
        Assert.Equal(VirtualMachineStatus.Running, (await lab.Driver.Power(spec.Id, PowerAction.On)).Status);
    }

    [Fact]
    public async Task Adopt_HeldInEveryPhase_GoesOnFromThere()
    {
        await using var lab = await QemuLab.Create();
        var spec = await lab.Spec("held");
        await lab.Driver.Start(spec, Stop);
        await lab.Printed(spec.Id, "root@held");
        await lab.AgentAnswers(spec.Id);
        var operation = OperationId.New();
        var next = await lab.NextLayers(spec.Id);

        await lab.Driver.AddNextLayers(spec.Id, operation, next);
        var prepared = Assert.Single(await lab.RestartDriver());
        Assert.Equal(operation, prepared.Hold?.Operation);
        Assert.Equal(QemuLab.TopsOf(spec.Disks), QemuLab.TopsOf(prepared.Disks));
        await lab.Driver.AddNextLayers(spec.Id, operation, next);

        await Frozen();
        await lab.RestartDriver();
        await lab.Driver.Unquiesce(spec.Id, operation);
        await lab.Shell(spec.Id, "touch /data/x && sync && echo tha''wed-one", "thawed-one");

        await Frozen();
        await lab.Driver.Pause(spec.Id, operation);
        Assert.Equal(VirtualMachineStatus.Paused, Assert.Single(await lab.RestartDriver()).Status);
        await lab.Driver.Resume(spec.Id, operation);
        Assert.Equal(VirtualMachineStatus.Running, (await lab.Observe(spec.Id)).Status);
        await lab.Driver.Unquiesce(spec.Id, operation);

        await lab.Driver.Pause(spec.Id, operation);
        await lab.Driver.Seal(spec.Id, operation);
        var found = Assert.Single(await lab.RestartDriver());
        Assert.Equal(next, QemuLab.TopsOf(found.Disks));
        await lab.Driver.Seal(spec.Id, operation);
        Assert.Empty(await lab.Driver.RemoveNextLayers(spec.Id, operation));
        await lab.Driver.Resume(spec.Id, operation);
        await lab.Driver.EndHold(spec.Id, operation);
        await lab.Shell(spec.Id, "touch /data/y && sync && echo go''es-on", "goes-on");

        // A shutdown for a capture leaves nothing to pause, and is undone by another start.
        var last = OperationId.New();
        await lab.Driver.AddNextLayers(spec.Id, last, await lab.NextLayers(spec.Id));
        Assert.Equal(new(spec.Id, ConsistencyLevel.Offline, null), await lab.Driver.Quiesce(spec.Id, last, Quiesce.Shutdown, QemuLab.Patience, Stop));
        Assert.Equal(VirtualMachineStatus.Stopped, Assert.Single(await lab.RestartDriver()).Status);
        await lab.Driver.Pause(spec.Id, last);
        await lab.Driver.Seal(spec.Id, last);
        await lab.Driver.Resume(spec.Id, last);
        await lab.Driver.Unquiesce(spec.Id, last);
        await lab.Driver.EndHold(spec.Id, last);
        Assert.Equal(VirtualMachineStatus.Running, (await lab.Observe(spec.Id)).Status);
        await lab.Printed(spec.Id, "boots=2");

        async Task Frozen() => Assert.Equal(
            ConsistencyLevel.Application, (await lab.Driver.Quiesce(spec.Id, operation, Quiesce.Freeze, QemuLab.Patience, Stop)).Consistency);
    }

    [Fact]
    public async Task Unquiesce_GuestThatStillShutsDown_IsStartedAgain()
    {
        await using var lab = await QemuLab.Create();
        var spec = await lab.Spec("late");
        await lab.Driver.Start(spec, Stop);
        await lab.Printed(spec.Id, "root@late");
        // The prompt may come before the guest listens to its power button.
        await lab.Shell(spec.Id, "until ls -l /proc/[0-9]*/fd 2>/dev/null | grep -q /dev/input/; do sleep 1; done; echo liste''ns", "listens");
        var operation = OperationId.New();
        await lab.Driver.AddNextLayers(spec.Id, operation, await lab.NextLayers(spec.Id));
        var outcome = await lab.Driver.Quiesce(spec.Id, operation, Quiesce.Shutdown, TimeSpan.FromMilliseconds(1), Stop);
        Assert.Equal(ConsistencyLevel.Crash, outcome.Consistency);
        await lab.Driver.RemoveNextLayers(spec.Id, operation);
        await lab.Driver.Unquiesce(spec.Id, operation);
        await lab.Driver.EndHold(spec.Id, operation);
        await lab.NextChange(spec.Id, VirtualMachineStatus.Running);
        await lab.Printed(spec.Id, "boots=2");
        await lab.Printed(spec.Id, "root@late", times: 2);

        // Only once: later shutdowns inside the guest are the user's.
        await lab.Shell(spec.Id, "echo by''e; poweroff", "bye");
        await lab.NextChange(spec.Id, VirtualMachineStatus.Stopped);
        await Task.Delay(TimeSpan.FromSeconds(1), Stop);
        Assert.Equal(VirtualMachineStatus.Stopped, (await lab.Observe(spec.Id)).Status);
    }

    [Fact]
    public async Task Disk_Fails_PausesTheGuestWhichContinuesWhenTheDiskWorks()
    {
        // A limit on the size of QEMU's files acts like a failing disk, and can be lifted. The same user sets it, because root may not be allowed to limit other users.
        var binary = Path.Combine(Path.GetTempPath(), $"qemu-{Guid.NewGuid():N}.sh");
        await File.WriteAllTextAsync(binary, "#!/bin/sh\ntrap '' XFSZ\nexec qemu-system-x86_64 \"$@\"\n", Stop);
        File.SetUnixFileMode(binary, UnixFileMode.UserRead | UnixFileMode.UserExecute | UnixFileMode.OtherRead | UnixFileMode.OtherExecute);
        try
        {
            await using var lab = await QemuLab.Create(configure: options => (options.Binary, options.RunAs) = (binary, UnixUser.RootName));
            var spec = await lab.Spec("full");
            await lab.Driver.Start(spec, Stop);
            await lab.Printed(spec.Id, "root@full");
            await Bound($"{new FileInfo(lab.Store.PathOf(spec.Disks[0].Layers[^1])).Length}:");

            await lab.Shell(spec.Id, "echo beg''un; dd if=/dev/urandom of=/data/fill bs=64k count=200 conv=fsync 2>/dev/null && echo wri''tten", "begun");
            var paused = await lab.NextChange(spec.Id, VirtualMachineStatus.Paused);
            Assert.True(paused.AwaitsDisk);
            Assert.Contains("File too large", paused.Trouble, StringComparison.Ordinal);
            var refused = await Assert.ThrowsAsync<FaultException>(() => lab.Capture(spec.Id));
            Assert.Equal("disk-failed", refused.Fault.Code);

            await lab.Driver.Power(spec.Id, PowerAction.Resume);
            Assert.True((await lab.NextChange(spec.Id, VirtualMachineStatus.Paused)).AwaitsDisk);
            var again = Assert.Single(await lab.RestartDriver());
            Assert.Equal((VirtualMachineStatus.Paused, true), (again.Status, again.AwaitsDisk));

            await Bound("unlimited:");
            var resumed = await lab.Driver.Power(spec.Id, PowerAction.Resume);
            Assert.Equal((VirtualMachineStatus.Running, false, null), (resumed.Status, resumed.AwaitsDisk, resumed.Trouble));
            await lab.Printed(spec.Id, "written");
            Assert.Equal(VirtualMachineStatus.Running, (await lab.Observe(spec.Id)).Status);

            async Task Bound(string size)
            {
                using var prlimit = Process.Start("prlimit", [$"--pid={lab.PidOf(spec.Id)}", $"--fsize={size}"]);
                await prlimit.WaitForExitAsync(Stop);
                Assert.Equal(0, prlimit.ExitCode);
            }
        }
        finally
        {
            File.Delete(binary);
        }
    }

    [Fact]
    public async Task GuestShutdown_SiloStopped_ShutsGuestsDownAndLeavesThemToBeStartedAgain()
    {
        await using var lab = await QemuLab.Create();
        var (spec, deaf) = (await lab.Spec("heard"), await lab.BlankSpec("deaf"));
        await lab.Driver.Start(deaf, Stop);
        await lab.Driver.Start(spec, Stop);
        await lab.Printed(spec.Id, "root@heard");
        await lab.AgentAnswers(spec.Id);
        lab.Options.StopBound = TimeSpan.FromSeconds(1);
        Assert.False(await Shutdown(TimeSpan.Zero, "stop it first"));
        Assert.All(await lab.Driver.List(), machine => Assert.Equal(VirtualMachineStatus.Running, machine.Status));
        lab.Options.StopBound = QemuLab.Patience;

        await lab.Driver.DisposeAsync();
        Assert.True(await Shutdown(TimeSpan.FromSeconds(20), "heard: shut down", "deaf: powered off, because its guest did not shut down in time"));

        // It was not requested: the host's grain restarts a dead machine.
        Assert.All(await lab.RestartDriver(), machine => Assert.Equal((VirtualMachineStatus.Stopped, StopReason.Died), (machine.Status, machine.StopReason)));
        Assert.Equal(VirtualMachineStatus.Running, (await lab.Driver.Power(spec.Id, PowerAction.On)).Status);

        async Task<bool> Shutdown(TimeSpan bound, params string[] says)
        {
            var output = new StringWriter();
            var hasEnded = await new GuestShutdown(lab.Options, TimeProvider.System, TextWriter.Synchronized(output)).Run(bound, Stop);
            Assert.All(says, text => Assert.Contains(text, output.ToString(), StringComparison.Ordinal));
            return hasEnded;
        }
    }

    private static void SetClockAlways(QemuOptions options) => options.SetClockAfter = TimeSpan.Zero;

    private static Task LoseClock(QemuLab lab, VirtualMachineId machine) => lab.Shell(
        // The agent sets no clock in a guest without this program, which the small guest lacks.
        machine, "echo '#!/bin/sh' > /sbin/hwclock; chmod 755 /sbin/hwclock; date -s @31536000 >/dev/null; echo it-is-$(date +%Y)", "it-is-1971");

    private static Task HasClock(QemuLab lab, VirtualMachineId machine) =>
        lab.Shell(machine, "while [ $(date +%Y) = 1971 ]; do sleep 0.2; done; echo clock-is-s''et", "clock-is-set");

    private static bool IsOpenReadOnly(int pid, string path)
    {
        const int AccessMode = 3;
        var descriptor = Directory.EnumerateFiles($"/proc/{pid}/fd").Single(file => new FileInfo(file).LinkTarget == path);
        var flags = File.ReadLines(Path.Combine($"/proc/{pid}/fdinfo", Path.GetFileName(descriptor))).First(line => line.StartsWith("flags:", StringComparison.Ordinal));
        return (Convert.ToInt32(flags["flags:".Length..].Trim(), 8) & AccessMode) == 0;
    }

    private static Task Eventually(Func<Task<bool>> holds) => QemuLab.Until(
        async () =>
        {
            try
            {
                return await holds();
            }
            catch (HttpRequestException)
            {
                return false;
            }
        },
        () => "The guest does not answer.");

    private static void Measured(string what, Stopwatch clock) =>
        TestContext.Current.SendDiagnosticMessage(string.Create(CultureInfo.InvariantCulture, $"{what}: {clock.Elapsed.TotalMilliseconds:0.0} ms"));
}
