using Instances.Appliances;
using Instances.Faults;
using Instances.Library;
using Instances.Operations;
using Instances.Testing;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Grains.Tests.Appliances;

public sealed class CreateInstanceTests : IAsyncLifetime
{
    private SimulatedCluster _cluster = null!;

    public async ValueTask InitializeAsync() => _cluster = await SimulatedCluster.Start();

    public ValueTask DisposeAsync() => _cluster.DisposeAsync();

    [Fact]
    public async Task CreateInstance_OfAllWithUpdate_LeavesSlavesInUseAndTheApplianceUndeployed()
    {
        var master = await _cluster.AddMaster();
        var appliance = await _cluster.AddAppliance(3, master.Id);
        Assert.Equal(OperationStatus.Succeeded, (await _cluster.Deploy(appliance)).Status);

        var operation = await _cluster.CreateInstance(appliance, new(UpdateImages: true));

        Assert.Equal(OperationStatus.Succeeded, operation.Status);
        Assert.All(operation.Steps, step => Assert.Equal(StepStatus.Done, step.Status));
        var view = await appliance.Get();
        Assert.Equal(ApplianceStatus.Undeployed, view.Status);
        Assert.Null(view.Operation);
        Assert.Empty(_cluster.Host.Machines);
        var machines = await _cluster.Machines(view);
        foreach (var instance in operation.Result!.Instances!)
        {
            var image = await _cluster.Grains.GetGrain<IImageGrain>(instance.Image.Value).Get();
            Assert.Equal(ImageStatus.Ready, image.Status);
            Assert.Equal((ImageKind.Slave, master.Id, master.Id), (image.Kind, image.Master!.Value, image.Parent!.Value));
            Assert.Equal($"tiny-linux-{image.Id}", image.Name);
            Assert.Equal(2, Assert.Single(image.Disks).Layers.Count);
            Assert.True(image.Bytes > 0);
            Assert.Equal(ConsistencyLevel.Application, image.Capture!.Consistency);
            Assert.Equal(image.Id, machines.Single(machine => machine.Id == instance.VirtualMachine).Image);
        }

        Assert.Equal(1 + 3, _cluster.Layers.Layers.Count);
    }
}
