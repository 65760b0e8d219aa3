using System.Net;
using System.Net.Http.Json;
using System.Text.Json;
using Instances.ApiGateway;
using Instances.Catalogue;
using Instances.Fakes;
using Instances.Testing;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.Configuration;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.Hosting;
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
    public async Task Datacenter_ThatComesAndGoes_IsServedWhileItIsThere()
    {
        var (siloPort, gatewayPort) = (Ports.Free(), Ports.Free());
        await using var app = await Standalone(("Datacenters:east:Gateways:0", $"127.0.0.1:{gatewayPort}"));
        using var http = Gateway.ClientOf(app);
        Assert.Equal(HttpStatusCode.ServiceUnavailable, await Status(http));

        using (var silo = Silo("east", siloPort, gatewayPort))
        {
            await silo.StartAsync(Cancelled);
            await Until(http, HttpStatusCode.OK);
            using var created = await http.PostAsJsonAsync("/api/v1/datacenters/east/appliances", new { Name = "shop" }, Cancelled);
            Assert.StartsWith("/api/v1/datacenters/east/appliances/", created.Headers.Location?.OriginalString, StringComparison.Ordinal);
            await silo.StopAsync(Cancelled);
        }

        await Until(http, HttpStatusCode.ServiceUnavailable);
        using (var silo = Silo("east", siloPort, gatewayPort))
        {
            await silo.StartAsync(Cancelled);
            await Until(http, HttpStatusCode.OK);
            await silo.StopAsync(Cancelled);
        }
    }

    /// <summary>The silo that stops is the last that the gateway hears of, and the one that starts then has a lower version of the membership, as after a database was restored from a backup.</summary>
    [Fact]
    public async Task Datacenter_WhoseMembershipIsOlderThanBefore_IsServedAgain()
    {
        var (siloPort, gatewayPort) = (Ports.Free(), Ports.Free());
        await using var app = await Standalone(("Datacenters:east:Gateways:0", $"127.0.0.1:{gatewayPort}"));
        using var http = Gateway.ClientOf(app);
        using (var silo = Silo("east", siloPort, gatewayPort, onStop: () => KnowsNoGrains(app)))
        {
            await silo.StartAsync(Cancelled);
            await Until(http, HttpStatusCode.OK);
            await silo.StopAsync(Cancelled);
        }

        using (var silo = Silo("east", siloPort, gatewayPort))
        {
            await silo.StartAsync(Cancelled);
            await Until(http, HttpStatusCode.OK);
            await silo.StopAsync(Cancelled);
        }
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

    private static async Task Until(HttpClient http, HttpStatusCode status)
    {
        using var bound = CancellationTokenSource.CreateLinkedTokenSource(Cancelled);
        bound.CancelAfter(Gateway.Bound);
        while (await Status(http) != status) bound.Token.ThrowIfCancellationRequested();
    }

    private static async Task KnowsNoGrains(WebApplication app)
    {
        var client = app.Services.GetRequiredService<DatacenterDirectory>().All.Single().Client;
        using var bound = CancellationTokenSource.CreateLinkedTokenSource(Cancelled);
        bound.CancelAfter(Gateway.Bound);
        while (true)
        {
            try
            {
                client.GetGrain<ICatalogueGrain>(0);
                await Task.Delay(100, bound.Token);
            }
            catch (ArgumentException)
            {
                return;
            }
        }
    }

    private static async Task<HttpStatusCode> Status(HttpClient http)
    {
        using var response = await http.GetAsync("/api/v1/datacenters/east/appliances", Cancelled);
        return response.StatusCode;
    }

    /// <summary>A silo on ports of this machine, for a gateway in its own process.</summary>
    /// <param name="onStop">Awaited after the silo has announced its stop, while its Orleans gateway still answers.</param>
    private static IHost Silo(string datacenter, int siloPort, int gatewayPort, Func<Task>? onStop = null)
    {
        var builder = Host.CreateApplicationBuilder();
        builder.Logging.ClearProviders();
        builder.Services.AddSingleton(new FakeDatacenter());
        builder.UseOrleans(silo =>
        {
            silo.UseLocalhostClustering(siloPort, gatewayPort, serviceId: ClusterNames.ServiceId, clusterId: datacenter);
            if (onStop is not null) silo.Services.AddSingleton<ILifecycleParticipant<ISiloLifecycle>>(new SlowStop(onStop));
        });
        return builder.Build();
    }

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

    private sealed class SlowStop(Func<Task> onStop) : ILifecycleParticipant<ISiloLifecycle>
    {
        public void Participate(ISiloLifecycle lifecycle) =>
            lifecycle.Subscribe(nameof(SlowStop), ServiceLifecycleStage.ApplicationServices, _ => Task.CompletedTask, _ => onStop());
    }
}
