using System.Text.Json;
using Instances.Appliances;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Grains.Tests.VirtualMachines;

/// <summary>A guest keeps its identity while its work is kept, so that cloud-init does its first-boot work once.</summary>
public sealed class GuestIdentityTests(ClusterFixture fixture) : ClusterTest(fixture)
{
    private static readonly VirtualMachineId s_machine = VirtualMachineId.New();
    private static readonly VirtualMachineId s_other = VirtualMachineId.New();
    private static readonly OperationId s_deployment = OperationId.New();

    public static TheoryData<MachineIdentity?, string?, string> Choices() => new()
    {
        // The identity of the image: of this machine ("own"), of another one ("other"), or none.
        { null, null, $"{s_machine}" },
        { null, "own", "earlier" },
        { null, "other", $"{s_machine}" },
        { MachineIdentity.Keep, null, $"{s_machine}" },
        { MachineIdentity.Keep, "own", "earlier" },
        { MachineIdentity.Keep, "other", "earlier" },
        { MachineIdentity.New, null, $"{s_machine}.{s_deployment}" },
        { MachineIdentity.New, "own", $"{s_machine}.{s_deployment}" },
        { MachineIdentity.New, "other", $"{s_machine}.{s_deployment}" },
    };

    [Theory]
    [MemberData(nameof(Choices))]
    public void Choose_EachWishAndImage_IsAsTheTableSays(MachineIdentity? wished, string? captured, string expected) =>
        Assert.Equal(expected, GuestIdentities.Choose(s_machine, s_deployment, wished, captured switch
        {
            "own" => new(s_machine, "earlier"),
            "other" => new(s_other, "earlier"),
            _ => null,
        }));

    [Fact]
    public async Task Capture_AndDeployedAgain_TheGuestIsTheSame()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        var before = Assert.Single(await scene.Machines());
        Assert.Equal($"{before.Id}", before.InstanceId);

        var image = Assert.Single(await scene.AssertInstances(await scene.CreateInstance(new(UpdateImages: true)), 1));
        Assert.Null((await scene.Machine(before.Id).Get()).InstanceId);
        await scene.Deploy();

        Assert.Equal(new(before.Id, before.InstanceId!), image.Identity);
        Assert.Equal((image.Id, before.InstanceId), await Deployed(before.Id));
        Assert.Equal(before.InstanceId, Cluster.Host.Machines[before.Id].Spec.InstanceId);

        async Task<(ImageId, string?)> Deployed(VirtualMachineId id)
        {
            var view = await scene.Machine(id).Get();
            return (view.Image, view.InstanceId);
        }
    }

    [Theory]
    [InlineData(null)]
    [InlineData(MachineIdentity.Keep)]
    [InlineData(MachineIdentity.New)]
    public async Task Deploy_OfAnotherMachineFromAnInstance_IsANewGuestUnlessItKeepsTheIdentity(MachineIdentity? wished)
    {
        var source = await Scene.Deployed(Cluster, machines: 1);
        var original = Assert.Single(await source.Machines());
        var image = Assert.Single(await source.AssertInstances(await source.CreateInstance(new()), 1));
        var appliance = await Cluster.AddAppliance(0, image.Id);
        var machine = (await appliance.AddVirtualMachine(VirtualMachineId.New(), new("copy", image.Id, Identity: wished))).Id;

        var deployment = await Cluster.Deploy(appliance);

        var view = await source.Machine(machine).Get();
        Assert.Equal(wished, view.Identity);
        Assert.Equal(wished switch
        {
            MachineIdentity.Keep => original.InstanceId,
            MachineIdentity.New => $"{machine}.{deployment.Id}",
            _ => $"{machine}",
        }, view.InstanceId);
    }

    [Fact]
    public void InstanceIdOf_DeploymentOfAnEarlierRelease_IsTheOneThatItsGuestHas()
    {
        var stored = JsonSerializer.Deserialize<Deployment>(
            $$"""{"operation":"{{s_deployment}}","host":"local","disks":[],"ownLayers":[],"portForwards":[]}""", InstancesJson.Options)!;
        Assert.Equal($"{s_machine}.{s_deployment}", VirtualMachineState.InstanceIdOf(s_machine, stored));
    }
}
