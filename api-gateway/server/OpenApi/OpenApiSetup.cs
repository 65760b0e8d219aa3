using Scalar.AspNetCore;

namespace Instances.OpenApi;

/// <summary>The description of the interface, and the page that shows it.</summary>
internal static class OpenApiSetup
{
    public static void AddInstancesOpenApi(this IServiceCollection services) => services.AddOpenApi(options =>
    {
        options.AddDocumentTransformer<DocumentTransformer>();
        options.AddOperationTransformer<OperationTransformer>();
        options.AddSchemaTransformer<SchemaTransformer>();
    });

    public static void MapReference(this IEndpointRouteBuilder routes)
    {
        routes.MapOpenApi();
        routes.MapScalarApiReference("/docs", options =>
        {
            options.Title = "Instances";
            // The page loads everything from this server: no external fonts, telemetry, agents or proxies.
            options.DefaultFonts = false;
            options.Telemetry = false;
            options.DisableAgent();
            options.DisableMcp();
        });
        routes.MapGet("/", () => TypedResults.Redirect("/docs")).ExcludeFromDescription();
    }
}
