using Instances.Appliances;
using Instances.Hosts;
using Instances.Operations;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Grains.Tests.VirtualMachines;

public sealed class ReconciliationTests
{
    private const string Trouble = "it is in trouble";

    [Theory]
    // A power action whose answer was lost starts a stopped machine.
    [InlineData(VirtualMachineStatus.Stopped, VirtualMachineStatus.Stopped, VirtualMachineStatus.Running, null, VirtualMachineStatus.Running)]
    [InlineData(VirtualMachineStatus.Paused, VirtualMachineStatus.Paused, VirtualMachineStatus.Running, null, VirtualMachineStatus.Running)]
    [InlineData(VirtualMachineStatus.Running, VirtualMachineStatus.Paused, VirtualMachineStatus.Paused, null, VirtualMachineStatus.Paused)]
    [InlineData(VirtualMachineStatus.Running, VirtualMachineStatus.Running, VirtualMachineStatus.Stopped, StopReason.Power, VirtualMachineStatus.Stopped)]
    [InlineData(VirtualMachineStatus.Running, VirtualMachineStatus.Running, VirtualMachineStatus.Stopped, StopReason.Guest, VirtualMachineStatus.Stopped)]
    // A guest that was told to shut down and has not done so yet.
    [InlineData(VirtualMachineStatus.Running, VirtualMachineStatus.Stopped, VirtualMachineStatus.Running, null, VirtualMachineStatus.Stopped)]
    // The host is back.
    [InlineData(VirtualMachineStatus.Unknown, VirtualMachineStatus.Running, VirtualMachineStatus.Running, null, VirtualMachineStatus.Running)]
    [InlineData(VirtualMachineStatus.Unknown, VirtualMachineStatus.Paused, VirtualMachineStatus.Paused, null, VirtualMachineStatus.Paused)]
    [InlineData(VirtualMachineStatus.Unknown, VirtualMachineStatus.Running, VirtualMachineStatus.Stopped, null, VirtualMachineStatus.Running)]
    public void Decide_WithoutADeath_KeepsTheMachineAndFollowsTheWish(
        VirtualMachineStatus status, VirtualMachineStatus wished, VirtualMachineStatus seen, StopReason? reason, VirtualMachineStatus expected) =>
        Assert.Equal(new(seen, expected, null, ObserveVerdict.Keep), Reconciliation.Decide(status, wished, Seen(seen, reason)));

    [Theory]
    [InlineData(VirtualMachineStatus.Running)]
    [InlineData(VirtualMachineStatus.Stopped)]
    [InlineData(VirtualMachineStatus.Unknown)]
    public void Decide_DeathOfAMachineThatIsToRun_StartsItAgain(VirtualMachineStatus status)
    {
        var outcome = Reconciliation.Decide(status, VirtualMachineStatus.Running, Seen(VirtualMachineStatus.Stopped, StopReason.Died));

        Assert.Equal(new(VirtualMachineStatus.Stopped, VirtualMachineStatus.Running, Reconciliation.StartedAgain, ObserveVerdict.PowerOn), outcome);
    }

    [Theory]
    [InlineData(VirtualMachineStatus.Running)]
    [InlineData(VirtualMachineStatus.Paused)]
    [InlineData(VirtualMachineStatus.Unknown)]
    public void Decide_PauseOfAMachineThatIsToRun_ResumesIt(VirtualMachineStatus status) => Assert.Equal(
        new(VirtualMachineStatus.Paused, VirtualMachineStatus.Running, Reconciliation.ResumedAgain, ObserveVerdict.Resume),
        Reconciliation.Decide(status, VirtualMachineStatus.Running, Seen(VirtualMachineStatus.Paused)));

    [Fact]
    public void Decide_DeathThatTheHostHasGivenUpOn_ReportsIt()
    {
        var outcome = Reconciliation.Decide(
            VirtualMachineStatus.Stopped, VirtualMachineStatus.Running, Seen(VirtualMachineStatus.Stopped, StopReason.Died) with { Trouble = Trouble });

        Assert.Equal(new(VirtualMachineStatus.Stopped, VirtualMachineStatus.Running, Trouble, ObserveVerdict.Keep), outcome);
    }

    [Theory]
    [InlineData(VirtualMachineStatus.Stopped, null)]
    [InlineData(VirtualMachineStatus.Paused, Reconciliation.DiedPaused)]
    public void Decide_DeathOfAMachineThatIsNotToRun_LeavesItStopped(VirtualMachineStatus wished, string? problem) => Assert.Equal(
        new(VirtualMachineStatus.Stopped, wished, problem, ObserveVerdict.Keep),
        Reconciliation.Decide(VirtualMachineStatus.Running, wished, Seen(VirtualMachineStatus.Stopped, StopReason.Died)));

    [Fact]
    public void Decide_PauseByADiskThatFails_ReportsItAndKeepsTheWish() => Assert.Equal(
        new(VirtualMachineStatus.Paused, VirtualMachineStatus.Running, Trouble, ObserveVerdict.Keep),
        Reconciliation.Decide(VirtualMachineStatus.Running, VirtualMachineStatus.Running, Seen(VirtualMachineStatus.Paused) with { Trouble = Trouble }));

    [Theory]
    [InlineData(VirtualMachineStatus.Paused, null)]
    [InlineData(VirtualMachineStatus.Stopped, StopReason.Guest)]
    [InlineData(VirtualMachineStatus.Stopped, StopReason.Died)]
    public void Decide_WhatACaptureHolds_IsLeftToIt(VirtualMachineStatus seen, StopReason? reason) => Assert.Equal(
        new(seen, VirtualMachineStatus.Running, null, ObserveVerdict.Keep),
        Reconciliation.Decide(VirtualMachineStatus.Running, VirtualMachineStatus.Running, Seen(seen, reason) with { Hold = new(OperationId.New(), default) }));

    private static MachineObservation Seen(VirtualMachineStatus status, StopReason? reason = null) =>
        new(VirtualMachineId.New(), ApplianceId.New(), status, [], [], 1L << 20, 1, Hold: null, Deployment: OperationId.New(), StopReason: reason);
}
