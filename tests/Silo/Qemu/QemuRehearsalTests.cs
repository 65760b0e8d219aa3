using Instances.Appliances;
using Instances.Faults;
using Instances.Operations;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Qemu;

/// <summary>The capture at a host's start, on real QEMU.</summary>
public sealed class QemuRehearsalTests
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Rehearse_CapturesAMachineThatRuns_AndLeavesNothing()
    {
        await using var lab = await QemuLab.Create();
        VirtualMachineId? rehearsed = null;
        await lab.Driver.Rehearse(
            async (machine, operation) =>
            {
                rehearsed = machine;
                var before = await lab.Observe(machine);
                Assert.Equal(VirtualMachineStatus.Running, before.Status);
                await lab.Driver.Pause(machine, operation);
                await lab.Driver.Seal(machine, operation);
                Assert.NotEqual(QemuLab.TopsOf(before.Disks), QemuLab.TopsOf((await lab.Observe(machine)).Disks));
                await lab.Driver.Resume(machine, operation);
                await lab.Driver.EndHold(machine, operation);
            },
            Stop);

        Assert.NotNull(rehearsed);
        await AssertNothingLeft(lab);
    }

    [Fact]
    public async Task Rehearse_ThatFails_SaysSoAndLeavesNothing()
    {
        await using var lab = await QemuLab.Create();
        await Assert.ThrowsAsync<FaultException>(() => lab.Driver.Rehearse((machine, _) => lab.Driver.Seal(machine, OperationId.New()), Stop));
        await AssertNothingLeft(lab);
    }

    [Fact]
    public async Task Rehearse_AfterASiloDiedInTheMiddle_EndsWhatItLeft()
    {
        await using var lab = await QemuLab.Create();
        var dead = lab.Driver;
        var reached = new TaskCompletionSource();
        var never = new TaskCompletionSource();
        var interrupted = dead.Rehearse((_, _) => { reached.SetResult(); return never.Task; }, Stop);
        await reached.Task.WaitAsync(QemuLab.Patience, Stop);
        Assert.Single(QemuProcess.FindAll(Path.Combine(lab.Options.RunFolder, "rehearsal")));

        Assert.Empty(await lab.RestartDriver());
        await lab.Driver.Rehearse((_, _) => Task.CompletedTask, Stop);
        await AssertNothingLeft(lab);

        never.SetResult();
        await Record.ExceptionAsync(() => interrupted);
    }

    private static async Task AssertNothingLeft(QemuLab lab)
    {
        Assert.Empty(await lab.Driver.List());
        Assert.Empty(Directory.EnumerateFileSystemEntries(lab.Options.RunFolder));
        Assert.Empty(QemuProcess.FindAll(Path.Combine(lab.Options.RunFolder, "rehearsal")));
    }
}
