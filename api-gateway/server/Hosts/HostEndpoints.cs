using Instances.Datacenters;
using Instances.VirtualMachines;
using Microsoft.AspNetCore.Http.HttpResults;

namespace Instances.Hosts;

internal static class HostEndpoints
{
    public static void MapHosts(this IEndpointRouteBuilder routes)
    {
        var hosts = routes.MapGroup("/hosts").WithTags("Hosts");
        hosts.MapGet("/", List)
            .WithSummary("List the hosts")
            .WithDescription("Every registered host with its total and free capacity, by name. An unreachable host is listed as away, with nothing free.");
        hosts.MapGet("/{id}", Get).WithSummary("Get a host");
        hosts.MapPatch("/{id}", Change)
            .WithSummary("Set a host to maintenance, or back")
            .WithDescription("In maintenance a host takes no new virtual machines; its machines keep running. Allowed while the host is unreachable.");
        hosts.MapDelete("/{id}", Forget)
            .WithSummary("Forget a host")
            .WithDescription(
                "Allowed while the host is unreachable and no virtual machine is deployed on it. The library no longer asks the host which layers it uses. The host is registered again when its silo starts.");
        hosts.MapPost("/{id}/adopt", Adopt)
            .WithSummary("Create the records of a host's machines again")
            .WithDescription(
                "For a host whose problem says that the database does not know its machines: begins to create the missing records of appliances, virtual machines and deployments from the host's files, in the background. "
                + "The machines keep running. Rebuild the library first (409 library-unknown). If a recovery is running, the answer is that one.");
        hosts.MapPost("/{id}/discard", Discard)
            .WithSummary("Remove the machines of a host that have no record")
            .WithDescription(
                "Begins to remove machines that have no record on the host, in the background. Their changes that were not captured are lost. Use dryRun first, and name the machines that it shows: others are left out.");
        hosts.MapGet("/{id}/recovery", Recovery)
            .WithSummary("Get the recovery of a host")
            .WithDescription("The progress of the running adoption or discarding, or the result of the last one since the host's silo started, for each machine.");
    }

    private static async Task<Ok<IReadOnlyList<HostView>>> List(Datacenter datacenter) => TypedResults.Ok(await datacenter.Hosts.Hosts());

    private static async Task<Ok<HostView>> Get(Datacenter datacenter, HostId id) => TypedResults.Ok(await datacenter.Hosts.Host(id));

    private static async Task<Ok<HostView>> Change(Datacenter datacenter, HostId id, HostPatch patch) =>
        TypedResults.Ok(await datacenter.Hosts.SetMaintenance(id, patch.Maintenance));

    private static async Task<Ok<HostRecovery>> Adopt(Datacenter datacenter, HostId id, AdoptRequest? request = null) =>
        TypedResults.Ok(await datacenter.Host(id).Adopt(request is { DryRun: true }));

    private static async Task<Ok<HostRecovery>> Discard(Datacenter datacenter, HostId id, DiscardRequest request) =>
        TypedResults.Ok(await datacenter.Host(id).Discard(request.DryRun, request.VirtualMachines ?? []));

    private static async Task<Ok<HostRecovery>> Recovery(Datacenter datacenter, HostId id) => TypedResults.Ok(await datacenter.Host(id).GetRecovery());

    private static async Task<NoContent> Forget(Datacenter datacenter, HostId id)
    {
        await datacenter.Hosts.Forget(id);
        return TypedResults.NoContent();
    }
}

/// <summary>What to change of a host.</summary>
internal sealed record HostPatch(bool Maintenance);

/// <summary>How to create the records of a host's machines again.</summary>
/// <param name="DryRun">Change nothing: only show what would be done.</param>
internal sealed record AdoptRequest(bool DryRun = false);

/// <summary>Which machines without a record to remove.</summary>
/// <param name="DryRun">Change nothing: only show what would be done.</param>
/// <param name="VirtualMachines">The machines to give up, as a dry run has shown them.</param>
internal sealed record DiscardRequest(bool DryRun = false, IReadOnlyList<VirtualMachineId>? VirtualMachines = null);
