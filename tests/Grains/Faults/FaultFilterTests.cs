using System.Data.Common;
using Instances.Faults;
using Instances.Simulation;
using Instances.Storage;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Grains.Tests.Faults;

/// <summary>Only faults leave a grain, and cancellations by the caller.</summary>
public sealed class FaultFilterTests(ClusterFixture fixture) : ClusterTest(fixture)
{
    [Fact]
    public async Task Call_WhenTheHypervisorThrowsWhatItShouldNot_FailsWithInternalErrorAndHidesTheCause()
    {
        var fault = await FaultOf(new FormatException("secret"));

        Assert.Equal((FaultKind.Internal, "internal-error"), (fault.Kind, fault.Code));
        Assert.DoesNotContain("secret", fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Call_WhenTheDatabaseIsAway_FailsWithStateUnavailable()
    {
        var fault = await FaultOf(new DatabaseAway());

        Assert.Equal((FaultKind.Unavailable, "state-unavailable"), (fault.Kind, fault.Code));
    }

    [Theory]
    [InlineData("53100", FaultKind.Capacity, "no-space")]
    [InlineData("22P05", FaultKind.Invalid, "value-not-storable")]
    [InlineData("57P01", FaultKind.Unavailable, "state-unavailable")]
    public async Task Call_WhenTheDatabaseRefuses_SaysWhetherToRepeatHelps(string state, FaultKind kind, string code)
    {
        var fault = await FaultOf(new StateWriteException(new DatabaseRefuses(state)));

        Assert.Equal((kind, code), (fault.Kind, fault.Code));
    }

    [Fact]
    public async Task Call_WhenAnotherGrainDoesNotAnswer_FailsWithGrainUnavailable()
    {
        var fault = await FaultOf(new TimeoutException("secret"));

        Assert.Equal((FaultKind.Unavailable, "grain-unavailable"), (fault.Kind, fault.Code));
        Assert.DoesNotContain("secret", fault.Message, StringComparison.Ordinal);
    }

    [Fact]
    public async Task Call_ThatFailsWithAFault_PassesItOnAsItIs()
    {
        var fault = await FaultOf(FaultException.Capacity("no-space", "The disk is full."));

        Assert.Equal(new Fault(FaultKind.Capacity, "no-space", "The disk is full."), fault);
    }

    [Fact]
    public async Task Call_ThatFailsWithAFaultWhoseCauseOthersDoNotKnow_LeavesTheCauseBehind()
    {
        var fault = await FaultOf(FaultException.Unavailable("hypervisor-failed", "It does not answer.", new DriverBroke()));

        Assert.Equal(new Fault(FaultKind.Unavailable, "hypervisor-failed", "It does not answer."), fault);
    }

    [Fact]
    public async Task Call_ThatIsBrokenOffThoughItsCallerHasNotCancelledIt_FailsWithGrainUnavailable()
    {
        var fault = await FaultOf(new OperationCanceledException());

        Assert.Equal((FaultKind.Unavailable, "grain-unavailable"), (fault.Kind, fault.Code));
    }

    private async Task<Fault> FaultOf(Exception thrown)
    {
        var machine = await Machine();
        Cluster.Host.ThrowNext(SimulatedCall.Power, thrown);
        return (await Assert.ThrowsAsync<FaultException>(() => machine.Power(PowerAction.Pause))).Fault;
    }

    private async Task<IVirtualMachineGrain> Machine()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        return scene.Machine((await scene.Machines())[0].Id);
    }

    private sealed class DatabaseAway : DbException;

    private sealed class DatabaseRefuses(string state) : DbException
    {
        public override string SqlState => state;
    }

    private sealed class DriverBroke : Exception;
}
