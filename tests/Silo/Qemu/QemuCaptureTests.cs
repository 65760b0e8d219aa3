using Instances.Appliances;
using Instances.Faults;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Qemu;

/// <summary>The effects of a capture on its guest, with a scripted QEMU and guest agent.</summary>
public sealed class QemuCaptureTests
{
    private const string Frozen = "{\"return\": \"frozen\"}";
    private const string Thawed = "{\"return\": \"thawed\"}";

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Pause_AnswerIsLost_GuestRunsAgainWhenQemuAnswers()
    {
        await using var qemu = await FakeQemu.Create();
        var operation = await Prepared(qemu);

        // QEMU carries it out, and its answer does not come.
        qemu.Instead["stop"] = () => Task.FromResult<string?>(null);
        await Assert.ThrowsAsync<FaultException>(() => qemu.Machine.Pause(operation));
        await Record.ExceptionAsync(() => qemu.Machine.Resume(operation));

        await QemuLab.Until(() => Task.FromResult(qemu.Commands.Contains("cont")), () => "The guest is left paused.");
        await QemuLab.Until(() => Task.FromResult(qemu.Machine.Observation.Status is VirtualMachineStatus.Running), () => "The machine counts as paused.");
        await qemu.Machine.Resume(operation);
        await qemu.Machine.RemoveNextLayers(operation);
        await qemu.Machine.EndHold(operation);
        Assert.False(qemu.IsPaused);
        Assert.Null(qemu.Machine.Observation.Hold);
    }

    [Fact]
    public async Task EndHold_GuestIsStillPausedByTheCapture_Resumes()
    {
        await using var qemu = await FakeQemu.Create();
        var operation = await Prepared(qemu);
        await qemu.Machine.Pause(operation);
        Assert.True(qemu.IsPaused);
        await qemu.Machine.EndHold(operation);
        Assert.False(qemu.IsPaused);
        Assert.Equal(VirtualMachineStatus.Running, qemu.Machine.Observation.Status);
    }

    [Fact]
    public async Task EndHold_NothingCanBeWritten_ResumesTheGuestFirst()
    {
        await using var qemu = await FakeQemu.Create();
        var operation = await Prepared(qemu);
        await qemu.Machine.Pause(operation);
        var obstacle = Directory.CreateDirectory(Path.Combine(qemu.Folder.Path, "machine.json.tmp"));
        await Assert.ThrowsAsync<FaultException>(() => qemu.Machine.EndHold(operation));
        Assert.False(qemu.IsPaused);
        obstacle.Delete();
        await qemu.Machine.EndHold(operation);
        Assert.Null(qemu.Machine.Observation.Hold);
        Assert.Equal(QemuLab.TopsOf(qemu.Spec.Disks), QemuLab.TopsOf(qemu.Folder.ReadMachine()!.Disks));
    }

    [Fact]
    public async Task Unquiesce_HoldThatCannotBeWritten_ThawsAllTheSame()
    {
        await using var qemu = await FakeQemu.Create();
        var operation = await Prepared(qemu);
        (qemu.Agent["guest-fsfreeze-status"], qemu.Agent["guest-fsfreeze-freeze"], qemu.Agent["guest-fsfreeze-thaw"]) = (Thawed, "{\"return\": 2}", "{\"return\": 2}");
        await qemu.Machine.Quiesce(operation, Quiesce.Freeze, QemuLab.Patience, Stop);
        Directory.CreateDirectory(Path.Combine(qemu.Folder.Path, "hold.json.tmp"));
        await qemu.Machine.Unquiesce(operation);
        Assert.Null(qemu.Machine.Observation.Hold!.ThawFailure);
        await qemu.Machine.EndHold(operation);
        Assert.Null(qemu.Machine.Observation.Hold);
    }

