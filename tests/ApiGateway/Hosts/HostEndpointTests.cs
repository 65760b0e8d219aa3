using System.Net;
using System.Text;
using Instances.Client;
using Xunit;
using static Instances.HttpExtensions;

namespace Instances.Hosts;

public sealed class HostEndpointTests(Gateway gateway)
{
    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    [Fact]
    public async Task List_OfHosts_NamesAlsoThoseThatAreAway()
    {
        using var response = await gateway.Http.Get("/hosts");

        Assert.Equal([("host-1", false), ("host-2", true)], (await response.Read<HostView[]>()).Select(host => (host.Id.Name, host.Status is HostStatus.Away)));
    }

    [Fact]
    public async Task Maintenance_SetAndTakenBack_IsShown()
    {
        var client = new InstancesClient(gateway.Http);

        Assert.Equal(HostStatus.Maintenance, (await client.SetMaintenance(new("host-1"), true, Cancelled)).Status);
        Assert.Equal(HostStatus.Maintenance, (await client.GetHost(new("host-1"), Cancelled)).Status);
        Assert.Equal(HostStatus.Available, (await client.SetMaintenance(new("host-1"), false, Cancelled)).Status);
    }

    [Theory, InlineData("{}"), InlineData("""{"maintenance":"yes"}"""), InlineData("""{"maintenance":true,"name":"other"}""")]
    public async Task Change_Malformed_IsRefused(string json)
    {
        using var content = new StringContent(json, Encoding.UTF8, "application/json");
        using var response = await gateway.Http.PatchAsync($"{Local}/hosts/host-1", content, Cancelled);

        await response.AssertProblem(400, "request-malformed");
    }

    [Fact]
    public async Task Forget_OfAHost_IsForThoseThatAreAway()
    {
        using var away = await gateway.Http.DeleteAsync($"{Local}/hosts/host-2", Cancelled);
        Assert.Equal(HttpStatusCode.NoContent, away.StatusCode);

        using var there = await gateway.Http.DeleteAsync($"{Local}/hosts/host-1", Cancelled);
        await there.AssertProblem(409, "host-not-away");
    }

    [Fact]
    public async Task Get_OfAHostThatIsNotThere_IsNotFound()
    {
        using var response = await gateway.Http.Get("/hosts/elsewhere");

        await response.AssertProblem(404, "host-not-found");
    }
}
