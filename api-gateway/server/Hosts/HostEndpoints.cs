using Instances.Datacenters;
using Microsoft.AspNetCore.Http.HttpResults;

namespace Instances.Hosts;

internal static class HostEndpoints
{
    public static void MapHosts(this IEndpointRouteBuilder routes) => routes
        .MapGet("/hosts", List)
        .WithTags("Hosts")
        .WithSummary("List the hosts")
        .WithDescription("Every registered host that can be reached, with what it has and what is free.");

    private static async Task<Ok<IReadOnlyList<HostView>>> List(Datacenter datacenter) => TypedResults.Ok(await datacenter.Hosts.Hosts());
}