    [Fact]
    public async Task Quiesce_FlushAnswersWithText_Fails()
    {
        await using var qemu = await FakeQemu.Create();
        var operation = await Prepared(qemu);
        qemu.Instead["human-monitor-command"] = () => Task.FromResult<string?>("\"Error: Cannot find device=''\\r\\n\"");
        var failure = await Assert.ThrowsAsync<FaultException>(() => qemu.Machine.Quiesce(operation, Quiesce.None, QemuLab.Patience, Stop));
        Assert.Contains("Error: Cannot find device", failure.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Quiesce_FlushTakesLong_IsReportedAsTheGuestsStall()
    {
        await using var qemu = await FakeQemu.Create();
        var operation = await Prepared(qemu);
        var before = qemu.Machine.Observation.Hold!.LongestStallMs;
        qemu.Instead["human-monitor-command"] = async () =>
        {
            // Timers may end some milliseconds early.
            await Task.Delay(200, Stop);
            return "\"\"";
        };
        await qemu.Machine.Quiesce(operation, Quiesce.None, QemuLab.Patience, Stop);
        Assert.True(qemu.Machine.Observation.Hold!.LongestStallMs >= 150, $"{before} ms, then {qemu.Machine.Observation.Hold!.LongestStallMs} ms");

        // The next capture has its own measurement, also after one that was undone.
        var longest = qemu.Machine.Observation.Hold!.LongestStallMs;
        await qemu.Machine.RemoveNextLayers(operation);
        Assert.Null(qemu.Machine.Observation.Hold);
        await Prepared(qemu);
        Assert.NotEqual(longest, qemu.Machine.Observation.Hold!.LongestStallMs);
    }

    [Theory]
    [InlineData(Thawed, null)]
    [InlineData(Frozen, "were already frozen")]
    public async Task Quiesce_Freeze_SaysWhetherTheGuestWasFrozenBefore(string status, string? detail)
    {
        await using var qemu = await FakeQemu.Create();
        var operation = await Prepared(qemu);
        (qemu.Agent["guest-fsfreeze-status"], qemu.Agent["guest-fsfreeze-freeze"], qemu.Agent["guest-fsfreeze-thaw"]) = (status, "{\"return\": 2}", "{\"return\": 2}");
        var outcome = await qemu.Machine.Quiesce(operation, Quiesce.Freeze, QemuLab.Patience, Stop);
        Assert.Equal(ConsistencyLevel.Application, outcome.Consistency);
        if (detail is null) Assert.Null(outcome.Detail);
        else Assert.Contains(detail, outcome.Detail, StringComparison.Ordinal);
        await qemu.Machine.Unquiesce(operation);
        Assert.Null(qemu.Machine.Observation.Hold!.ThawFailure);
        Assert.Null(qemu.Machine.Observation.Trouble);
    }

    [Fact]
    public async Task Unquiesce_ThawFails_IsInTheHoldAndTheProblemUntilItSucceeds()
    {
        await using var qemu = await FakeQemu.Create();
        var operation = await Prepared(qemu);
        (qemu.Agent["guest-fsfreeze-status"], qemu.Agent["guest-fsfreeze-freeze"]) = (Thawed, "{\"return\": 2}");
        qemu.Agent["guest-fsfreeze-thaw"] = "{\"error\": {\"desc\": \"it is stuck\"}}";
        await qemu.Machine.Quiesce(operation, Quiesce.Freeze, QemuLab.Patience, Stop);
        await qemu.Machine.Unquiesce(operation);
        Assert.Contains("it is stuck", qemu.Machine.Observation.Hold!.ThawFailure, StringComparison.Ordinal);
        Assert.Contains("still frozen", qemu.Machine.Observation.Trouble, StringComparison.Ordinal);

        qemu.Agent["guest-fsfreeze-thaw"] = "{\"return\": 2}";
        await QemuLab.Until(() => Task.FromResult(qemu.Machine.Observation.Trouble is null), () => "The problem stays.");
        Assert.NotNull(qemu.Machine.Observation.Hold!.ThawFailure);
    }

    [Fact]
    public async Task Unquiesce_GuestThatDoesNotThaw_IsReportedAndThawedByTheNextSilo()
    {
        await using var qemu = await FakeQemu.Create();
        var operation = await Prepared(qemu);
        (qemu.Agent["guest-fsfreeze-status"], qemu.Agent["guest-fsfreeze-freeze"]) = (Thawed, "{\"return\": 2}");
        qemu.Agent["guest-fsfreeze-thaw"] = "{\"error\": {\"desc\": \"it is stuck\"}}";
        await qemu.Machine.Quiesce(operation, Quiesce.Freeze, QemuLab.Patience, Stop);
        await qemu.Machine.Unquiesce(operation);
        await qemu.Machine.RemoveNextLayers(operation);
        await qemu.Machine.EndHold(operation);
        Assert.Null(qemu.Machine.Observation.Hold);

        await qemu.RestartSilo();
        Assert.Contains("still frozen", qemu.Machine.Observation.Trouble, StringComparison.Ordinal);

        qemu.Agent["guest-fsfreeze-thaw"] = "{\"return\": 2}";
        await QemuLab.Until(() => Task.FromResult(qemu.Machine.Observation.Trouble is null), () => "The problem stays.");
        await qemu.RestartSilo();
        Assert.Null(qemu.Machine.Observation.Trouble);
    }

    [Fact]
    public async Task EndHold_GuestIsStillFrozenByTheCapture_Thaws()
    {
        await using var qemu = await FakeQemu.Create();
        var operation = await Prepared(qemu);
        (qemu.Agent["guest-fsfreeze-status"], qemu.Agent["guest-fsfreeze-freeze"], qemu.Agent["guest-fsfreeze-thaw"]) = (Thawed, "{\"return\": 2}", "{\"return\": 2}");
        await qemu.Machine.Quiesce(operation, Quiesce.Freeze, QemuLab.Patience, Stop);

        // A silo that restarts in the middle leaves the guest as the capture wants it.
        await qemu.RestartSilo();
        Assert.Null(qemu.Machine.Observation.Trouble);
        Assert.True(qemu.Folder.MayBeFrozen);
        await qemu.Machine.EndHold(operation);
        await QemuLab.Until(() => Task.FromResult(!qemu.Folder.MayBeFrozen && qemu.Machine.Observation.Trouble is null), () => "The guest stays frozen.");
    }

    [Fact]
    public async Task Quiesce_ShutdownLosesTheConnection_DoesNotKillTheGuest()
    {
        await using var qemu = await FakeQemu.Create(ends: true);
        var operation = await Prepared(qemu);
        qemu.Instead["system_powerdown"] = () =>
        {
            qemu.HangsUp = true;
            return Task.FromResult<string?>("{}");
        };
        await Record.ExceptionAsync(() => qemu.Machine.Quiesce(operation, Quiesce.Shutdown, TimeSpan.FromMilliseconds(500), Stop));
        Assert.True(qemu.Process.IsAlive);
        await QemuLab.Until(
            () => Task.FromResult(qemu.Commands.Count(command => command == "query-status") > 1 && qemu.Machine.Observation.Trouble is null), () => "QEMU is not asked again.");
        await qemu.Machine.RemoveNextLayers(operation);
        await qemu.Machine.Unquiesce(operation);
        await qemu.Machine.EndHold(operation);
        Assert.Equal(VirtualMachineStatus.Running, qemu.Machine.Observation.Status);
    }

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task ShutDownForACapture_StartFailsAfterIt_IsLeftToTheHost(bool isLate)
    {
        await using var qemu = await FakeQemu.Create(ends: true);
        var operation = await Prepared(qemu);
        if (!isLate)
        {
            qemu.Instead["system_powerdown"] = async () =>
            {
                await qemu.End();
                return null;
            };
        }

        await Record.ExceptionAsync(() => qemu.Machine.Quiesce(operation, Quiesce.Shutdown, isLate ? TimeSpan.FromMilliseconds(1) : QemuLab.Patience, Stop));
        if (!isLate) await QemuLab.Until(() => Task.FromResult(qemu.Machine.Observation.Status is VirtualMachineStatus.Stopped), () => "The end is not seen.");
        Directory.CreateDirectory(Path.Combine(qemu.Folder.Path, "seed.iso.tmp"));
        await qemu.Machine.RemoveNextLayers(operation);
        var failure = await Record.ExceptionAsync(() => qemu.Machine.Unquiesce(operation));
        Assert.Equal(isLate, failure is null);
        await qemu.Machine.EndHold(operation);
        if (isLate) await qemu.End();

        await QemuLab.Until(() => Task.FromResult(qemu.Machine.Observation is { Status: VirtualMachineStatus.Stopped, StopReason: Hosts.StopReason.Died }), () => $"{qemu.Machine.Observation}");
        Assert.Equal(Hosts.StopReason.Died, qemu.Folder.ReadProcess()!.EndedBy);
    }

    [Fact]
    public async Task Unquiesce_ResumeHasFailed_ResumesTheGuestAndThenThaws()
    {
        await using var qemu = await FakeQemu.Create();
        var operation = await Prepared(qemu);
        (qemu.Agent["guest-fsfreeze-status"], qemu.Agent["guest-fsfreeze-freeze"], qemu.Agent["guest-fsfreeze-thaw"]) = (Thawed, "{\"return\": 2}", "{\"return\": 2}");
        await qemu.Machine.Quiesce(operation, Quiesce.Freeze, QemuLab.Patience, Stop);
        await qemu.Machine.Pause(operation);
        await qemu.Machine.Unquiesce(operation);
        Assert.False(qemu.IsPaused);
        Assert.Equal((VirtualMachineStatus.Running, null), (qemu.Machine.Observation.Status, qemu.Machine.Observation.Hold!.ThawFailure));
    }

    [Fact]
    public async Task SyncTops_OneMachineIsBusy_EndsWhenAPassOverAllIsQuick()
    {
        await using var idle = await FakeQemu.Create();
        await using var busy = await FakeQemu.Create();
        using var works = new ManualResetEventSlim();
        var (idlePasses, busyPasses) = (0, 0);
        idle.Sync = _ => Interlocked.Increment(ref idlePasses);
        busy.Sync = _ =>
        {
            if (Interlocked.Increment(ref busyPasses) > 1) return;
            works.Wait(Stop);
            busy.DiskTime.Advance(TimeSpan.FromSeconds(1));
        };
        var synced = QemuMachine.SyncTops([idle.Machine, busy.Machine], QemuLab.Patience, TimeProvider.System, Stop);
        await QemuLab.Until(() => Task.FromResult((idlePasses, busyPasses) == (1, 1)), () => $"{idlePasses} and {busyPasses} passes");
        Assert.False(synced.IsCompleted);

        // What the idle machine has written meanwhile is synced, too.
        works.Set();
        await synced;
        Assert.True(idlePasses >= 2);
        Assert.Equal(idlePasses, busyPasses);
    }

    [Fact]
    public async Task SyncTops_DiskHangs_EndsAfterTheBound()
    {
        await using var qemu = await FakeQemu.Create();
        using var works = new ManualResetEventSlim();
        qemu.Sync = _ => works.Wait(Stop);
        await QemuMachine.SyncTops([qemu.Machine], TimeSpan.FromMilliseconds(50), TimeProvider.System, Stop).WaitAsync(QemuLab.Patience, Stop);
        works.Set();
    }

    private static async Task<OperationId> Prepared(FakeQemu qemu)
    {
        var operation = OperationId.New();
        await qemu.Machine.AddNextLayers(operation, [qemu.Next]);
        return operation;
    }
}
