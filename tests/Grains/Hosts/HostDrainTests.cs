using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.Simulation;
using Instances.Testing;
using Instances.VirtualMachines;
using Microsoft.Extensions.DependencyInjection;
using Xunit;

namespace Instances.Grains.Tests.Hosts;

/// <summary>What the stop of a host's silo waits for. Each test has its own silo, because a drain cannot be undone.</summary>
public sealed class HostDrainTests : IAsyncLifetime
{
    private SimulatedCluster _cluster = null!;

    public async ValueTask InitializeAsync() => _cluster = await SimulatedCluster.Start();

    public ValueTask DisposeAsync() => _cluster.DisposeAsync();

    [Fact]
    public async Task Capture_OfAMachineThatIsRemovedAsAnOrphan_IsNotWaitedForAnyMore()
    {
        var scene = await Scene.Deployed(_cluster, machines: 1);
        var known = _cluster.Host.Machines[(await scene.Machines())[0].Id].Spec;
        var orphan = VirtualMachineId.New();
        _cluster.Host.Machines[orphan] = new SimulatedMachine(known with { Id = orphan });
        var host = _cluster.Grains.Host(new HostId(new HostOptions().Name));
        await host.PrepareNextLayers(OperationId.New(), [new(orphan, [LayerId.New()])]);
        var end = _cluster.Services.GetRequiredService<Drain>().WaitForEnd(Bounds.Wait, TimeProvider.System);
        Assert.False(end.IsCompleted);

        await host.RemoveOrphan(orphan, []);

        Assert.True(await end);
    }
}
