using System.Text.Json;
using Instances.Appliances;
using Instances.Catalogue;
using Instances.Faults;
using Instances.Library;
using Instances.Operations;
using Instances.Testing;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Grains.Tests;

/// <summary>An appliance in a simulated cluster, and the checks for its idle states.</summary>
internal sealed class Scene
{
    private Scene(SimulatedCluster cluster, ApplianceId id, ImageView master) => (Cluster, Id, Master) = (cluster, id, master);

    public SimulatedCluster Cluster { get; }

    /// <summary>A new reference for the current silo, also after a crash.</summary>
    public IApplianceGrain Appliance => Cluster.Grains.Appliance(Id);

    public ApplianceId Id { get; }

    public ImageView Master { get; }

    public static async Task<Scene> Undeployed(SimulatedCluster cluster, int machines = 3, int disks = 1, int dataDisks = 0)
    {
        var master = await cluster.AddMaster(disks: disks);
        var appliance = await cluster.AddAppliance(machines, master.Id, dataDisks);
        return new(cluster, (await appliance.Get()).Id, master);
    }

    public static async Task<Scene> Deployed(SimulatedCluster cluster, int machines = 3, int disks = 1, int dataDisks = 0)
    {
        var scene = await Undeployed(cluster, machines, disks, dataDisks);
        Assert.Equal(OperationStatus.Succeeded, (await scene.Deploy()).Status);
        return scene;
    }

    /// <summary>Three machines: one runs, one is paused, one is stopped.</summary>
    public static async Task<Scene> DeployedInAllPowerStates(SimulatedCluster cluster)
    {
        var scene = await Deployed(cluster);
        var machines = await scene.Machines();
        await scene.Machine(machines[1].Id).Power(PowerAction.Pause);
        await scene.Machine(machines[2].Id).Power(PowerAction.Off);
        return scene;
    }

    public IVirtualMachineGrain Machine(VirtualMachineId id) => Cluster.Grains.VirtualMachine(id);

    public async Task<IReadOnlyList<VirtualMachineView>> Machines() => await Cluster.Machines(await Appliance.Get());

    public Task<ImageView> Image(ImageId id) => Cluster.Grains.Image(id).Get();

    public Task<OperationView> Deploy() => Cluster.Deploy(Appliance);

    public Task<OperationView> Undeploy() => Cluster.Undeploy(Appliance);

    public Task<OperationView> CreateInstance(CreateInstanceCommand command) => Cluster.CreateInstance(Appliance, command);

    /// <summary>All visible state of the appliance, its machines, its master and the master's slaves.</summary>
    public Task<string> Look() => Look(machine => machine);

    /// <summary>As <see cref="Look()"/>, without the disks: a capture that was undone after its seal leaves the machines on longer chains.</summary>
    public Task<string> LookWithoutDisks() => Look(machine => machine with { Disks = [] });

    private async Task<string> Look(Func<VirtualMachineView, VirtualMachineView> see)
    {
        var appliance = await Appliance.Get();
        var machines = (await Cluster.Machines(appliance)).Select(see);
        var master = await Image(Master.Id);
        var slaves = (await Cluster.Catalogue.Images(new(Master: Master.Id), new(PageRequest.MaxLimit))).Items;
        var retired = (await Cluster.Catalogue.Images(new(Status: ImageStatus.Retired, Master: Master.Id), new(PageRequest.MaxLimit))).Items;
        return JsonSerializer.Serialize(new { appliance, machines, master, slaves, retired }, InstancesJson.Options);
    }

