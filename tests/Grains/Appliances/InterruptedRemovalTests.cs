using Instances.Appliances;
using Instances.Faults;
using Instances.Operations;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Grains.Tests.Appliances;

/// <summary>The removal of a machine deletes its record first. If a crash interrupts it there, the appliance has a member without a record.</summary>
public sealed class InterruptedRemovalTests(ClusterFixture fixture) : ClusterTest(fixture)
{
    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Undeploy_WithAMemberWithoutARecord_Succeeds(bool force)
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        await InterruptRemoval(scene, await Cluster.AddMachine(scene.Appliance, scene.Master.Id, "gone"));

        Assert.Equal(OperationStatus.Succeeded, (await Cluster.End(await scene.Appliance.Undeploy(OperationId.New(), force))).Status);

        Assert.DoesNotContain(Cluster.Host.Machines.Values, machine => machine.Spec.Appliance == scene.Id);
        Assert.Equal(OperationStatus.Succeeded, (await scene.Deploy()).Status);
        await scene.AssertRestsDeployed();
    }

    [Fact]
    public async Task CreateInstance_WithAMemberWithoutARecord_CapturesTheOthersAndDropsIt()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        await InterruptRemoval(scene, await Cluster.AddMachine(scene.Appliance, scene.Master.Id, "gone"));

        await scene.AssertInstances(await scene.CreateInstance(new(Undeploy: true)), 1);

        Assert.Single((await scene.Appliance.Get()).VirtualMachines);
        await Cluster.AddMachine(scene.Appliance, scene.Master.Id, "gone");
    }

    [Fact]
    public async Task Deploy_OfNothingButAMemberWithoutARecord_FindsTheApplianceEmpty()
    {
        var scene = await Scene.Undeployed(Cluster, machines: 0);
        await InterruptRemoval(scene, await Cluster.AddMachine(scene.Appliance, scene.Master.Id, "gone"));

        Assert.Equal("appliance-empty", (await Assert.ThrowsAsync<FaultException>(() => scene.Appliance.Deploy(OperationId.New()))).Fault.Code);
    }

    [Fact]
    public async Task Remove_RepeatedWithItsVersion_EndsTheInterruptedRemoval()
    {
        var scene = await Scene.Undeployed(Cluster, machines: 1);
        var machine = (await scene.Machines())[0];
        await InterruptRemoval(scene, machine);

        await scene.Appliance.RemoveVirtualMachine(machine.Id, [machine.Version]);

        Assert.Empty((await scene.Appliance.Get()).VirtualMachines);
        Assert.Equal("virtual-machine-not-found", (await Assert.ThrowsAsync<FaultException>(() => scene.Appliance.RemoveVirtualMachine(machine.Id, [machine.Version]))).Fault.Code);
    }

    [Fact]
    public async Task Undeploy_WithAMachineThatTheCatalogueCannotRead_RemovesIt()
    {
        var scene = await Scene.Deployed(Cluster, machines: 2);
        Cluster.FailingCatalogue.Unlisted = (await scene.Machines())[0].Id;
        try
        {
            Assert.Equal(OperationStatus.Succeeded, (await scene.Undeploy()).Status);
            Assert.Equal(OperationStatus.Succeeded, (await scene.Deploy()).Status);
        }
        finally
        {
            Cluster.FailingCatalogue.Unlisted = null;
        }

        Assert.Equal(2, (await scene.Appliance.Get()).VirtualMachines.Count);
        await scene.AssertRestsDeployed();
    }

    private async Task InterruptRemoval(Scene scene, VirtualMachineView machine)
    {
        Cluster.AfterNext("Instances.VirtualMachines.IVirtualMachineGrain.Delete", () => throw new TimeoutException("The silo was told to die."));
        await Assert.ThrowsAnyAsync<Exception>(() => scene.Appliance.RemoveVirtualMachine(machine.Id, [machine.Version]));
        Assert.Contains(machine.Id, (await scene.Appliance.Get()).VirtualMachines);
        await Assert.ThrowsAsync<FaultException>(() => scene.Machine(machine.Id).Get());
    }
}
