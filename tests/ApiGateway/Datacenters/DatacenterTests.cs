using System.Net;
using System.Text.Json;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Instances.ApiGateway;
using Instances.Hosts;
using Xunit;
using static Instances.HttpExtensions;

namespace Instances.Datacenters;

public sealed class DatacenterTests(Gateway gateway)
{
    private static CancellationToken Cancelled => TestContext.Current.CancellationToken;

    [Fact]
    public async Task List_OfDatacenters_SaysWhichAnswer()
    {
        using var response = await gateway.Http.GetAsync("/api/v1/datacenters", Cancelled);

        Assert.Equal([new DatacenterView("local", Reachable: true)], await response.Read<DatacenterView[]>());
    }

    [Fact]
    public async Task Hosts_List_IsPassedOn()
    {
        using var response = await gateway.Http.Get("/hosts");

        Assert.Equal("host-1", (await response.Read<HostView[]>()).Single().Id.Name);
    }

    [Fact]
    public async Task Health_OfAWorkingGateway_IsGood()
    {
        Assert.Equal(HttpStatusCode.OK, (await gateway.Http.GetAsync("/healthz", Cancelled)).StatusCode);
        Assert.Equal(HttpStatusCode.OK, (await gateway.Http.GetAsync("/readyz", Cancelled)).StatusCode);
    }

    /// <summary>Nothing listens at port 1: the datacenter is down from the start.</summary>
    [Fact]
    public async Task Datacenter_ThatIsDown_AffectsOnlyItsPaths()
    {
        await using var app = await Standalone(("Datacenters:east:Gateways:0", "127.0.0.1:1"));
        using var http = Gateway.ClientOf(app);

        using var list = await http.GetAsync("/api/v1/datacenters/east/appliances", Cancelled);
        using var other = await http.GetAsync("/api/v1/datacenters/west/appliances", Cancelled);
        using var ready = await http.GetAsync("/readyz", Cancelled);
        using var healthy = await http.GetAsync("/healthz", Cancelled);

        await list.AssertProblem(503, "datacenter-unavailable");
        Assert.NotNull(list.Headers.RetryAfter);
        await other.AssertProblem(404, "datacenter-not-found");
        Assert.Equal(HttpStatusCode.ServiceUnavailable, ready.StatusCode);
        Assert.Equal(
            [new DatacenterView("east", Reachable: false)],
            JsonSerializer.Deserialize<DatacenterView[]>(await ready.Content.ReadAsStringAsync(Cancelled), InstancesJson.Options)!);
        Assert.Equal(HttpStatusCode.OK, healthy.StatusCode);
    }

    [Fact]
    public async Task Configuration_WithErrors_IsRefusedWithAllOfThem()
    {
        var refusal = await Assert.ThrowsAsync<OptionsValidationException>(() => Standalone(
            ("Datacenters:east:Gateways:0", "somewhere"), ("Datacenters:west:Gateways:0", "127.0.0.1"), ("Datacenters:no name:Gateways:0", "127.0.0.1:1")));

        Assert.Equal(3, refusal.Failures.Count());
    }

    [Fact]
    public async Task Configuration_WithoutDatacenters_IsRefused() =>
        Assert.Single((await Assert.ThrowsAsync<OptionsValidationException>(() => Standalone())).Failures);

    private static async Task<WebApplication> Standalone(params (string Key, string Value)[] settings)
    {
        var builder = WebApplication.CreateBuilder();
        builder.Logging.ClearProviders();
        builder.Configuration.AddInMemoryCollection(settings.ToDictionary(setting => setting.Key, setting => (string?)setting.Value));
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        builder.Services.AddApiGateway().AddRemoteDatacenters(builder.Configuration);
        var app = builder.Build();
        app.MapApiGateway();
        await app.StartAsync(Cancelled);
        return app;
    }
}
