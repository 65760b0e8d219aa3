using Instances.Faults;
using Instances.Simulation;
using Instances.Testing;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Grains.Tests.VirtualMachines;

public sealed class PowerTests(ClusterFixture fixture) : ClusterTest(fixture)
{
    [Theory]
    [InlineData(PowerAction.Pause, VirtualMachineStatus.Paused)]
    [InlineData(PowerAction.Off, VirtualMachineStatus.Stopped)]
    [InlineData(PowerAction.Reset, VirtualMachineStatus.Running)]
    [InlineData(PowerAction.On, VirtualMachineStatus.Running)]
    public async Task Power_OfARunningMachine_IsDoneByItsHost(PowerAction action, VirtualMachineStatus expected)
    {
        var (scene, id) = await Machine();

        Assert.Equal(expected, (await scene.Machine(id).Power(action)).Status);

        await scene.AssertRestsDeployed();
    }

    [Fact]
    public async Task Power_WhoseAnswerIsLost_ShowsWhatTheHostDid()
    {
        var (scene, id) = await Machine();
        Cluster.Host.LoseNextAnswer(SimulatedCall.Power);

        Assert.Equal("hypervisor-failed", (await Assert.ThrowsAsync<FaultException>(() => scene.Machine(id).Power(PowerAction.Off))).Fault.Code);

        await scene.AssertRestsDeployed();
        Assert.Equal(VirtualMachineStatus.Running, (await scene.Machine(id).Power(PowerAction.On)).Status);
        await scene.AssertRestsDeployed();
    }

    [Fact]
    public async Task Observe_OfAGuestThatShutsDown_ShowsItStopped()
    {
        var (scene, id) = await Machine();

        Cluster.Host.GuestPowersOff(id);

        await Eventually.Holds(async () => (await scene.Machine(id).Get()).Status is VirtualMachineStatus.Stopped, "the machine is shown stopped");
        await scene.AssertRestsDeployed();
    }

    [Fact]
    public async Task Observe_OfAMachineThatBelongsToNobody_RemovesIt()
    {
        var (scene, id) = await Machine();
        var known = Cluster.Host.Machines[id];
        var orphan = VirtualMachineId.New();
        Cluster.Host.Machines[orphan] = new(known.Spec with { Id = orphan });

        Cluster.Host.GuestPowersOff(orphan);

        await Eventually.Holds(() => Task.FromResult(!Cluster.Host.Machines.ContainsKey(orphan)), "the orphan goes");
        await scene.AssertRestsDeployed();
    }

    private async Task<(Scene Scene, VirtualMachineId Id)> Machine()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        return (scene, (await scene.Machines())[0].Id);
    }
}
