using System.Net;
using System.Text;
using Instances.Appliances;
using Instances.Catalogue;
using Instances.Library;
using Xunit;
using static Instances.HttpExtensions;

namespace Instances.VirtualMachines;

public sealed class VirtualMachineEndpointTests(Gateway gateway)
{
    private readonly ApplianceId _appliance = ApplianceId.New();
    private readonly ImageId _image = ImageId.New();

    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Add_Machine_LeadsToIt()
    {
        var machine = await Add();

        using var list = await gateway.Http.Get($"/appliances/{_appliance}/virtual-machines");
        Assert.Equal([machine.Id], (await list.Read<Page<VirtualMachineView>>()).Items.Select(item => item.Id));
        foreach (var path in (string[])[$"/virtual-machines/{machine.Id}", $"/appliances/{_appliance}/virtual-machines/{machine.Id}"])
        {
            using var read = await gateway.Http.Get(path);
            Assert.Equal((machine.Id, "web", _image), ((await read.Read<VirtualMachineView>()) is { } view ? (view.Id, view.Name, view.Image) : default));
        }
    }

    [Fact]
    public async Task Get_MachineOfAnotherAppliance_IsNotFound()
    {
        var machine = await Add();

        using var response = await gateway.Http.Get($"/appliances/{ApplianceId.New()}/virtual-machines/{machine.Id}");

        await response.AssertProblem(404, "virtual-machine-not-found");
    }

    [Fact]
    public async Task Change_MergePatch_KeepsWhatItDoesNotName()
    {
        var machine = await Add();
        using var content = new StringContent("""{"cpus":4,"memoryBytes":null,"dataDisks":[1048576]}""", Encoding.UTF8, "application/json");

        using var response = await gateway.Http.PatchAsync($"{Local}/appliances/{_appliance}/virtual-machines/{machine.Id}", content, Cancelled);

        Assert.Equal(HttpStatusCode.OK, response.StatusCode);
        var spec = gateway.Datacenter.Machines[machine.Id].Spec;
        Assert.Equal(("web", _image, (int?)4, (long?)null), (spec.Name, spec.Image, spec.Cpus, spec.MemoryBytes));
        Assert.Equal([1048576], spec.DataDisks!);
    }

    [Fact]
    public async Task Change_WithWhatGetAnswered_ChangesNothingAndKeepsTheUserData()
    {
        var machine = await Add();
        var before = gateway.Datacenter.Machines[machine.Id].Spec with { UserData = "#cloud-config\n", Cpus = null };
        gateway.Datacenter.Machines[machine.Id] = (_appliance, before);
        using var got = await gateway.Http.Get($"/virtual-machines/{machine.Id}");
        using var content = new StringContent(await got.Content.ReadAsStringAsync(Cancelled), Encoding.UTF8, "application/json");
        using var request = new HttpRequestMessage(HttpMethod.Patch, $"{Local}/appliances/{_appliance}/virtual-machines/{machine.Id}") { Content = content };
        request.Headers.IfMatch.Add(got.Headers.ETag!);

        using var response = await gateway.Http.SendAsync(request, Cancelled);

        Assert.Equal((HttpStatusCode.OK, got.Headers.ETag), (response.StatusCode, response.Headers.ETag));
        var after = gateway.Datacenter.Machines[machine.Id].Spec;
        Assert.Equal((before.Name, before.Image, before.Cpus, before.MemoryBytes, before.UserData), (after.Name, after.Image, after.Cpus, after.MemoryBytes, after.UserData));
    }

    [Theory, InlineData("PATCH"), InlineData("DELETE")]
    public async Task Request_ForAnotherVersion_IsRefused(string method)
    {
        var machine = await Add();
        foreach (var path in (string[])[$"/appliances/{_appliance}/virtual-machines/{machine.Id}", $"/appliances/{_appliance}"])
        {
            using var request = new HttpRequestMessage(new(method), Local + path) { Content = new StringContent("""{"name":"other"}""", Encoding.UTF8, "application/json") };
            request.Headers.IfMatch.Add(new("\"7\""));

            using var response = await gateway.Http.SendAsync(request, Cancelled);

            await response.AssertProblem(412, "changed");
        }
    }

    [Fact]
    public async Task Remove_Machine_AnswersNothing()
    {
        var machine = await Add();

        using var response = await gateway.Http.DeleteAsync($"{Local}/appliances/{_appliance}/virtual-machines/{machine.Id}", Cancelled);

        Assert.Equal(HttpStatusCode.NoContent, response.StatusCode);
        Assert.False(gateway.Datacenter.Machines.ContainsKey(machine.Id));
    }

    [Theory, InlineData("off", VirtualMachineStatus.Stopped), InlineData("reset", VirtualMachineStatus.Running)]
    public async Task Power_Action_AnswersTheMachine(string action, VirtualMachineStatus status)
    {
        var machine = await Add();

        using var response = await gateway.Http.Post($"/virtual-machines/{machine.Id}/power", $$"""{"action":"{{action}}"}""");

        Assert.Equal(status, (await response.Read<VirtualMachineView>()).Status);
    }

    [Theory, InlineData("{}"), InlineData("""{"action":"explode"}"""), InlineData("""{"action":1}""")]
    public async Task Power_UnknownAction_IsMalformed(string json)
    {
        using var response = await gateway.Http.Post($"/virtual-machines/{VirtualMachineId.New()}/power", json);

        await response.AssertProblem(400, "request-malformed");
    }

    [Theory, InlineData("", 65_536), InlineData("?bytes=10", 10)]
    public async Task Console_Log_IsPlainText(string query, int bytes)
    {
        using var response = await gateway.Http.Get($"/virtual-machines/{VirtualMachineId.New()}/console-log{query}");

        Assert.Equal("text/plain", response.Content.Headers.ContentType?.MediaType);
        Assert.Equal($"äöü, the last {bytes} bytes", await response.Content.ReadAsStringAsync(Cancelled));
    }

    [Theory, InlineData(0), InlineData(65_537), InlineData(-1)]
    public async Task Console_BytesOutOfRange_IsInvalid(int bytes)
    {
        using var response = await gateway.Http.Get($"/virtual-machines/{VirtualMachineId.New()}/console-log?bytes={bytes}");

        await response.AssertProblem(422, "bytes-out-of-range");
    }

    private async Task<VirtualMachineView> Add()
    {
        using var created = await gateway.Http.Post($"/appliances/{_appliance}/virtual-machines", $$"""{"name":"web","image":"{{_image}}","memoryBytes":134217728}""");
        Assert.Equal(HttpStatusCode.Created, created.StatusCode);
        return await created.Read<VirtualMachineView>();
    }
}
