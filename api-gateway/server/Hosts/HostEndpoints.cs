using Instances.Datacenters;
using Microsoft.AspNetCore.Http.HttpResults;

namespace Instances.Hosts;

internal static class HostEndpoints
{
    public static void MapHosts(this IEndpointRouteBuilder routes)
    {
        var hosts = routes.MapGroup("/hosts").WithTags("Hosts");
        hosts.MapGet("/", List)
            .WithSummary("List the hosts")
            .WithDescription("Every registered host with what it has and what is free, by name. One that cannot be reached is listed as away, with nothing free.");
        hosts.MapGet("/{id}", Get).WithSummary("Get a host");
        hosts.MapPatch("/{id}", Change)
            .WithSummary("Set a host to maintenance, or back")
            .WithDescription("In maintenance a host takes no new virtual machines; those that it has go on. Allowed while the host is away.");
        hosts.MapDelete("/{id}", Forget)
            .WithSummary("Forget a host")
            .WithDescription("Allowed while the host is away and no virtual machine is deployed on it. It comes back when its silo starts.");
    }

    private static async Task<Ok<IReadOnlyList<HostView>>> List(Datacenter datacenter) => TypedResults.Ok(await datacenter.Hosts.Hosts());

    private static async Task<Ok<HostView>> Get(Datacenter datacenter, HostId id) => TypedResults.Ok(await datacenter.Hosts.Host(id));

    private static async Task<Ok<HostView>> Change(Datacenter datacenter, HostId id, HostPatch patch) =>
        TypedResults.Ok(await datacenter.Hosts.SetMaintenance(id, patch.Maintenance));

    private static async Task<NoContent> Forget(Datacenter datacenter, HostId id)
    {
        await datacenter.Hosts.Forget(id);
        return TypedResults.NoContent();
    }
}

/// <summary>What to change of a host.</summary>
internal sealed record HostPatch(bool Maintenance);
