using System.Net;
using System.Text;
using Instances.Catalogue;
using Instances.Operations;
using Instances.VirtualMachines;
using Xunit;
using static Instances.HttpExtensions;

namespace Instances.Appliances;

public sealed class ApplianceEndpointTests(Gateway gateway)
{
    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Create_Appliance_LeadsToIt()
    {
        using var created = await gateway.Http.Post("/appliances", """{"name":"shop","description":"two machines"}""");

        Assert.Equal(HttpStatusCode.Created, created.StatusCode);
        var appliance = await created.Read<ApplianceView>();
        using var read = await gateway.Http.GetAsync(created.Headers.Location, Cancelled);
        var view = await read.Read<ApplianceView>();
        Assert.Equal((appliance.Id, "shop", "two machines"), (view.Id, view.Name, view.Description));
    }

    [Theory]
    [InlineData("{}", "shop", "text")]
    [InlineData("""{"name":"store"}""", "store", "text")]
    [InlineData("""{"description":null}""", "shop", null)]
    [InlineData("""{"Description":null}""", "shop", null)]
    [InlineData("""{"name":"store","description":"other"}""", "store", "other")]
    public async Task Change_MergePatch_ChangesWhatItNames(string patch, string name, string? description)
    {
        var id = await Create();

        using var response = await Patch($"/appliances/{id}", patch);

        Assert.Equal((name, description), ((await response.Read<ApplianceView>()).Name, gateway.Datacenter.Appliances[id].Description));
    }

    [Fact]
    public async Task Change_OfARetentionRule_KeepsTheRestOfIt()
    {
        var id = await Create();

        using var first = await Patch($"/appliances/{id}", """{"retention":{"keepLast":3,"keepForHours":48}}""");
        using var second = await Patch($"/appliances/{id}", """{"retention":{"keepForHours":null}}""");
        using var third = await Patch($"/appliances/{id}", """{"name":"store"}""");

        var view = await third.Read<ApplianceView>();
        Assert.Equal(("store", new Instances.Library.RetentionRule(3)), (view.Name, view.Retention));
        Assert.Equal("text", gateway.Datacenter.Appliances[id].Description);
    }

    [Theory]
    [InlineData("[]")]
    [InlineData("\"shop\"")]
    [InlineData("""{"name":null}""")]
    [InlineData("""{"name":1}""")]
    [InlineData("""{"status":"deployed"}""")]
    [InlineData("""{"name":"a","name":"b"}""")]
    public async Task Change_PatchThatIsNone_IsMalformed(string patch)
    {
        var id = await Create();

        using var response = await Patch($"/appliances/{id}", patch);

        await response.AssertProblem(400, "request-malformed");
        Assert.Equal("shop", gateway.Datacenter.Appliances[id].Name);
    }

    [Fact]
    public async Task Delete_Appliance_AnswersNothing()
    {
        var id = await Create();

        using var response = await gateway.Http.DeleteAsync($"{Local}/appliances/{id}", Cancelled);

        Assert.Equal(HttpStatusCode.NoContent, response.StatusCode);
        using var read = await gateway.Http.Get($"/appliances/{id}");
        await read.AssertProblem(404, "appliance-not-found");
    }

    [Fact]
    public async Task List_PageByPage_PassesLimitAndCursorOn()
    {
        using var first = await gateway.Http.Get("/appliances?limit=7");
        using var last = await gateway.Http.Get("/appliances?cursor=last");

        Assert.Equal("limit 7 cursor ", (await first.Read<Page<ApplianceView>>()).NextCursor);
        Assert.Null((await last.Read<Page<ApplianceView>>()).NextCursor);
    }

    [Fact]
    public async Task CreateInstance_WithoutABody_MeansAllFrozenAndUndeployed()
    {
        Assert.Equal(new CreateInstanceCommand(null, UpdateImages: false, Quiesce.Freeze, Undeploy: true), await CreateInstance(json: null));
        Assert.Equal(new CreateInstanceCommand(), await CreateInstance("{}"));
        Assert.Equal(new CreateInstanceCommand(), await CreateInstance("""{"virtualMachines":"all"}"""));
    }

    [Fact]
    public async Task CreateInstance_WithAChoice_PassesItOn()
    {
        var machine = VirtualMachineId.New();

        var command = await CreateInstance($$"""{"virtualMachines":["{{machine}}"],"updateImages":true,"quiesce":"shutdown","undeploy":false}""");

        Assert.Equal([machine], command.VirtualMachines);
        Assert.Equal(new CreateInstanceCommand(null, UpdateImages: true, Quiesce.Shutdown, Undeploy: false), command with { VirtualMachines = null });
    }

    [Fact]
    public async Task CreateInstance_OfNoMachine_IsForTheGrainToRefuse() =>
        Assert.Equal([], (await CreateInstance("""{"virtualMachines":[]}""")).VirtualMachines!);

    [Theory, InlineData("deploy"), InlineData("undeploy"), InlineData("instances")]
    public async Task LongWork_Accepted_LeadsToItsOperation(string action)
    {
        using var accepted = await gateway.Http.Post($"/appliances/{ApplianceId.New()}/{action}");

        Assert.Equal(HttpStatusCode.Accepted, accepted.StatusCode);
        var operation = await accepted.Read<OperationView>();
        Assert.Equal($"{Local}/operations/{operation.Id}", accepted.Headers.Location?.OriginalString);
        using var read = await gateway.Http.GetAsync(accepted.Headers.Location, Cancelled);
        Assert.Equal(operation.Id, (await read.Read<OperationView>()).Id);
    }

    [Theory, InlineData(null, false), InlineData("{}", false), InlineData("""{"force":false}""", false), InlineData("""{"force":true}""", true)]
    public async Task Undeploy_ForcedOrNot_PassesItOn(string? json, bool forced)
    {
        using var accepted = await gateway.Http.Post($"/appliances/{ApplianceId.New()}/undeploy", json);

        Assert.Equal((HttpStatusCode.Accepted, forced), (accepted.StatusCode, (await accepted.Read<OperationView>()).Forced));
    }

    [Fact]
    public async Task Force_OfAnOperation_IsAcceptedAndLeadsToIt()
    {
        using var undeploy = await gateway.Http.Post($"/appliances/{ApplianceId.New()}/undeploy");
        var operation = await undeploy.Read<OperationView>();

        using var forced = await gateway.Http.Post($"/operations/{operation.Id}/force");
        using var unknown = await gateway.Http.Post($"/operations/{OperationId.New()}/force");

        Assert.Equal(HttpStatusCode.Accepted, forced.StatusCode);
        Assert.Equal($"{Local}/operations/{operation.Id}", forced.Headers.Location?.OriginalString);
        await unknown.AssertProblem(404, "operation-not-found");
    }

    private async Task<CreateInstanceCommand> CreateInstance(string? json)
    {
        var appliance = ApplianceId.New();
        using var response = await gateway.Http.Post($"/appliances/{appliance}/instances", json);
        Assert.Equal(HttpStatusCode.Accepted, response.StatusCode);
        return gateway.Datacenter.Commands[appliance];
    }

    private async Task<ApplianceId> Create()
    {
        using var created = await gateway.Http.Post("/appliances", """{"name":"shop","description":"text"}""");
        return (await created.Read<ApplianceView>()).Id;
    }

    private async Task<HttpResponseMessage> Patch(string path, string json)
    {
        using var content = new StringContent(json, Encoding.UTF8, "application/merge-patch+json");
        return await gateway.Http.PatchAsync(Local + path, content, Cancelled);
    }
}
