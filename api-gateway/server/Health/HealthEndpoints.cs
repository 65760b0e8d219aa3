using Instances.Datacenters;
using Microsoft.AspNetCore.Http.HttpResults;

namespace Instances.Health;

internal static class HealthEndpoints
{
    public static void MapHealth(this IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("").WithTags("Health");
        group.MapGet("/healthz", Live)
            .WithSummary("Is the process up?")
            .WithDescription("Answers 200 as long as the process serves requests. Asks nothing of any datacenter.");
        group.MapGet("/readyz", Ready)
            .Produces<DatacenterView[]>()
            .Produces<DatacenterView[]>(StatusCodes.Status503ServiceUnavailable)
            .WithSummary("Can requests be served?")
            .WithDescription("Answers 200 when at least one datacenter is reachable, 503 when none is, and while the process stops; the body names each.");
    }

    private static Ok Live() => TypedResults.Ok();

    /// <summary>One datacenter that answers is enough: the gateway serves it while others are down.</summary>
    private static async Task<JsonHttpResult<DatacenterView[]>> Ready(
        DatacenterDirectory directory, IHostApplicationLifetime lifetime, TimeProvider clock, CancellationToken cancellationToken)
    {
        var datacenters = await directory.Probe(clock, cancellationToken);
        var isReady = datacenters.Any(datacenter => datacenter.Reachable) && !lifetime.ApplicationStopping.IsCancellationRequested;
        return TypedResults.Json(datacenters, statusCode: isReady ? StatusCodes.Status200OK : StatusCodes.Status503ServiceUnavailable);
    }
}
