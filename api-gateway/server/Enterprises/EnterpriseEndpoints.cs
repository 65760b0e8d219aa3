using Instances.Catalogue;
using Instances.Datacenters;
using Instances.Requests;
using Microsoft.AspNetCore.Http.HttpResults;
using Microsoft.AspNetCore.Http.Json;
using Microsoft.Extensions.Options;

namespace Instances.Enterprises;

internal static class EnterpriseEndpoints
{
    public static void MapEnterprises(this IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("/enterprises").WithTags("Enterprises");
        group.MapPost("/", Create)
            .WithSummary("Create an enterprise")
            .WithDescription(
                "It owns appliances and images in this datacenter, and has quotas, none where they are left out. Each datacenter has its own record of an enterprise: give it the same id in each.");
        group.MapGet("/", List)
            .WithSummary("List the enterprises")
            .WithDescription("The default one first, which is there without being made, then the others in the order in which they were created. Without what they have.");
        group.MapGet("/{id}", Get)
            .WithSummary("Get an enterprise")
            .WithDescription(
                "With its quotas and what it has of each at the moment: images that hold something or are about to, retired ones until they are gone; the space of their own layers, and the sizes "
                + "of their disks as guests see them; imports under way; virtual machines that are deployed or about to be. The header ETag names the version of what PATCH changes.");
        group.MapPatch("/{id}", Change)
            .WithSummary("Rename an enterprise, or change its quotas")
            .WithDescription(
                "A JSON merge patch: what is left out stays, also within quotas; null lifts a quota. One below what there is takes nothing away: it lets nothing more in (507 quota-…). "
                + "With If-Match the change is refused (412) where the enterprise has another version by now.");
        group.MapDelete("/{id}", Delete)
            .WithSummary("Delete an enterprise")
            .WithDescription("Refused (409) while it has appliances or images, which are named; retired images count until they are gone. The default one stays.");
    }

    private static async Task<Created<EnterpriseView>> Create(Datacenter datacenter, RequestKey key, CreateEnterpriseRequest request)
    {
        var id = request.Id ?? key.NewId<EnterpriseId>();
        var create = datacenter.Enterprise(id).Create(new(request.Name, request.Quotas));
        return TypedResults.Created(datacenter.Url($"enterprises/{id}"), await (request.Id is null ? key.Guard(create, "enterprise-exists") : create));
    }

    private static async Task<Ok<Page<EnterpriseView>>> List(Datacenter datacenter, [AsParameters] PageQuery page) =>
        TypedResults.Ok(await datacenter.Catalogue.Enterprises(page.ToRequest()));

    private static async Task<Ok<EnterpriseView>> Get(Datacenter datacenter, EnterpriseId id, HttpResponse response) =>
        Tagged(await datacenter.Enterprise(id).Get(), response);

    private static async Task<Ok<EnterpriseView>> Change(
        Datacenter datacenter, EnterpriseId id, IfMatch match, MergePatch<EnterpriseSpec, EnterpriseView> patch, IOptions<JsonOptions> json, HttpResponse response)
    {
        var grain = datacenter.Enterprise(id);
        return Tagged(await match.Change(grain.Get, present => grain.Change(patch.Apply(present.ToSpec(), json), match.Choose(present.Version))), response);
    }

    private static async Task<NoContent> Delete(Datacenter datacenter, EnterpriseId id)
    {
        await datacenter.Enterprise(id).Delete();
        return TypedResults.NoContent();
    }

    private static Ok<EnterpriseView> Tagged(EnterpriseView enterprise, HttpResponse response)
    {
        response.Headers.ETag = IfMatch.Tag(enterprise.Version);
        return TypedResults.Ok(enterprise);
    }
}
