using System.Net.Http.Json;
using System.Text;
using System.Text.Json;
using Instances.ApiGateway;
using Instances.Datacenters;
using Instances.Fakes;
using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.Logging;
using Orleans.Hosting;
using Orleans.TestingHost;
using Xunit;

[assembly: AssemblyFixture(typeof(Instances.Gateway))]

namespace Instances;

/// <summary>A gateway with its real pipeline on a port of this machine, over a cluster of scripted grains.</summary>
public sealed class Gateway : IAsyncLifetime
{
    /// <summary>The longest wait of a test.</summary>
    public static readonly TimeSpan Bound = TimeSpan.FromMinutes(5);

    private readonly LogCapture _logs = new();
    private readonly FakeDatacenter _datacenter = new();
    private readonly FakeDataPlane _dataPlane = new();
    private WebApplication? _app;

    public HttpClient Http { get; private set; } = null!;

    internal FakeDatacenter Datacenter => _datacenter;

    internal FakeDataPlane DataPlane => _dataPlane;

    internal LogCapture Logs => _logs;

    internal InProcessTestCluster Cluster { get; private set; } = null!;

    public async ValueTask InitializeAsync()
    {
        await _dataPlane.Start();
        _dataPlane.Datacenter = _datacenter;
        _datacenter.DataPlane = _dataPlane.Address;
        var cluster = new InProcessTestClusterBuilder(initialSilosCount: 1);
        cluster.Options.ConfigureFileLogging = false;
        cluster.ConfigureSilo((_, silo) =>
        {
            silo.Services.AddSingleton(_datacenter);
            silo.AddIncomingGrainCallFilter<FailureFilter>();
        });
        Cluster = cluster.Build();
        await Cluster.DeployAsync();
        _app = await Start();
        Http = ClientOf(_app);
    }

    public async ValueTask DisposeAsync()
    {
        Http.Dispose();
        if (_app is not null) await _app.DisposeAsync();
        await Cluster.DisposeAsync();
        await _dataPlane.DisposeAsync();
    }

    /// <summary>Another gateway to the same cluster.</summary>
    internal async Task<WebApplication> Start(Action<IServiceCollection>? configure = null)
    {
        var builder = WebApplication.CreateBuilder();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        builder.Logging.ClearProviders();
        builder.Logging.SetMinimumLevel(LogLevel.Trace).AddProvider(_logs);
        builder.Services.AddSingleton(Cluster.Client);
        builder.Services.AddApiGateway().AddLocalDatacenter(ClusterNames.Local);
        configure?.Invoke(builder.Services);
        var app = builder.Build();
        app.MapApiGateway();
        await app.StartAsync();
        return app;
    }

    internal static HttpClient ClientOf(WebApplication app) => new() { BaseAddress = new Uri(app.Urls.First()), Timeout = Bound };
}

internal static class HttpExtensions
{
    public const string Local = "/api/v1/datacenters/local";

    public static async Task<HttpResponseMessage> Post(this HttpClient http, string path, string? json = null, string? key = null)
    {
        using var request = new HttpRequestMessage(HttpMethod.Post, Local + path);
        if (json is not null) request.Content = new StringContent(json, Encoding.UTF8, "application/json");
        if (key is not null) request.Headers.Add("Idempotency-Key", key);
        return await http.SendAsync(request, TestContext.Current.CancellationToken);
    }

    public static async Task<HttpResponseMessage> Get(this HttpClient http, string path) =>
        await http.GetAsync(Local + path, TestContext.Current.CancellationToken);

    public static async Task<T> Read<T>(this HttpResponseMessage response)
    {
        Assert.True(response.IsSuccessStatusCode, $"{(int)response.StatusCode} {await response.Content.ReadAsStringAsync(TestContext.Current.CancellationToken)}");
        return (await response.Content.ReadFromJsonAsync<T>(InstancesJson.Options, TestContext.Current.CancellationToken))!;
    }

    /// <summary>Checks that the answer is a complete problem with this status and code.</summary>
    public static async Task<JsonElement> AssertProblem(this HttpResponseMessage response, int status, string code)
    {
        var text = await response.Content.ReadAsStringAsync(TestContext.Current.CancellationToken);
        Assert.True(status == (int)response.StatusCode, $"{(int)response.StatusCode} {text}");
        Assert.Equal("application/problem+json", response.Content.Headers.ContentType?.MediaType);
        var problem = JsonDocument.Parse(text).RootElement;
        Assert.Equal(code, problem.GetProperty("code").GetString());
        Assert.Equal($"/problems/{code}", problem.GetProperty("type").GetString());
        Assert.Equal(status, problem.GetProperty("status").GetInt32());
        Assert.NotEmpty(problem.GetProperty("title").GetString()!);
        Assert.NotEmpty(problem.GetProperty("detail").GetString()!);
        Assert.NotEmpty(problem.GetProperty("traceId").GetString()!);
        return problem;
    }
}
