using Instances.Faults;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Grains.Tests.Appliances;

/// <summary>Refusals name the status and change nothing.</summary>
public sealed class IllegalRequestTests(ClusterFixture fixture) : ClusterTest(fixture)
{
    [Fact]
    public async Task CreateInstance_OfAnUndeployedAppliance_IsRefused()
    {
        var scene = await Scene.Undeployed(Cluster);
        await scene.AssertRefused(() => scene.CreateInstance(new()), FaultKind.Conflict, "appliance-not-deployed", "Undeployed");
    }

    [Fact]
    public async Task CreateInstance_OfAMachineThatIsNotDeployed_IsRefused()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        var later = await Cluster.AddMachine(scene.Appliance, scene.Master.Id, "later");
        await scene.AssertRefused(() => scene.CreateInstance(new([later.Id])), FaultKind.Conflict, "virtual-machine-not-deployed", "Undeployed");
    }

    [Fact]
    public async Task CreateInstance_OfAnEmptyChoice_IsRefused()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        await scene.AssertRefused(() => scene.CreateInstance(new([])), FaultKind.Invalid, "choice-empty", "No virtual machine");
    }

    [Fact]
    public async Task CreateInstance_OfAMachineOfAnotherAppliance_IsRefused()
    {
        var (scene, other) = (await Scene.Deployed(Cluster, machines: 1), await Scene.Deployed(Cluster, machines: 1));
        var foreign = (await other.Machines())[0].Id;
        await scene.AssertRefused(() => scene.CreateInstance(new([foreign])), FaultKind.Invalid, "virtual-machine-not-in-appliance", foreign.ToString());
    }

    [Fact]
    public async Task CreateInstance_OfARepeatedChoice_IsRefused()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        var machine = (await scene.Machines())[0].Id;
        await scene.AssertRefused(() => scene.CreateInstance(new([machine, machine])), FaultKind.Invalid, "choice-repeated", "twice");
    }

    [Fact]
    public async Task AnyCommand_WhileAnInstanceIsCreated_IsRefused()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        var machine = (await scene.Machines())[0];
        Cluster.Probe.HoldBefore = "seal";
        var operation = await scene.Appliance.CreateInstance(OperationId.New(), new());
        await Cluster.Probe.Arrived;

        await AssertBusy(scene, machine, "Bundling");
        await scene.AssertRefused(() => scene.Machine(machine.Id).Power(PowerAction.Off), FaultKind.Conflict, "virtual-machine-busy", "Capturing");

        Cluster.Probe.Release();
        await scene.AssertInstances(await Cluster.End(operation), 1);
    }

    [Fact]
    public async Task AnyCommand_WhileItIsDeployed_IsRefused()
    {
        var scene = await Scene.Undeployed(Cluster, machines: 1);
        var machine = (await scene.Machines())[0];
        Cluster.Probe.HoldBefore = "finish";
        var operation = await scene.Appliance.Deploy(OperationId.New());
        await Cluster.Probe.Arrived;

        await AssertBusy(scene, machine, "Deploying");

        Cluster.Probe.Release();
        Assert.Equal(OperationStatus.Succeeded, (await Cluster.End(operation)).Status);
    }

    [Fact]
    public async Task AnyCommand_WhileItIsUndeployed_IsRefused()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        var machine = (await scene.Machines())[0];
        Cluster.Probe.HoldBefore = "undeploy";
        var operation = await scene.Appliance.Undeploy(OperationId.New(), force: false);
        await Cluster.Probe.Arrived;

        await AssertBusy(scene, machine, "Undeploying");

        Cluster.Probe.Release();
        Assert.Equal(OperationStatus.Succeeded, (await Cluster.End(operation)).Status);
    }

    [Fact]
    public async Task Deploy_OfAnEmptyAppliance_IsRefused()
    {
        var scene = await Scene.Undeployed(Cluster, machines: 0);
        await scene.AssertRefused(() => scene.Deploy(), FaultKind.Conflict, "appliance-empty", "Undeployed");
    }

    [Fact]
    public async Task Deploy_OfWhatIsDeployedWhole_IsRefused()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        await scene.AssertRefused(() => scene.Deploy(), FaultKind.Conflict, "appliance-deployed", "Deployed");
    }

    [Fact]
    public async Task Undeploy_OfWhatIsUndeployed_IsRefused()
    {
        var scene = await Scene.Undeployed(Cluster, machines: 1);
        await scene.AssertRefused(() => scene.Undeploy(), FaultKind.Conflict, "appliance-not-deployed", "Undeployed");
    }

    [Fact]
    public async Task Delete_OfADeployedAppliance_IsRefused()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        await scene.AssertRefused(() => scene.Appliance.Delete(), FaultKind.Conflict, "appliance-deployed", "Deployed");
    }

    [Theory]
    [InlineData(ImageStatus.Importing)]
    [InlineData(ImageStatus.Failed)]
    [InlineData(ImageStatus.Retired)]
    public async Task AddAndChange_WithAnImageThatIsNotReady_AreRefused(ImageStatus status)
    {
        var scene = await Scene.Undeployed(Cluster, machines: 1);
        var image = await ImageIn(status);
        await scene.AssertRefused(() => Cluster.AddMachine(scene.Appliance, image, "other"), FaultKind.Conflict, "image-not-ready", status.ToString());
        var machine = (await scene.Machines())[0];
        await scene.AssertRefused(
            () => scene.Appliance.ChangeVirtualMachine(machine.Id, new(machine.Name, image)), FaultKind.Conflict, "image-not-ready", status.ToString());
    }

    [Fact]
    public async Task AddVirtualMachine_WithAnImageThatDoesNotExist_IsRefused()
    {
        var scene = await Scene.Undeployed(Cluster, machines: 1);
        await scene.AssertRefused(() => Cluster.AddMachine(scene.Appliance, ImageId.New(), "other"), FaultKind.NotFound, "image-not-found", "no such image");
    }

    [Fact]
    public async Task AddVirtualMachine_WithANameThatIsTaken_IsRefused()
    {
        var scene = await Scene.Undeployed(Cluster, machines: 1);
        await scene.AssertRefused(() => Cluster.AddMachine(scene.Appliance, scene.Master.Id, "VM0"), FaultKind.Conflict, "name-taken", "VM0");
    }

    [Fact]
    public async Task DeleteImage_OfAMasterWithSlaves_IsRefused()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        await scene.CreateInstance(new());
        await scene.Appliance.RemoveVirtualMachine((await scene.Machines())[0].Id);
        await scene.AssertRefused(() => Cluster.Grains.Image(scene.Master.Id).Delete(), FaultKind.Conflict, "master-has-slaves", "Ready");
    }

    [Fact]
    public async Task DeleteImage_InUse_IsRefusedAndNamesTheMachines()
    {
        var scene = await Scene.Undeployed(Cluster, machines: 1);
        var machine = (await scene.Machines())[0].Id;
        await scene.AssertRefused(() => Cluster.Grains.Image(scene.Master.Id).Delete(), FaultKind.Conflict, "image-in-use", machine.ToString());
        await scene.AssertRefused(() => Cluster.Grains.Image(scene.Master.Id).Delete(), FaultKind.Conflict, "image-in-use", "Ready");
    }

    [Fact]
    public async Task ChangeAndRemove_OfADeployedMachine_AreRefused()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        var machine = (await scene.Machines())[0];
        await scene.AssertRefused(
            () => scene.Appliance.ChangeVirtualMachine(machine.Id, new("other", machine.Image)), FaultKind.Conflict, "virtual-machine-deployed", "Running");
        await scene.AssertRefused(() => scene.Appliance.RemoveVirtualMachine(machine.Id), FaultKind.Conflict, "virtual-machine-deployed", "Running");
    }

    [Fact]
    public async Task Power_OfAnUndeployedMachine_IsRefused()
    {
        var scene = await Scene.Undeployed(Cluster, machines: 1);
        var machine = (await scene.Machines())[0].Id;
        await scene.AssertRefused(() => scene.Machine(machine).Power(PowerAction.On), FaultKind.Conflict, "virtual-machine-not-deployed", "Undeployed");
    }

    [Fact]
    public async Task AnyCommand_OnWhatDoesNotExist_IsRefused()
    {
        var scene = await Scene.Undeployed(Cluster, machines: 1);
        var none = Cluster.Grains.Appliance(Instances.Appliances.ApplianceId.New());
        foreach (var call in new Func<Task>[] { none.Get, () => none.Delete(), () => none.Deploy(OperationId.New()), () => none.CreateInstance(OperationId.New(), new()) })
            await scene.AssertRefused(call, FaultKind.NotFound, "appliance-not-found", "no such appliance");
        await scene.AssertRefused(
            () => scene.Appliance.RemoveVirtualMachine(VirtualMachineId.New()), FaultKind.NotFound, "virtual-machine-not-found", "no such virtual machine");
    }

    private static async Task AssertBusy(Scene scene, VirtualMachineView machine, string status)
    {
        var appliance = scene.Appliance;
        Func<Task>[] calls =
        [
            () => appliance.Deploy(OperationId.New()),
            () => appliance.Undeploy(OperationId.New(), force: false),
            () => appliance.CreateInstance(OperationId.New(), new()),
            () => appliance.Change(new("other")),
            () => appliance.Delete(),
            () => appliance.AddVirtualMachine(VirtualMachineId.New(), new("other", machine.Image)),
            () => appliance.ChangeVirtualMachine(machine.Id, new("other", machine.Image)),
            () => appliance.RemoveVirtualMachine(machine.Id),
        ];
        foreach (var call in calls) await scene.AssertRefused(call, FaultKind.Conflict, "appliance-busy", status);
    }

    private async Task<ImageId> ImageIn(ImageStatus status)
    {
        if (status is ImageStatus.Retired)
        {
            Cluster.Library.GracePeriod = TimeSpan.FromDays(1);
            var master = await Cluster.AddMaster();
            await Cluster.Grains.Image(master.Id).Delete();
            return master.Id;
        }

        var (image, operation) = (ImageId.New(), OperationId.New());
        await Cluster.Grains.Image(image).BeginImport(operation, new("upload", ImageFormat.Raw));
        if (status is ImageStatus.Failed) await Cluster.Grains.Image(image).FailImport(operation, new(FaultKind.Invalid, "not-an-image", "It is none."));
        return image;
    }
}
