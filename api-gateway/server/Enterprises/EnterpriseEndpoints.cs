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
                "It owns appliances and images in this datacenter, and can have quotas. Each datacenter has its own record of an enterprise: use the same id in each.");
        group.MapGet("/", List)
            .WithSummary("List the enterprises")
            .WithDescription("The default enterprise first, which always exists, then the others by creation time. Without their usage.");
        group.MapGet("/{id}", Get)
            .WithSummary("Get an enterprise")
            .WithDescription(
                "With its quotas and its current usage: images from the beginning of their import, capture or promotion until they are deleted; the space of their own layers; the sizes "
                + "of their disks as guests see them; imports under way; deployed virtual machines, and those that are being deployed. The header ETag is the version of what PATCH changes.");
        group.MapPatch("/{id}", Change)
            .WithSummary("Rename an enterprise, or change its quotas")
            .WithDescription(
                "A JSON merge patch: members that are left out stay, also within quotas; null removes a quota. A quota below the usage deletes nothing; it only refuses more (507 quota-…). "
                + "With If-Match the change is refused (412) if the enterprise's version has changed.");
        group.MapDelete("/{id}", Delete)
            .WithSummary("Delete an enterprise")
            .WithDescription("Refused (409) while it has appliances or images, which the answer names; retired images count until they are deleted. The default enterprise cannot be deleted.");
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
