using Instances.Appliances;
using Instances.Faults;
using Instances.Library;
using Instances.Requests;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Grains.Tests.Appliances;

/// <summary>Merge patches, versions, and the rules for specifications.</summary>
public sealed class PatchTests(ClusterFixture fixture) : ClusterTest(fixture)
{
    private const string Key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f me@home";

    [Fact]
    public async Task Patches_OfDifferentFieldsAtOnce_BothStand()
    {
        var scene = await Scene.Undeployed(Cluster, machines: 1);
        var machine = (await scene.Machines())[0];

        await Task.WhenAll(
            scene.Appliance.Patch(new("""{"name":"other"}"""), []), scene.Appliance.Patch(new("""{"description":"A shop."}"""), []),
            scene.Appliance.PatchVirtualMachine(machine.Id, new("""{"name":"web"}"""), []), scene.Appliance.PatchVirtualMachine(machine.Id, new("""{"cpus":4}"""), []));

        var (appliance, view) = (await scene.Appliance.Get(), await scene.Machine(machine.Id).Get());
        Assert.Equal(("other", "A shop.", 3), (appliance.Name, appliance.Description, appliance.Version));
        Assert.Equal(("web", (int?)4, 4, 3), (view.Name, view.Cpus, view.EffectiveCpus, view.Version));
    }

    [Fact]
    public async Task Patch_ThatChangesNothing_KeepsTheVersionAlsoForAnotherOne()
    {
        var scene = await Scene.Undeployed(Cluster, machines: 1);
        var machine = (await scene.Machines())[0];

        Assert.Equal(1, (await scene.Appliance.Patch(new("""{"name":"shop"}"""), [9])).Version);
        Assert.Equal(1, (await scene.Appliance.PatchVirtualMachine(machine.Id, new("""{"portForwards":[],"dataDisks":[]}"""), [9])).Version);
    }

    [Fact]
    public async Task Change_ForAnotherVersion_IsRefused()
    {
        var scene = await Scene.Undeployed(Cluster, machines: 1);
        var machine = (await scene.Machines())[0].Id;

        await scene.AssertRefused(() => scene.Appliance.Patch(new("""{"name":"x"}"""), [2, 3]), FaultKind.Changed, "appliance-changed", "version 1");
        await scene.AssertRefused(() => scene.Appliance.PatchVirtualMachine(machine, new("""{"name":"x"}"""), [2]), FaultKind.Changed, "virtual-machine-changed", "version 1");
        await scene.AssertRefused(() => scene.Appliance.Delete([2]), FaultKind.Changed, "appliance-changed", "version 1");
        await scene.AssertRefused(() => scene.Appliance.RemoveVirtualMachine(machine, [2]), FaultKind.Changed, "virtual-machine-changed", "version 1");
        await scene.Appliance.RemoveVirtualMachine(machine, [1]);
        await scene.Appliance.Delete([1]);
    }

    [Fact]
    public async Task View_OfAMachineThatNamesNoSize_ShowsWhatIsEffectiveInFieldsOfItsOwn()
    {
        var scene = await Scene.Undeployed(Cluster, machines: 0);

        var view = await scene.Appliance.AddVirtualMachine(VirtualMachineId.New(), new("web", scene.Master.Id, PortForwards: [new(80)], UserData: "\uFEFF#cloud-config\n"));

        Assert.Equal((null, null, 1, 256L << 20), (view.Cpus, view.MemoryBytes, view.EffectiveCpus, view.EffectiveMemoryBytes));
        Assert.Equal(0, view.PortForwards.Single().HostPort);
        Assert.Equal(Convert.ToHexStringLower(System.Security.Cryptography.SHA256.HashData("#cloud-config\n"u8)), view.UserDataSha256);
    }

    [Theory]
    [InlineData("hello world")]
    [InlineData("ssh-ed25519 AAAA me")]
    [InlineData("ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f")]
    [InlineData("ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4 cut")]
    public async Task SshKey_ThatIsNone_IsRefused(string key)
    {
        var scene = await Scene.Undeployed(Cluster, machines: 0);

        await scene.AssertRefused(() => Add(scene, new("web", scene.Master.Id, SshAuthorizedKeys: [Key, key])), FaultKind.Invalid, "virtual-machine-invalid", key[..11]);
    }

    [Fact]
    public async Task Seed_ThatIsRight_IsTaken()
    {
        var scene = await Scene.Undeployed(Cluster, machines: 0);

        Assert.Equal([Key], (await Add(scene, new("web", scene.Master.Id, SshAuthorizedKeys: [Key]))).SshAuthorizedKeys!);
        Assert.NotNull((await Add(scene, new("db", scene.Master.Id, UserDataBase64: "H4sA/w=="))).UserDataSha256);
    }

    [Theory, InlineData("a\0b", null, "U+0000"), InlineData(null, "%%%", "base64"), InlineData("a", "AAAA", "both given")]
    public async Task UserData_ThatIsNone_IsRefused(string? text, string? base64, string names)
    {
        var scene = await Scene.Undeployed(Cluster, machines: 0);

        await scene.AssertRefused(() => Add(scene, new("web", scene.Master.Id, UserData: text, UserDataBase64: base64)), FaultKind.Invalid, "virtual-machine-invalid", names);
    }

    [Fact]
    public async Task Text_WithControlCharacters_IsRefused()
    {
        var scene = await Scene.Undeployed(Cluster, machines: 0);

        await scene.AssertRefused(() => scene.Appliance.Patch(new("""{"description":"a\u0000b"}"""), []), FaultKind.Invalid, "description-invalid", "U+0000");
        Assert.Equal("a\n\tb", (await scene.Appliance.Patch(new("""{"description":"a\n\tb"}"""), [])).Description);
        foreach (var filter in (Catalogue.ImageFilter[])[new(Search: "\0"), new(Name: "a\0"), new(Labels: ["a=\0"])])
            Assert.Equal("filter-invalid", (await Assert.ThrowsAsync<FaultException>(() => Cluster.Catalogue.Images(filter, new()))).Fault.Code);
    }

    [Fact]
    public async Task HostPort_OfAnotherMachineOfTheAppliance_IsRefusedAndTheMachineNamed()
    {
        var scene = await Scene.Undeployed(Cluster, machines: 0);
        var web = await Add(scene, new("web", scene.Master.Id, PortForwards: [new(80, 18080)]));
        var db = await Add(scene, new("db", scene.Master.Id, PortForwards: [new(80, 18081), new(53, 18080, TransportProtocol.Udp)]));

        await scene.AssertRefused(() => Add(scene, new("mail", scene.Master.Id, PortForwards: [new(80, 18080)])), FaultKind.Conflict, "port-in-use", "'web'");
        await scene.AssertRefused(() => scene.Appliance.PatchVirtualMachine(db.Id, new("""{"portForwards":[{"guestPort":80,"hostPort":18080}]}"""), []), FaultKind.Conflict, "port-in-use", "'web'");
        await scene.Appliance.PatchVirtualMachine(web.Id, new("""{"portForwards":[{"guestPort":81,"hostPort":18080}]}"""), []);
        await scene.Appliance.RemoveVirtualMachine(web.Id);
        await Add(scene, new("mail", scene.Master.Id, PortForwards: [new(80, 18080)]));
    }

    private static Task<VirtualMachineView> Add(Scene scene, VirtualMachineSpec spec) => scene.Appliance.AddVirtualMachine(VirtualMachineId.New(), spec);
}
