using System.Net;
using System.Text;
using Instances.Appliances;
using Instances.Catalogue;
using Instances.Client;
using Instances.Fakes;
using Instances.Library;
using Instances.Operations;
using Xunit;
using static Instances.HttpExtensions;

namespace Instances.Enterprises;

public sealed class EnterpriseEndpointTests(Gateway gateway)
{
    private readonly string _name = Guid.NewGuid().ToString();

    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Create_Enterprise_LeadsToItWithItsUsage()
    {
        using var created = await gateway.Http.Post("/enterprises", """{"name":"acme","quotas":{"images":10,"libraryBytes":1099511627776,"virtualBytes":2199023255552}}""");

        Assert.Equal(HttpStatusCode.Created, created.StatusCode);
        var enterprise = await created.Read<EnterpriseView>();
        using var read = await gateway.Http.GetAsync(created.Headers.Location, Cancelled);
        var view = await read.Read<EnterpriseView>();
        Assert.Equal(new EnterpriseQuotas(LibraryBytes: 1L << 40, Images: 10, VirtualBytes: 2L << 40), view.Quotas);
        Assert.Equal((enterprise.Id, "acme", 7, 70, "\"1\""), (view.Id, view.Name, view.Usage!.Images, view.Usage.VirtualBytes, read.Headers.ETag!.ToString()));
        Assert.Null(enterprise.Usage);
    }

    [Fact]
    public async Task Create_WithTheIdOfAnotherDatacenter_HasIt()
    {
        var id = EnterpriseId.New();

        using var created = await gateway.Http.Post("/enterprises", $$"""{"name":"acme","id":"{{id}}"}""");
        using var again = await gateway.Http.Post("/enterprises", $$"""{"name":"acme","id":"{{id}}"}""", key: _name);
        using var other = await gateway.Http.Post("/enterprises", $$"""{"name":"other","id":"{{id}}"}""", key: _name + "2");

        Assert.Equal(id, (await created.Read<EnterpriseView>()).Id);
        Assert.Equal(id, (await again.Read<EnterpriseView>()).Id);
        await other.AssertProblem(409, "enterprise-exists");
    }

    [Fact]
    public async Task Create_RepeatedWithItsKey_IsTheSame()
    {
        using var first = await gateway.Http.Post("/enterprises", """{"name":"acme"}""", _name);
        using var repeat = await gateway.Http.Post("/enterprises", """{"name":"acme"}""", _name);
        using var other = await gateway.Http.Post("/enterprises", """{"name":"other"}""", _name);

        Assert.Equal((await first.Read<EnterpriseView>()).Id, (await repeat.Read<EnterpriseView>()).Id);
        await other.AssertProblem(422, "idempotency-key-reused");
    }

    [Theory]
    [InlineData("{}", "acme", 10L, 5L)]
    [InlineData("""{"name":"other"}""", "other", 10L, 5L)]
    [InlineData("""{"quotas":{"images":20}}""", "acme", 20L, 5L)]
    [InlineData("""{"quotas":{"images":null}}""", "acme", null, 5L)]
    [InlineData("""{"quotas":null}""", "acme", null, null)]
    public async Task Change_MergePatch_ChangesWhatItNames(string patch, string name, long? images, long? uploads)
    {
        var id = Add();

        using var response = await Patch(id, patch);

        var view = await response.Read<EnterpriseView>();
        Assert.Equal((name, images, uploads), (view.Name, view.Quotas.Images, view.Quotas.Uploads));
        Assert.Equal($"\"{view.Version}\"", response.Headers.ETag!.ToString());
    }

    [Theory]
    [InlineData("""{"quotas":{"disks":1}}""")]
    [InlineData("""{"quotas":{"images":"ten"}}""")]
    [InlineData("""{"quotas":5}""")]
    [InlineData("""{"name":null}""")]
    [InlineData("""{"id":"00000000-0000-0000-0000-000000000000"}""")]
    public async Task Change_PatchThatIsNone_IsMalformed(string patch)
    {
        using var response = await Patch(Add(), patch);

        await response.AssertProblem(400, "request-malformed");
    }

    [Fact]
    public async Task Change_WithIfMatch_IsCarriedOutForThatVersionOnly()
    {
        var id = Add();

        using var first = await Patch(id, """{"name":"mine"}""", "\"1\"");
        using var stale = await Patch(id, """{"name":"theirs"}""", "\"1\"");

        Assert.Equal("mine", (await first.Read<EnterpriseView>()).Name);
        await stale.AssertProblem(412, "enterprise-changed");
    }

    [Fact]
    public async Task Delete_Enterprise_AnswersNothing()
    {
        var id = Add();

        using var deleted = await gateway.Http.DeleteAsync($"{Local}/enterprises/{id}", Cancelled);
        using var again = await gateway.Http.DeleteAsync($"{Local}/enterprises/{id}", Cancelled);

        Assert.Equal(HttpStatusCode.NoContent, deleted.StatusCode);
        await again.AssertProblem(404, "enterprise-not-found");
    }

