using Microsoft.AspNetCore.Http.HttpResults;

namespace Instances.Datacenters;

internal static class DatacenterEndpoints
{
    public static void MapDatacenters(this IEndpointRouteBuilder routes) => routes
        .MapGet("/", List)
        .WithTags("Datacenters")
        .WithSummary("List the datacenters")
        .WithDescription("Names every datacenter that this gateway serves, and whether it answers at the moment. One that is down does not affect the others.");

    private static async Task<Ok<DatacenterView[]>> List(DatacenterDirectory directory, TimeProvider clock, CancellationToken cancellationToken) =>
        TypedResults.Ok(await directory.Probe(clock, cancellationToken));
}
