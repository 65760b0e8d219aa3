using Instances.Appliances;
using Instances.Simulation;
using Instances.Storage;
using Microsoft.Extensions.DependencyInjection;
using Xunit;

namespace Instances.Grains.Tests.Appliances;

/// <summary>The largest appliance. The counted values do not depend on the speed of the machine.</summary>
public sealed class ScaleTests(ClusterFixture fixture) : ClusterTest(fixture)
{
    /// <summary>The appliance's own writes, its operations' and its reminders'.</summary>
    private const int Constant = 20;

    [Fact]
    public async Task CreateInstance_OfAThousandMachines_WritesThriceAMachineAndIsBoundedOnItsHost()
    {
        const int Machines = ApplianceGrain.MaxVirtualMachines;
        var scene = await Scene.Undeployed(Cluster, Machines);
        Cluster.Host.SetLatency(SimulatedCall.Start, TimeSpan.FromMilliseconds(1));
        Cluster.Host.SetLatency(SimulatedCall.Remove, TimeSpan.FromMilliseconds(1));

        var start = await Writes();
        await scene.Deploy();
        var deployed = await Writes();
        var operation = await scene.CreateInstance(new(UpdateImages: true));
        var captured = await Writes();

        await scene.AssertInstances(operation, Machines);
        await scene.AssertRestsUndeployed();
        Assert.InRange(deployed - start, Machines, (2 * Machines) + Constant);
        Assert.InRange(captured - deployed, Machines, (3 * Machines) + Constant);
        Assert.InRange(Cluster.Host.MostAtOnce(SimulatedCall.Start), 2, FanOut.PerHost);
        Assert.InRange(Cluster.Host.MostAtOnce(SimulatedCall.Remove), 2, FanOut.PerHost);

        var refused = await Assert.ThrowsAsync<Instances.Faults.FaultException>(() => Cluster.AddMachine(scene.Appliance, scene.Master.Id, "one-too-many"));
        Assert.Equal("too-many-virtual-machines", refused.Fault.Code);
    }

    /// <summary>Every write of a state raises its version by one. Writes of the library do not count, because a slow machine has more sweeps.</summary>
    private async Task<long> Writes()
    {
        await using var connection = await Cluster.Services.GetRequiredService<IDatabase>().DataSource.OpenConnectionAsync();
        await using var command = connection.CreateCommand();
        command.CommandText = "SELECT sum(Version) FROM OrleansStorage WHERE GrainTypeString <> 'library'";
        return (long)(await command.ExecuteScalarAsync())!;
    }
}