    [Fact]
    public async Task Lists_OfAnEnterprise_AreAskedForIt()
    {
        var id = Add();
        using var created = await gateway.Http.Post("/appliances", $$"""{"name":"shop","enterprise":"{{id}}"}""");
        using var other = await gateway.Http.Post("/appliances", """{"name":"other"}""");

        using var appliances = await gateway.Http.Get($"/appliances?enterprise={id}");
        using var images = await gateway.Http.Get($"/images?enterprise={id}&search={_name}");
        using var enterprises = await gateway.Http.Get("/enterprises?limit=3");

        Assert.Equal((await created.Read<ApplianceView>()).Id, Assert.Single((await appliances.Read<Page<ApplianceView>>()).Items).Id);
        Assert.Equal(EnterpriseId.Default, (await other.Read<ApplianceView>()).Enterprise);
        Assert.Equal(HttpStatusCode.OK, images.StatusCode);
        Assert.Equal(id, gateway.Datacenter.Filters[_name].Enterprise);
        var page = await enterprises.Read<Page<EnterpriseView>>();
        Assert.Contains(page.Items, enterprise => enterprise.Id == id);
        Assert.Equal("limit 3 cursor ", page.NextCursor);
    }

    [Fact]
    public async Task Change_OfAnAppliance_KeepsItsEnterprise()
    {
        var id = Add();
        using var created = await gateway.Http.Post("/appliances", $$"""{"name":"shop","enterprise":"{{id}}"}""");
        var appliance = (await created.Read<ApplianceView>()).Id;

        using var request = new HttpRequestMessage(HttpMethod.Patch, $"{Local}/appliances/{appliance}") { Content = new StringContent("""{"name":"store"}""", Encoding.UTF8, "application/json") };
        using var changed = await gateway.Http.SendAsync(request, Cancelled);

        Assert.Equal(("store", id), ((await changed.Read<ApplianceView>()).Name, gateway.Datacenter.Appliances[appliance].Enterprise));
    }

    [Fact]
    public async Task Imports_OfEachWay_AreForTheEnterpriseThatTheyName()
    {
        var id = Add();
        var client = new InstancesClient(gateway.Http);

        var sent = await client.ImportImage(_name, ImageFormat.Raw, new MemoryStream(new byte[10]), sha256: null, id, Cancelled);
        var inParts = await client.UploadImage(_name + "p", ImageFormat.Raw, new MemoryStream(new byte[10]), sha256: null, id, Cancelled);
        using var fromPath = await gateway.Http.Post("/images/from-path", $$"""{"name":"{{_name}}","path":"/srv/x","enterprise":"{{id}}"}""");
        var copied = await fromPath.Read<OperationView>();

        Assert.All([sent, inParts, copied], operation => Assert.Equal(id, gateway.Datacenter.Imports[operation.Image!.Value].Command.Enterprise));
    }

    [Fact]
    public async Task Client_OfEnterprises_ReachesThem()
    {
        var client = new InstancesClient(gateway.Http);

        var created = await client.CreateEnterprise(new("acme", new(Cpus: 4)), id: null, Cancelled);
        var changed = await client.ChangeEnterprise(created.Id, new { Quotas = new { Cpus = 8 } }, created.Version, Cancelled);
        var stale = await Assert.ThrowsAsync<ProblemException>(() => client.ChangeEnterprise(created.Id, new { Name = "x" }, created.Version, Cancelled));

        Assert.Equal(8, changed.Quotas.Cpus);
        Assert.Equal("enterprise-changed", stale.Code);
        Assert.Equal(7, (await client.GetEnterprise(created.Id, Cancelled)).Usage!.Images);
        Assert.Contains(await client.ListEnterprises(Cancelled), enterprise => enterprise.Id == created.Id);
        Assert.Empty(await client.ListAppliances(created.Id, Cancelled));
        await client.DeleteEnterprise(created.Id, Cancelled);
    }

    [Theory, InlineData("/images?enterprise=acme"), InlineData("/appliances?enterprise=acme"), InlineData("/enterprises/acme")]
    public async Task Id_ThatIsNone_IsMalformed(string path)
    {
        using var response = await gateway.Http.Get(path);

        Assert.Contains(response.StatusCode, (HttpStatusCode[])[HttpStatusCode.BadRequest, HttpStatusCode.NotFound]);
    }

    private EnterpriseId Add()
    {
        var id = EnterpriseId.New();
        gateway.Datacenter.Enterprises[id] = (new("acme", new(Images: 10, Uploads: 5)), 1);
        return id;
    }

    private async Task<HttpResponseMessage> Patch(EnterpriseId id, string json, string? ifMatch = null)
    {
        using var request = new HttpRequestMessage(HttpMethod.Patch, $"{Local}/enterprises/{id}") { Content = new StringContent(json, Encoding.UTF8, "application/merge-patch+json") };
        if (ifMatch is not null) request.Headers.TryAddWithoutValidation("If-Match", ifMatch);
        return await gateway.Http.SendAsync(request, Cancelled);
    }
}
