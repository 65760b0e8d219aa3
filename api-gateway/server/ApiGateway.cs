using System.Text;
using System.Text.Encodings.Web;
using System.Text.Json;
using System.Text.Json.Serialization;
using Instances.Appliances;
using Instances.Datacenters;
using Instances.Doctor;
using Instances.Enterprises;
using Instances.Health;
using Instances.Hosts;
using Instances.Library;
using Instances.OpenApi;
using Instances.Operations;
using Instances.Problems;
using Instances.Requests;
using Instances.VirtualMachines;
using Microsoft.AspNetCore.HostFiltering;
using Microsoft.AspNetCore.Mvc;
using Microsoft.AspNetCore.Server.Kestrel.Core;
using Microsoft.Extensions.DependencyInjection.Extensions;

namespace Instances.ApiGateway;

/// <summary>The HTTP interface: the same in its own process and inside a silo's process.</summary>
internal static class ApiGateway
{
    /// <summary>The largest JSON request body.</summary>
    public const long MaxJsonBytes = 1L << 20;

    /// <summary>Adds everything except the datacenters: follow with <c>AddLocalDatacenter</c> or <c>AddRemoteDatacenters</c>.</summary>
    public static IServiceCollection AddApiGateway(this IServiceCollection services)
    {
        services.ConfigureHttpJsonOptions(options => ApplyJson(options.SerializerOptions));
        // Bad requests reach the one exception handler, in every environment.
        services.Configure<RouteHandlerOptions>(options => options.ThrowOnBadRequest = true);
        services.Configure<KestrelServerOptions>(HalfClosedConnections.Watch);
        services.AddExceptionHandler<ProblemHandler>();
        services.AddProblemDetails();
        services.AddOptions<HostFilteringOptions>().PostConfigure<IConfiguration>(LoopbackNames.Restrict);
        HostNames.Add(services);
        // A header value that is not ASCII is let through, and refused with a sentence.
        services.Configure<KestrelServerOptions>(options => options.RequestHeaderEncodingSelector = name =>
            name.Equals(RequestKey.Header, StringComparison.OrdinalIgnoreCase) ? Encoding.Latin1 : null);
        services.TryAddSingleton(TimeProvider.System);
        services.AddSingleton<DatacenterDirectory>();
        services.AddOptions<WatchOptions>().BindConfiguration(WatchOptions.Section).ValidateDataAnnotations().ValidateOnStart();
        services.AddSingleton<OperationWatches>();
        services.AddSingleton<UploadClient>();
        services.AddSingleton<ExportClient>();
        services.AddSingleton<ImageDownload>();
        services.AddSingleton<LayerRelay>();
        services.AddInstancesOpenApi();
        return services;
    }

    public static WebApplication MapApiGateway(this WebApplication app)
    {
        UploadRequest.Use(app);
        app.UseExceptionHandler();
        app.UseStatusCodePages(context => Problem.ForStatus(context.HttpContext).Write(context.HttpContext));
        app.UseSameOrigin();
        app.UseQueryCheck();
        app.UseIdempotency();
        app.MapHealth();
        app.MapReference();
        app.MapProblemPages();
        LoopbackNames.WarnIfOpen(app.Configuration, app.Logger);

        var api = app.MapGroup("/api/v1/datacenters").WithQueryCheck().WithMetadata(new RequestSizeLimitAttribute(MaxJsonBytes));
        api.MapDatacenters();
        var datacenter = api.MapGroup("/{datacenter}");
        datacenter.MapEnterprises();
        datacenter.MapUploads();
        datacenter.MapImages();
        datacenter.MapExports();
        datacenter.MapAppliances();
        datacenter.MapVirtualMachines();
        datacenter.MapOperations();
        datacenter.MapHosts();
        datacenter.MapLibrary();
        datacenter.MapDoctor();
        return app;
    }

    /// <summary>A misspelt field is refused, not ignored: it may be the one that protects a user's work.</summary>
    private static void ApplyJson(JsonSerializerOptions options)
    {
        InstancesJson.Apply(options);
        options.UnmappedMemberHandling = JsonUnmappedMemberHandling.Disallow;
        options.NumberHandling = JsonNumberHandling.Strict;
        // Answers are JSON, and browsers must not sniff other types. So names need no HTML escapes.
        options.Encoder = JavaScriptEncoder.UnsafeRelaxedJsonEscaping;
    }
}
