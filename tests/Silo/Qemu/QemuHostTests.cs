using System.Diagnostics;
using System.Globalization;
using System.Net;
using System.Net.Sockets;
using Instances.Appliances;
using Instances.Faults;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Xunit;

namespace Instances.Qemu;

/// <summary>Real QEMU without a guest: its machines find nothing to boot from.</summary>
public sealed class QemuHostTests
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Start_AsRoot_RunsQemuAsAnotherUserWithNothingOfTheSilo()
    {
        await using var lab = await QemuLab.Create();
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        // As if the program that started the silo had left a descriptor open that is inherited by other programs.
        using var leaky = UnixFiles.OpenFolder(lab.Folder);
        var spec = await lab.BlankSpec("blank");
        await lab.Driver.Start(spec, Stop);

        var pid = lab.PidOf(spec.Id);
        var status = await File.ReadAllTextAsync($"/proc/{pid}/status", Stop);
        Assert.Contains("NoNewPrivs:\t1", status, StringComparison.Ordinal);
        Assert.Contains("Seccomp:\t2", status, StringComparison.Ordinal);
        if (Environment.IsPrivilegedProcess) Assert.DoesNotContain("Uid:\t0", status, StringComparison.Ordinal);
        var open = Directory.EnumerateFiles($"/proc/{pid}/fd").Select(file => new FileInfo(file).LinkTarget ?? "").Where(target => target.Length > 0).ToList();
        Assert.DoesNotContain(open, target => target.StartsWith("pipe:", StringComparison.Ordinal) || target.StartsWith("/dev/pts", StringComparison.Ordinal));
        Assert.All(
            open.Where(target => target.StartsWith('/') && !target.StartsWith("/dev/", StringComparison.Ordinal)),
            target => Assert.True(target.StartsWith(lab.RunFolderOf(spec.Id).Path, StringComparison.Ordinal) || target.EndsWith(".qcow2", StringComparison.Ordinal), target));
        Assert.DoesNotContain(OpenSockets(Environment.ProcessId), OpenSockets(pid).Contains);
        Assert.NotEqual(SessionOf(Environment.ProcessId), SessionOf(pid));
        var variables = await File.ReadAllTextAsync($"/proc/{pid}/environ", Stop);
        Assert.DoesNotContain("HOME=", variables, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Start_Twice_IsOnce()
    {
        await using var lab = await QemuLab.Create();
        var spec = await lab.BlankSpec("blank", ports: [new(80), new(53, 0, TransportProtocol.Udp)]);
        var both = await Task.WhenAll(lab.Driver.Start(spec, Stop), lab.Driver.Start(spec, Stop));
        Assert.Equal(both[0], both[1] with { Disks = both[0].Disks, PortForwards = both[0].PortForwards });
        Assert.Equal(2, both[0].PortForwards.Select(port => port.HostPort).Distinct().Count());
        var other = await Assert.ThrowsAsync<FaultException>(() => lab.Driver.Start(spec with { Deployment = OperationId.New() }, Stop));
        Assert.Equal("virtual-machine-on-host", other.Fault.Code);

        await lab.Driver.Remove(spec.Id, OperationId.New());
        Assert.Equal(VirtualMachineStatus.Running, (await lab.Observe(spec.Id)).Status);
        await lab.Driver.Remove(spec.Id, spec.Deployment);
        await lab.Driver.Remove(spec.Id, spec.Deployment);
        Assert.Empty(QemuProcess.FindAll(lab.Options.RunFolder));
        Assert.False(Directory.Exists(lab.RunFolderOf(spec.Id).Path));
        Assert.True(lab.Store.Contains(spec.Disks[0].Layers[^1]));
        Assert.Null(await lab.Driver.Find(spec.Id));
        Assert.Equal("virtual-machine-not-on-host", (await Assert.ThrowsAsync<FaultException>(() => lab.Driver.Power(spec.Id, PowerAction.On))).Fault.Code);
    }

    [Fact]
    public async Task Start_DamagedDisk_SaysWhatQemuSaysAndLeavesNothingRunning()
    {
        await using var lab = await QemuLab.Create();
        var spec = await lab.BlankSpec("blank");
        await File.WriteAllTextAsync(lab.Store.PathOf(spec.Disks[0].Layers[^1]), "not a disk", Stop);
        var failure = await Assert.ThrowsAsync<FaultException>(() => lab.Driver.Start(spec, Stop));
        Assert.Equal("hypervisor-failed", failure.Fault.Code);
        Assert.Contains("Image is not in qcow2 format", failure.Message, StringComparison.Ordinal);
        Assert.Equal(VirtualMachineStatus.Stopped, (await lab.Observe(spec.Id)).Status);
        Assert.Empty(QemuProcess.FindAll(lab.Options.RunFolder));
    }

    [Fact]
    public async Task Start_Deployed_PinsTheMachineTypeThatALaterQemuMayLack()
    {
        await using var lab = await QemuLab.Create();
        var spec = await lab.BlankSpec("blank");
        await lab.Driver.Start(spec, Stop);
        var pinned = lab.RunFolderOf(spec.Id).ReadMachine()!;
        Assert.Matches(@"\Apc-q35-\d+\.\d+", pinned.MachineType);
        Assert.Contains($"{pinned.MachineType},graphics=off", await File.ReadAllTextAsync($"/proc/{lab.PidOf(spec.Id)}/cmdline", Stop), StringComparison.Ordinal);

        await lab.Driver.Power(spec.Id, PowerAction.Off);
        lab.RunFolderOf(spec.Id).WriteMachine(pinned with { MachineType = "pc-q35-99.9" });
        await lab.RestartDriver();
        var refused = await Assert.ThrowsAsync<FaultException>(() => lab.Driver.Power(spec.Id, PowerAction.On));
        Assert.Contains("machine type pc-q35-99.9", refused.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Start_NothingToBoot_IsHintedAtUntilTheMachineIsReset()
    {
        await using var lab = await QemuLab.Create();
        var spec = await lab.BlankSpec("blank");
        await lab.Driver.Start(spec, Stop);
        await IsHintedAt();
        Assert.Null((await lab.Driver.Power(spec.Id, PowerAction.Reset)).Hint);
        await lab.RestartDriver();
        await IsHintedAt();

        Task IsHintedAt() => QemuLab.Until(
            async () =>
            {
                await lab.Driver.LookAtMachines();
                return (await lab.Observe(spec.Id)).Hint?.Contains("nothing to boot", StringComparison.Ordinal) is true;
            },
            () => "The machine has no hint.");
    }

    [Fact]
    public async Task Logs_TooLong_AreCut()
    {
        await using var lab = await QemuLab.Create();
        var spec = await lab.BlankSpec("blank");
        await lab.Driver.Start(spec, Stop);
        var folder = lab.RunFolderOf(spec.Id);
        await lab.Driver.DisposeAsync();
        foreach (var log in (string[])[folder.LogPath, folder.ConsolePath])
        {
            await using var file = File.OpenWrite(log);
            file.SetLength(ConsoleTail.MaxLogBytes + 1);
        }

        await lab.RestartDriver();
        await lab.Driver.LookAtMachines();
        Assert.All((string[])[folder.LogPath, folder.ConsolePath], log => Assert.InRange(new FileInfo(log).Length, 1, ConsoleTail.MaxLogBytes / 2));
    }

    [Fact]
    public async Task Start_FailsBeforeAnythingIsKept_LeavesNoMachine()
    {
        await using var lab = await QemuLab.Create();
        var spec = await lab.BlankSpec("blank");
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => lab.Driver.Start(spec, new(canceled: true)));
        Assert.Empty(await lab.Driver.List());
        var obstacle = lab.RunFolderOf(spec.Id).Path;
        await File.WriteAllTextAsync(obstacle, "", Stop);
        Assert.Equal("hypervisor-failed", (await Assert.ThrowsAsync<FaultException>(() => lab.Driver.Start(spec, Stop))).Fault.Code);
        Assert.Empty(await lab.Driver.List());
        File.Delete(obstacle);
        Assert.Equal(VirtualMachineStatus.Running, (await lab.Driver.Start(spec, Stop)).Status);
    }

    [Fact]
    public async Task Start_FixedPortTaken_IsAConflict()
    {
        await using var lab = await QemuLab.Create();
        using var listener = new TcpListener(IPAddress.Loopback, 0);
        listener.Start();
        var spec = await lab.BlankSpec("blank", ports: [new(80, ((IPEndPoint)listener.LocalEndpoint).Port)]);
        var failure = await Assert.ThrowsAsync<FaultException>(() => lab.Driver.Start(spec, Stop));
        Assert.Equal((FaultKind.Conflict, "port-in-use"), (failure.Fault.Kind, failure.Fault.Code));
        listener.Stop();
        Assert.Equal(VirtualMachineStatus.Running, (await lab.Driver.Start(spec, Stop)).Status);
    }

    [Fact]
    public async Task Start_DeepFolderWithOddName_Works()
    {
        var deep = Path.Combine("deep", string.Join('/', Enumerable.Repeat("a folder, with=options", 12)));
        await using var lab = await QemuLab.Create(below: deep);
        var spec = await lab.BlankSpec("blank", disks: 2);
        await lab.Driver.Start(spec, Stop);
        Assert.Equal(VirtualMachineStatus.Running, Assert.Single(await lab.RestartDriver()).Status);
        await lab.Capture(spec.Id);
        Assert.Equal(VirtualMachineStatus.Running, (await lab.Observe(spec.Id)).Status);
    }

    [Fact]
    public async Task Start_ChainOfManyLayers_RunsIsAdoptedAndCaptured()
    {
        await using var lab = await QemuLab.Create();
        var spec = await lab.DeepSpec("deep", layers: 120);
        Assert.Equal(VirtualMachineStatus.Running, (await lab.Driver.Start(spec, Stop)).Status);
        Assert.Equal(QemuLab.TopsOf(spec.Disks), QemuLab.TopsOf(Assert.Single(await lab.RestartDriver()).Disks));
        await lab.Capture(spec.Id);
        await lab.Driver.Power(spec.Id, PowerAction.Off);
        Assert.Equal(VirtualMachineStatus.Running, (await lab.Driver.Power(spec.Id, PowerAction.On)).Status);
        Assert.Equal(121, (await lab.Observe(spec.Id)).Disks[0].Layers.Count);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task ReplaceLayers_RunningOrStopped_WritesOverTheMergedLayer(bool isRunning)
    {
        await using var lab = await QemuLab.Create();
        var spec = await lab.DeepSpec("deep", layers: 12);
        await lab.Driver.Start(spec, Stop);
        var top = (await lab.Capture(spec.Id))[0];
        if (!isRunning) await lab.Driver.Power(spec.Id, PowerAction.Off);
        var before = (await lab.Observe(spec.Id)).Disks[0].Layers;
        Assert.Equal(top, before[^2]);

        // All layers are empty, so an empty one has the content of those above the base.
        var merge = new LayerMerge(LayerId.New(), [.. before.SkipLast(1)], From: 1);
        await lab.Store.CreateLayer(merge.Merged, merge.Below, spec.Disks[0].VirtualSizeBytes, Stop);
        await lab.Store.Seal(merge.Merged);
        Assert.True(await lab.Driver.ReplaceLayers(spec.Id, merge));
        Assert.False(await lab.Driver.ReplaceLayers(spec.Id, merge));

        LayerId[] after = [before[0], merge.Merged, before[^1]];
        Assert.Equal(after, (await lab.Observe(spec.Id)).Disks[0].Layers);
        Assert.Equal(BackingName.Of(merge.Merged), BackingName.Read(lab.Store.PathOf(before[^1])));
        foreach (var part in merge.Parts)
        {
            if (isRunning) Assert.DoesNotContain(OpenFiles(lab.PidOf(spec.Id)), target => target == lab.Store.PathOf(part));
            await lab.Store.Delete(part);
        }

        // A silo that died before it had changed the header.
        BackingName.Write(lab.Store.PathOf(before[^1]), before[^2]);
        Assert.Equal(after, Assert.Single(await lab.RestartDriver()).Disks[0].Layers);
        Assert.Equal(BackingName.Of(merge.Merged), BackingName.Read(lab.Store.PathOf(before[^1])));
        await lab.Driver.Power(spec.Id, isRunning ? PowerAction.Reset : PowerAction.On);
        var captured = Assert.Single(await lab.Capture(spec.Id));
        Assert.Contains("No errors", await lab.Check(captured), StringComparison.Ordinal);
        Assert.Equal(4, (await lab.Observe(spec.Id)).Disks[0].Layers.Count);
    }

    [Fact]
    public async Task ReplaceLayers_RecordThatCannotBeWritten_ChangesNothing()
    {
        await using var lab = await QemuLab.Create();
        var spec = await lab.DeepSpec("deep", layers: 4);
        await lab.Driver.Start(spec, Stop);
        var before = (await lab.Observe(spec.Id)).Disks[0].Layers;
        var merge = new LayerMerge(LayerId.New(), [.. before.SkipLast(1)], From: 1);
        await lab.Store.CreateLayer(merge.Merged, merge.Below, spec.Disks[0].VirtualSizeBytes, Stop);
        await lab.Store.Seal(merge.Merged);
        var obstacle = Directory.CreateDirectory(Path.Combine(lab.RunFolderOf(spec.Id).Path, "machine.json.tmp"));
        await Assert.ThrowsAsync<FaultException>(() => lab.Driver.ReplaceLayers(spec.Id, merge));
        Assert.Equal(before, (await lab.Observe(spec.Id)).Disks[0].Layers);
        Assert.DoesNotContain(OpenFiles(lab.PidOf(spec.Id)), target => target == lab.Store.PathOf(merge.Merged));

        obstacle.Delete();
        Assert.True(await lab.Driver.ReplaceLayers(spec.Id, merge));
        Assert.Contains(OpenFiles(lab.PidOf(spec.Id)), target => target == lab.Store.PathOf(merge.Merged));
    }

    [Fact]
    public async Task Adopt_QemuThatHangs_EndsInItsBound()
    {
        await using var lab = await QemuLab.Create();
        var binary = Path.Combine(lab.Folder, "hangs.sh");
        await File.WriteAllTextAsync(binary, "#!/bin/sh\nexec sleep infinity\n", Stop);
        File.SetUnixFileMode(binary, UnixFileMode.UserRead | UnixFileMode.UserExecute);
        (lab.Options.Binary, lab.Options.StartBound) = (binary, TimeSpan.FromSeconds(1));
        var failure = await Assert.ThrowsAsync<FaultException>(lab.RestartDriver);
        Assert.Equal(IHypervisor.TimedOut, failure.Fault.Code);
    }

    [Fact]
    public async Task RemoveLeftover_MachineIsDeployedMeanwhile_LeavesItAlone()
    {
        await using var lab = await QemuLab.Create();
        var spec = await lab.BlankSpec("blank");
        await lab.Driver.Start(spec, Stop);
        await lab.Driver.DisposeAsync();
        await File.WriteAllTextAsync(Path.Combine(lab.RunFolderOf(spec.Id).Path, "machine.json"), "{", Stop);
        Assert.Empty(await lab.RestartDriver());

        var removal = lab.Driver.RemoveLeftover(spec.Id);
        var started = await lab.Driver.Start(spec, Stop);
        await removal;
        Assert.Equal(VirtualMachineStatus.Running, started.Status);
        Assert.Equal(VirtualMachineStatus.Running, Assert.Single(await lab.RestartDriver()).Status);
    }

    [Fact]
    public async Task Start_FolderThatTheUsersCannotPassThrough_IsRefusedUnlessRootIsAskedFor()
    {
        if (!Environment.IsPrivilegedProcess) Assert.Skip("Only root can run QEMU as another user.");
        var log = new ListLogger();
        await using var lab = await QemuLab.Create(logger: log);
        File.SetUnixFileMode(lab.Folder, UnixFiles.PrivateFolderMode);
        var refusal = await Assert.ThrowsAsync<OptionsValidationException>(lab.RestartDriver);
        Assert.Contains($"chmod o+x {lab.Folder}'", Assert.Single(refusal.Failures), StringComparison.Ordinal);
        lab.Options.RunAs = "no-such-user";
        Assert.Contains("'no-such-user'", (await Assert.ThrowsAsync<OptionsValidationException>(lab.RestartDriver)).Message, StringComparison.Ordinal);

        lab.Options.RunAs = UnixUser.RootName;
        await lab.RestartDriver();
        Assert.Single(log.Lines, line => line.Contains("Qemu:RunAs", StringComparison.Ordinal));
        var spec = await lab.BlankSpec("blank");
        Assert.Equal(VirtualMachineStatus.Running, (await lab.Driver.Start(spec, Stop)).Status);
    }

    [Fact]
    public async Task Adopt_AfterSiloAndQemuDied_FindsThemStopped()
    {
        await using var lab = await QemuLab.Create();
        var spec = await lab.BlankSpec("blank");
        await lab.Driver.Start(spec, Stop);
        var process = QemuProcess.FindAll(lab.Options.RunFolder)[spec.Id];
        await lab.Driver.DisposeAsync();
        process.Kill();
        Assert.True(await process.WaitForEnd(QemuLab.Patience, TimeProvider.System, Stop));
        var found = Assert.Single(await lab.RestartDriver());
        Assert.Equal((VirtualMachineStatus.Stopped, StopReason.Died, spec.Deployment), (found.Status, found.StopReason, found.Deployment));
        var started = await lab.Driver.Power(spec.Id, PowerAction.On);
        Assert.Equal((VirtualMachineStatus.Running, null), (started.Status, started.StopReason));
    }

    [Fact]
    public async Task Adopt_MachineThatWasPoweredOff_KnowsThatNobodyWantsItToRun()
    {
        await using var lab = await QemuLab.Create();
        var spec = await lab.BlankSpec("blank");
        await lab.Driver.Start(spec, Stop);
        Assert.Equal(StopReason.Power, (await lab.Driver.Power(spec.Id, PowerAction.Off)).StopReason);
        Assert.Equal(StopReason.Power, Assert.Single(await lab.RestartDriver()).StopReason);

        // As in a file without the reason.
        var record = lab.RunFolderOf(spec.Id).ReadProcess()!;
        lab.RunFolderOf(spec.Id).WriteProcess(record with { StopReason = null, ShutDownByGuest = true });
        Assert.Equal(StopReason.Guest, Assert.Single(await lab.RestartDriver()).StopReason);
    }

    [Fact]
    public async Task Adopt_ProcessThatNoFileSpeaksOf_IsFound()
    {
        await using var lab = await QemuLab.Create();
        var spec = await lab.BlankSpec("blank");
        await lab.Driver.Start(spec, Stop);
        var pid = lab.PidOf(spec.Id);
        await lab.Driver.DisposeAsync();
        File.Delete(Path.Combine(lab.RunFolderOf(spec.Id).Path, "process.json"));
        Assert.Equal(VirtualMachineStatus.Running, Assert.Single(await lab.RestartDriver()).Status);
        Assert.Equal(pid, QemuProcess.FindAll(lab.Options.RunFolder)[spec.Id].Pid);
        // A folder without a durable specification is removed.
        var started = RunFolder.For(lab.Options.RunFolder, VirtualMachineId.New());
        Directory.CreateDirectory(started.QemuPath);
        Assert.Single(await lab.RestartDriver());
        Assert.False(Directory.Exists(started.Path));
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Leftovers_AProcessAndAFolderWhoseMachineIsNotKnown_AreListedAndRemoved(bool isDamaged)
    {
        await using var lab = await QemuLab.Create();
        var (spec, kept) = (await lab.BlankSpec("lost"), await lab.BlankSpec("kept"));
        await lab.Driver.Start(spec, Stop);
        await lab.Driver.Start(kept, Stop);
        var process = QemuProcess.FindAll(lab.Options.RunFolder)[spec.Id];
        Assert.Empty(await lab.Driver.ListLeftovers());
        await lab.Driver.DisposeAsync();
        var machine = Path.Combine(lab.RunFolderOf(spec.Id).Path, "machine.json");
        if (isDamaged) await File.WriteAllTextAsync(machine, "{", Stop);
        else File.Delete(machine);
        Assert.Equal(kept.Id, Assert.Single(await lab.RestartDriver()).Id);

        // A folder without a durable specification was removed at the adoption.
        Assert.Equal(new(spec.Id, HasRunFolder: isDamaged, process.Pid), Assert.Single(await lab.Driver.ListLeftovers()));
        await lab.Driver.RemoveLeftover(kept.Id);
        await lab.Driver.RemoveLeftover(spec.Id);
        await lab.Driver.RemoveLeftover(spec.Id);

        Assert.Empty(await lab.Driver.ListLeftovers());
        Assert.False(process.IsAlive);
        Assert.False(lab.RunFolderOf(spec.Id).Exists);
        Assert.Equal(VirtualMachineStatus.Running, (await lab.Observe(kept.Id)).Status);
    }

    [Fact]
    public async Task Power_QemuDoesNotAnswerForAWhile_IsAskedAgainAndWatched()
    {
        var second = TimeSpan.FromSeconds(1);
        await using var lab = await QemuLab.Create(configure: options => (options.CommandBound, options.StopBound, options.StartBound) = (second, second, second * 5));
        var spec = await lab.BlankSpec("blank");
        await lab.Driver.Start(spec, Stop);
        lab.Options.StartBound = second;
        Signal("STOP");
        Assert.Equal(IHypervisor.TimedOut, (await Assert.ThrowsAsync<FaultException>(() => lab.Driver.Power(spec.Id, PowerAction.Reset))).Fault.Code);
        // Long enough for one attempt to connect that fails.
        await Task.Delay(second * 3, Stop);
        lab.Options.StartBound = QemuLab.Patience;
        Signal("CONT");
        // That it does not answer was reported first.
        while ((await lab.NextChange(spec.Id, VirtualMachineStatus.Running)).Trouble is not null)
        {
        }

        Assert.Equal(VirtualMachineStatus.Paused, (await lab.Driver.Power(spec.Id, PowerAction.Pause)).Status);
        QemuProcess.FindAll(lab.Options.RunFolder)[spec.Id].Kill();
        await lab.NextChange(spec.Id, VirtualMachineStatus.Stopped);

        void Signal(string name)
        {
            using var kill = Process.Start("kill", [$"-{name}", lab.PidOf(spec.Id).ToString(CultureInfo.InvariantCulture)]);
            kill.WaitForExit();
        }
    }

    [Fact]
    public async Task Watch_EndThatCannotBeWritten_IsReportedAndTheNextOneToo()
    {
        await using var lab = await QemuLab.Create();
        var spec = await lab.BlankSpec("blank");
        await lab.Driver.Start(spec, Stop);
        var obstacle = Directory.CreateDirectory(Path.Combine(lab.RunFolderOf(spec.Id).Path, "process.json.tmp"));
        QemuProcess.FindAll(lab.Options.RunFolder)[spec.Id].Kill();
        await lab.NextChange(spec.Id, VirtualMachineStatus.Stopped);
        obstacle.Delete();
        Assert.Equal(VirtualMachineStatus.Running, (await lab.Driver.Power(spec.Id, PowerAction.On)).Status);
        QemuProcess.FindAll(lab.Options.RunFolder)[spec.Id].Kill();
        await lab.NextChange(spec.Id, VirtualMachineStatus.Stopped);
    }

    [Fact]
    public async Task Power_RecordsThatCannotBeWritten_StartsNothingUnknownAndEndsAllTheSame()
    {
        await using var lab = await QemuLab.Create();
        var spec = await lab.BlankSpec("blank");
        await lab.Driver.Start(spec, Stop);
        var obstacle = Path.Combine(lab.RunFolderOf(spec.Id).Path, "process.json.tmp");

        Directory.CreateDirectory(obstacle);
        var stopped = await lab.Driver.Power(spec.Id, PowerAction.Off);
        Assert.Equal((VirtualMachineStatus.Stopped, StopReason.Power), (stopped.Status, stopped.StopReason));
        for (var attempt = 0; attempt < 2; attempt++)
        {
            await Assert.ThrowsAsync<FaultException>(() => lab.Driver.Power(spec.Id, PowerAction.On));
            Assert.Empty(QemuProcess.FindAll(lab.Options.RunFolder));
            await Assert.ThrowsAsync<FaultException>(() => lab.Driver.Start(spec, Stop));
        }

        Directory.Delete(obstacle);
        Assert.Equal(VirtualMachineStatus.Running, (await lab.Driver.Power(spec.Id, PowerAction.On)).Status);

        // The end is written when that is possible again, and not over the record of a later start.
        Directory.CreateDirectory(obstacle);
        await lab.Driver.Power(spec.Id, PowerAction.Off);
        Directory.Delete(obstacle);
        await lab.Driver.LookAtMachines();
        Assert.Equal(StopReason.Power, Assert.Single(await lab.RestartDriver()).StopReason);
        await lab.Driver.Power(spec.Id, PowerAction.On);
        await lab.Driver.LookAtMachines();
        Assert.Null(lab.RunFolderOf(spec.Id).ReadProcess()!.StopReason);
    }

    [Fact]
    public async Task Resume_HoldThatCannotBeWritten_GuestRunsAndKeepsItsNextLayers()
    {
        await using var lab = await QemuLab.Create();
        var spec = await lab.BlankSpec("blank");
        await lab.Driver.Start(spec, Stop);
        var operation = OperationId.New();
        var next = await lab.NextLayers(spec.Id);
        await lab.Driver.AddNextLayers(spec.Id, operation, next);
        await lab.Driver.Pause(spec.Id, operation);
        await lab.Driver.Seal(spec.Id, operation);
        Directory.CreateDirectory(Path.Combine(lab.RunFolderOf(spec.Id).Path, "hold.json.tmp"));
        await lab.Driver.Resume(spec.Id, operation);
        Assert.Equal(VirtualMachineStatus.Running, (await lab.Observe(spec.Id)).Status);
        await lab.Driver.Unquiesce(spec.Id, operation);

        // The silo and QEMU die: what the guest has written since is in the next layers.
        await lab.Driver.DisposeAsync();
        var process = QemuProcess.FindAll(lab.Options.RunFolder)[spec.Id];
        process.Kill();
        Assert.True(await process.WaitForEnd(QemuLab.Patience, TimeProvider.System, Stop));
        Assert.Equal(next, QemuLab.TopsOf(Assert.Single(await lab.RestartDriver()).Disks));
        await lab.Driver.Power(spec.Id, PowerAction.On);
        Assert.Equal(next, QemuLab.TopsOf((await lab.Observe(spec.Id)).Disks));
    }

    [Fact]
    public async Task Adopt_HoldDamagedByThePowerCut_StartsFromTheNextLayers()
    {
        await using var lab = await QemuLab.Create();
        var spec = await lab.BlankSpec("blank");
        await lab.Driver.Start(spec, Stop);
        var next = await lab.NextLayers(spec.Id);
        await lab.Driver.AddNextLayers(spec.Id, OperationId.New(), next);
        await lab.Driver.DisposeAsync();
        var process = QemuProcess.FindAll(lab.Options.RunFolder)[spec.Id];
        process.Kill();
        Assert.True(await process.WaitForEnd(QemuLab.Patience, TimeProvider.System, Stop));
        await File.WriteAllTextAsync(Path.Combine(lab.RunFolderOf(spec.Id).Path, "hold.json"), "", Stop);
        var found = Assert.Single(await lab.RestartDriver());
        Assert.Null(found.Hold);
        Assert.Equal(VirtualMachineStatus.Running, (await lab.Driver.Power(spec.Id, PowerAction.On)).Status);
        Assert.Equal(next, QemuLab.TopsOf((await lab.Observe(spec.Id)).Disks));
    }

    [Fact]
    public async Task RemoveNextLayers_Unsealed_GivesThemBackAndForgets()
    {
        await using var lab = await QemuLab.Create();
        var spec = await lab.BlankSpec("blank", disks: 2);
        await lab.Driver.Start(spec, Stop);
        var operation = OperationId.New();
        var next = await lab.NextLayers(spec.Id);
        await lab.Driver.AddNextLayers(spec.Id, operation, next);
        await lab.Driver.AddNextLayers(spec.Id, operation, next);
        Assert.Equal("virtual-machine-busy", (await Assert.ThrowsAsync<FaultException>(() => lab.Driver.AddNextLayers(spec.Id, OperationId.New(), next))).Fault.Code);
        Assert.Empty(await lab.Driver.RemoveNextLayers(spec.Id, OperationId.New()));
        Assert.Equal(next, QemuLab.TopsOf(lab.RunFolderOf(spec.Id).ReadMachine()!.Disks));

        Assert.Equal(next, await lab.Driver.RemoveNextLayers(spec.Id, operation));
        Assert.Empty(await lab.Driver.RemoveNextLayers(spec.Id, operation));
        foreach (var layer in next) await lab.Store.Delete(layer);
        Assert.Null((await lab.Observe(spec.Id)).Hold);
        Assert.Equal("hold-expired", (await Assert.ThrowsAsync<FaultException>(() => lab.Driver.Seal(spec.Id, operation))).Fault.Code);
        await lab.Driver.Power(spec.Id, PowerAction.Off);
        Assert.Equal(VirtualMachineStatus.Running, (await lab.Driver.Power(spec.Id, PowerAction.On)).Status);
        await lab.Capture(spec.Id);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Hold_QemuDiesUnsealed_CanBeSealedOrDiscarded(bool isSealed)
    {
        await using var lab = await QemuLab.Create();
        var spec = await lab.BlankSpec("blank");
        await lab.Driver.Start(spec, Stop);
        var operation = OperationId.New();
        var next = await lab.NextLayers(spec.Id);
        await lab.Driver.AddNextLayers(spec.Id, operation, next);
        await lab.Driver.Pause(spec.Id, operation);
        QemuProcess.FindAll(lab.Options.RunFolder)[spec.Id].Kill();
        await lab.NextChange(spec.Id, VirtualMachineStatus.Stopped);
        if (isSealed)
        {
            await lab.Driver.Seal(spec.Id, operation);
            await lab.RestartDriver();
            await lab.Driver.EndHold(spec.Id, operation);
        }
        else
        {
            // Powered on during the capture: the machine continues with its disks, and the next layers stay unused.
            await lab.Driver.Power(spec.Id, PowerAction.On);
            Assert.Equal(next, await lab.Driver.RemoveNextLayers(spec.Id, operation));
        }

        var expected = isSealed ? next : QemuLab.TopsOf(spec.Disks);
        Assert.Equal(expected, QemuLab.TopsOf((await lab.Observe(spec.Id)).Disks));
        Assert.Equal(expected, QemuLab.TopsOf(lab.RunFolderOf(spec.Id).ReadMachine()!.Disks));
        await lab.Driver.Power(spec.Id, PowerAction.On);
        Assert.Equal(expected, QemuLab.TopsOf((await lab.Observe(spec.Id)).Disks));
    }

    [Fact]
    public async Task Quiesce_NoAgent_SaysSoAtOnce()
    {
        await using var lab = await QemuLab.Create();
        var spec = await lab.BlankSpec("blank");
        await lab.Driver.Start(spec, Stop);
        var operation = OperationId.New();
        await lab.Driver.AddNextLayers(spec.Id, operation, await lab.NextLayers(spec.Id));
        var frozen = await lab.Driver.Quiesce(spec.Id, operation, Quiesce.Freeze, QemuLab.Patience, Stop);
        Assert.Equal((ConsistencyLevel.Crash, "No guest agent runs in the guest."), (frozen.Consistency, frozen.Detail));
        // Nothing boots, so nothing reacts to the power button.
        var shutDown = await lab.Driver.Quiesce(spec.Id, operation, Quiesce.Shutdown, TimeSpan.FromMilliseconds(50), Stop);
        Assert.Equal((ConsistencyLevel.Crash, VirtualMachineStatus.Running), (shutDown.Consistency, (await lab.Observe(spec.Id)).Status));
        await lab.Driver.Unquiesce(spec.Id, operation);
    }

    [Fact]
    public async Task Power_EveryStatus_ActsOrRefuses()
    {
        await using var lab = await QemuLab.Create();
        var spec = await lab.BlankSpec("blank");
        await lab.Driver.Start(spec, Stop);
        await Is(PowerAction.On, VirtualMachineStatus.Running);
        await Is(PowerAction.Pause, VirtualMachineStatus.Paused);
        await Is(PowerAction.Pause, VirtualMachineStatus.Paused);
        await Refused(PowerAction.Shutdown);
        await Is(PowerAction.Off, VirtualMachineStatus.Stopped);
        await Is(PowerAction.Off, VirtualMachineStatus.Stopped);
        await Refused(PowerAction.Resume);
        await Is(PowerAction.On, VirtualMachineStatus.Running);
        await Is(PowerAction.Reset, VirtualMachineStatus.Running);
        // Requested changes raise no event.
        Assert.False(lab.Driver.Changes.TryRead(out _));

        async Task Is(PowerAction action, VirtualMachineStatus status) => Assert.Equal(status, (await lab.Driver.Power(spec.Id, action)).Status);

        async Task Refused(PowerAction action) =>
            Assert.Equal("power-conflict", (await Assert.ThrowsAsync<FaultException>(() => lab.Driver.Power(spec.Id, action))).Fault.Code);
    }

    private static IEnumerable<string> OpenFiles(int pid) => Directory.EnumerateFiles($"/proc/{pid}/fd").Select(file => new FileInfo(file).LinkTarget ?? "");

    private static HashSet<string> OpenSockets(int pid) =>
        [.. OpenFiles(pid).Where(target => target.StartsWith("socket:", StringComparison.Ordinal))];

    private static string SessionOf(int pid) => File.ReadAllText($"/proc/{pid}/stat").Split(") ")[^1].Split(' ')[3];

    private sealed class ListLogger : ILogger<QemuHypervisor>
    {
        public List<string> Lines { get; } = [];

        public IDisposable? BeginScope<TState>(TState state)
            where TState : notnull => null;

        public bool IsEnabled(LogLevel logLevel) => logLevel >= LogLevel.Warning;

        public void Log<TState>(LogLevel logLevel, EventId eventId, TState state, Exception? exception, Func<TState, Exception?, string> formatter)
        {
            if (IsEnabled(logLevel)) Lines.Add(formatter(state, exception));
        }
    }
}
