using System.ComponentModel;
using Instances.Catalogue;
using Instances.Datacenters;
using Instances.Enterprises;
using Instances.Operations;
using Instances.Requests;
using Microsoft.AspNetCore.Http.HttpResults;
using Microsoft.AspNetCore.Http.Json;
using Microsoft.Extensions.Options;

namespace Instances.Appliances;

internal static class ApplianceEndpoints
{
    public static void MapAppliances(this IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("/appliances").WithTags("Appliances");
        group.MapPost("/", Create)
            .WithSummary("Create an appliance")
            .WithDescription("Creates an empty, undeployed appliance. Add virtual machines to it, then deploy it. It belongs permanently to its enterprise; without one, to the default enterprise.");
        group.MapGet("/", List).WithSummary("List appliances").WithDescription("In the order in which they were created.");
        group.MapGet("/{id}", Get).WithSummary("Get an appliance").WithDescription("The header ETag names the version of what PATCH changes.");
        group.MapPatch("/{id}", Change)
            .WithSummary("Rename or describe an appliance, or give it a retention rule")
            .WithDescription(
                "A JSON merge patch: members that are left out stay; null clears the description or the rule. Allowed when Deployed or Undeployed. A retention rule keeps the newest instances of each virtual machine "
                + "(keepLast), or those younger than keepForHours; other instances are retired and can be restored within the grace period. "
                + "With If-Match the change is refused (412) if the appliance's version has changed.");
        group.MapDelete("/{id}", Delete)
            .WithSummary("Delete an appliance")
            .WithDescription("Removes it and its virtual machines. Allowed when Undeployed. Images stay in the library.");
        group.MapPost("/{id}/deploy", Deploy)
            .WithSummary("Deploy an appliance")
            .WithDescription("Deploys every virtual machine that is not deployed, from its image. Refused (507) if they exceed a quota of its enterprise. Answers 202 at once; the operation shows the progress.");
        group.MapPost("/{id}/undeploy", Undeploy)
            .WithSummary("Undeploy an appliance")
            .WithDescription(
                "Removes every virtual machine from its host and discards its changes: create an instance first to keep them. The operation waits for unreachable hosts. "
                + "With force it does not wait: the machines on such a host are given up, and the host removes them if it comes back. Use force only if the host is off or will never "
                + "come back: a host that is only cut off keeps its machines running until then. To force an undeployment that is already waiting, force its operation. "
                + "Without a body: without force. The answer to a repeated request needs the same body.");
        group.MapPost("/{id}/instances", CreateInstance)
            .WithSummary("Create an instance")
            .WithDescription(
                "Captures the chosen virtual machines, all at one instant, as slave images of the masters that they came from, and then undeploys "
                + "the appliance (unless undeploy is false). With updateImages each captured machine uses its new image from then on, and its previous "
                + "versions are retired; masters never are. Without a body: all machines, frozen through the guest agent, images not updated. "
                + "The operation can be cancelled until its commit point.");
    }

    private static async Task<Created<ApplianceView>> Create(Datacenter datacenter, RequestKey key, ApplianceSpec spec, HttpResponse response)
    {
        var id = key.NewId<ApplianceId>();
        var appliance = await key.Guard(datacenter.Appliance(id).Create(spec), "appliance-exists");
        response.Headers.ETag = IfMatch.Tag(appliance.Version);
        return TypedResults.Created(datacenter.Url($"appliances/{id}"), appliance);
    }

    private static async Task<Ok<Page<ApplianceView>>> List(Datacenter datacenter, [Description("Only appliances of this enterprise.")] EnterpriseId? enterprise, [AsParameters] PageQuery page) =>
        TypedResults.Ok(await datacenter.Catalogue.Appliances(enterprise, page.ToRequest()));

    private static async Task<Ok<ApplianceView>> Get(Datacenter datacenter, ApplianceId id, HttpResponse response) => Tagged(await datacenter.Appliance(id).Get(), response);

    private static async Task<Ok<ApplianceView>> Change(
        Datacenter datacenter, ApplianceId id, IfMatch match, MergePatch<ApplianceSpec, ApplianceView> patch, IOptions<JsonOptions> json, HttpResponse response) =>
        Tagged(await datacenter.Appliance(id).Patch(patch.ToDocument(new("example"), json), match.Versions), response);

    private static async Task<NoContent> Delete(Datacenter datacenter, ApplianceId id, IfMatch match)
    {
        await datacenter.Appliance(id).Delete(match.Versions);
        return TypedResults.NoContent();
    }

    private static Ok<ApplianceView> Tagged(ApplianceView appliance, HttpResponse response)
    {
        response.Headers.ETag = IfMatch.Tag(appliance.Version);
        return TypedResults.Ok(appliance);
    }

    private static async Task<Accepted<OperationView>> Deploy(Datacenter datacenter, RequestKey key, ApplianceId id) =>
        datacenter.Accepted(await datacenter.Appliance(id).Deploy(key.NewId<OperationId>()));

    private static async Task<Accepted<OperationView>> Undeploy(Datacenter datacenter, RequestKey key, ApplianceId id, UndeployRequest? request) =>
        datacenter.Accepted(await datacenter.Appliance(id).Undeploy(key.NewId<OperationId>(), request is { Force: true }));

    private static async Task<Accepted<OperationView>> CreateInstance(
        Datacenter datacenter, RequestKey key, ApplianceId id, CreateInstanceRequest? request) =>
        datacenter.Accepted(await datacenter.Appliance(id).CreateInstance(key.NewId<OperationId>(), (request ?? new()).ToCommand()));
}
