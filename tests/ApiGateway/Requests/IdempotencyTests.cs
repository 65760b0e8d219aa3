using System.Net;
using Instances.Appliances;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Requests;

public sealed class IdempotencyTests(Gateway gateway)
{
    private readonly string _key = Guid.NewGuid().ToString();

    [Fact]
    public async Task Create_WithTheSameKey_IsTheSameThing()
    {
        using var first = await gateway.Http.Post("/appliances", """{"name":"shop"}""", _key);
        using var repeat = await gateway.Http.Post("/appliances", """{"name":"shop"}""", _key);

        Assert.Equal(HttpStatusCode.Created, repeat.StatusCode);
        Assert.Equal((await first.Read<ApplianceView>()).Id, (await repeat.Read<ApplianceView>()).Id);
        Assert.Equal(first.Headers.Location, repeat.Headers.Location);
    }

    [Fact]
    public async Task Create_WithoutAKey_IsAnotherThingEachTime()
    {
        using var first = await gateway.Http.Post("/appliances", """{"name":"shop"}""");
        using var repeat = await gateway.Http.Post("/appliances", """{"name":"shop"}""");

        Assert.NotEqual((await first.Read<ApplianceView>()).Id, (await repeat.Read<ApplianceView>()).Id);
    }

    [Fact]
    public async Task Create_OfSomethingElseWithTheSameKey_IsRefused()
    {
        using var first = await gateway.Http.Post("/appliances", """{"name":"shop"}""", _key);
        using var other = await gateway.Http.Post("/appliances", """{"name":"other"}""", _key);

        await other.AssertProblem(422, "idempotency-key-reused");
    }

    [Fact]
    public async Task Machine_OfSomethingElseWithTheSameKey_IsRefused()
    {
        var path = $"/appliances/{ApplianceId.New()}/virtual-machines";
        using var first = await gateway.Http.Post(path, $$"""{"name":"web","image":"{{ImageId.New()}}"}""", _key);
        using var other = await gateway.Http.Post(path, $$"""{"name":"db","image":"{{ImageId.New()}}"}""", _key);

        Assert.Equal(HttpStatusCode.Created, first.StatusCode);
        await other.AssertProblem(422, "idempotency-key-reused");
    }

    [Fact]
    public async Task Deploy_WithTheSameKey_IsTheSameOperation()
    {
        var path = $"/appliances/{ApplianceId.New()}/deploy";
        using var first = await gateway.Http.Post(path, key: _key);
        using var repeat = await gateway.Http.Post(path, key: _key);
        using var other = await gateway.Http.Post(path, key: _key + "2");

        var operation = (await first.Read<OperationView>()).Id;
        Assert.Equal(operation, (await repeat.Read<OperationView>()).Id);
        Assert.NotEqual(operation, (await other.Read<OperationView>()).Id);
    }

    [Fact]
    public async Task Undeploy_WithTheKeyOfADeploy_IsAnotherOperation()
    {
        var appliance = ApplianceId.New();
        using var deploy = await gateway.Http.Post($"/appliances/{appliance}/deploy", key: _key);
        using var undeploy = await gateway.Http.Post($"/appliances/{appliance}/undeploy", key: _key);

        Assert.NotEqual((await deploy.Read<OperationView>()).Id, (await undeploy.Read<OperationView>()).Id);
    }

    [Theory, InlineData("has space"), InlineData("ümlaut"), InlineData("")]
    public async Task Key_ThatIsNotVisibleAscii_IsMalformed(string key)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, $"{HttpExtensions.Local}/appliances/{ApplianceId.New()}/deploy");
        request.Headers.TryAddWithoutValidation("Idempotency-Key", key);
        using var http = new HttpClient(new SocketsHttpHandler { RequestHeaderEncodingSelector = (_, _) => System.Text.Encoding.Latin1 }) { BaseAddress = gateway.Http.BaseAddress };

        using var response = await http.SendAsync(request, TestContext.Current.CancellationToken);

        Assert.Equal(400, (int)response.StatusCode);
    }

    [Theory, InlineData(255, 202), InlineData(256, 400)]
    public async Task Key_OfThatLength_IsBounded(int length, int status)
    {
        using var response = await gateway.Http.Post($"/appliances/{ApplianceId.New()}/deploy", key: new string('k', length));

        Assert.Equal(status, (int)response.StatusCode);
    }
}