    /// <summary>Checks that the appliance is Deployed: every machine is on its host as in its record, and none is held.</summary>
    public async Task AssertRestsDeployed()
    {
        var appliance = await Appliance.Get();
        Assert.Equal((ApplianceStatus.Deployed, null), (appliance.Status, appliance.Operation));
        foreach (var machine in (await Machines()).Where(machine => machine.Status is not VirtualMachineStatus.Undeployed))
        {
            Assert.True(machine.Status is VirtualMachineStatus.Running or VirtualMachineStatus.Paused or VirtualMachineStatus.Stopped, $"{machine.Name} is {machine.Status}");
            var found = Cluster.Host.Machines[machine.Id];
            Assert.Equal(machine.Status, found.Status);
            Assert.Equal(machine.Disks.Select(disk => string.Join('<', disk.Layers)), found.Disks.Select(disk => string.Join('<', disk.Layers)));
            Assert.Null(found.Hold);
            Assert.Empty(found.NextLayers);
            Assert.False(found.IsFrozen || found.WasPaused || found.WasShutDown);
        }

        await AssertNothingWithoutOwner();
    }

    /// <summary>Checks that the appliance is Undeployed: no host has anything of it.</summary>
    public async Task AssertRestsUndeployed()
    {
        var appliance = await Appliance.Get();
        Assert.Equal((ApplianceStatus.Undeployed, null), (appliance.Status, appliance.Operation));
        Assert.All(await Machines(), machine =>
        {
            Assert.Equal((VirtualMachineStatus.Undeployed, null), (machine.Status, machine.Host));
            Assert.Empty(machine.Disks);
            Assert.DoesNotContain(machine.Id, Cluster.Host.Machines.Keys);
        });
        await AssertNothingWithoutOwner();
    }

    /// <summary>Checks that after a sweep the library has exactly the referenced layers.</summary>
    public async Task AssertNothingWithoutOwner()
    {
        await Cluster.Grains.Library().Sweep();
        Assert.Equal((await Cluster.Catalogue.ReferencedLayers()).Order(), Cluster.Layers.Layers.Keys.Order());
        var deployable = await Task.WhenAll(Cluster.Catalogue.ImagesIn(ImageStatus.Ready), Cluster.Catalogue.ImagesIn(ImageStatus.Retired));
        Assert.Equal(deployable.SelectMany(images => images).Order(), Cluster.Layers.Manifests.Order());
    }

    /// <summary>Every instance of the operation is a Ready slave with a chain that is sealed.</summary>
    public async Task<IReadOnlyList<ImageView>> AssertInstances(OperationView operation, int count)
    {
        Assert.Equal(OperationStatus.Succeeded, operation.Status);
        Assert.Equal(count, operation.Result!.Instances!.Count);
        var images = await Task.WhenAll(operation.Result.Instances.Select(instance => Image(instance.Image)));
        foreach (var image in images)
        {
            Assert.Equal((ImageKind.Slave, ImageStatus.Ready, Master.Id), (image.Kind, image.Status, image.Master!.Value));
            Assert.Equal($"{Master.Name}-{image.Id}", image.Name);
            Assert.Equal(operation.Id, image.Capture!.Operation);
            Assert.All(image.Disks.SelectMany(disk => disk.Layers), layer => Assert.True(Cluster.Layers.Layers[layer.Id]));
        }

        return images;
    }

    /// <summary>Checks that the call is refused with the code and a sentence that names the subject, and that the visible state has not changed.</summary>
    public async Task AssertRefused(Func<Task> call, FaultKind kind, string code, string names)
    {
        var before = await Look();
        var exception = await Assert.ThrowsAsync<FaultException>(call);
        Assert.Equal((kind, code), (exception.Fault.Kind, exception.Fault.Code));
        Assert.Contains(names, exception.Fault.Message, StringComparison.Ordinal);
        Assert.Equal(before, await Look());
    }
}

/// <summary>Ids have no order of their own.</summary>
internal static class IdOrder
{
    public static IEnumerable<Guid> Order(this IEnumerable<LayerId> ids) => ids.Select(id => id.Value).Order();

    public static IEnumerable<Guid> Order(this IEnumerable<ImageId> ids) => ids.Select(id => id.Value).Order();
}
