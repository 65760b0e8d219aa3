using System.ComponentModel;
using Instances.Appliances;
using Instances.Catalogue;
using Instances.Datacenters;
using Instances.Library;
using Instances.Requests;
using Microsoft.AspNetCore.Http.HttpResults;
using Microsoft.AspNetCore.Mvc;

namespace Instances.Operations;

internal static class OperationEndpoints
{
    public static void MapOperations(this IEndpointRouteBuilder routes)
    {
        var group = routes.MapGroup("/operations").WithTags("Operations");
        group.MapGet("/", List)
            .WithSummary("List operations")
            .WithDescription("Newest first. With a status filter for operations that have not ended, a page may have fewer items than its limit although more follow: nextCursor shows that.");
        group.MapGet("/{id}", Get)
            .WithSummary("Get an operation")
            .WithDescription("The newest version: its steps, the activity of each virtual machine and, once it has succeeded, the result.");
        group.MapGet("/{id}/events", Watch)
            .Produces<OperationView>(StatusCodes.Status200OK, OperationEvents.ContentType)
            .WithSummary("Watch an operation")
            .WithDescription(
                "Server-sent events. The id of an event is the operation's version, its data the operation as JSON; it is named progress, and the last "
                + "one end. A reader that reconnects with the header Last-Event-ID (or the parameter lastEventId) misses nothing; one that has seen "
                + "the end is answered 204.");
        group.MapPost("/{id}/cancel", Cancel)
            .WithSummary("Cancel an operation")
            .WithDescription("Undoes what was done. Allowed until the commit point. 202 while it unwinds, 200 once it has ended.");
        group.MapPost("/{id}/force", Force)
            .WithSummary("Force an operation")
            .WithDescription(
                "For an operation past its commit point, or one that is being undone, that a host keeps from ending, whatever the reason is: the host is unreachable, does not have a "
                + "machine, fails, or does not answer. The operation skips what its hosts cannot do, and ends. A machine that is being removed becomes Undeployed; its host removes it as "
                + "soon as it can. A machine that was being captured is Unknown until its host has released it. Before the commit point, cancel the operation instead. If a host is "
                + "only cut off, its machines keep running until it is back.");
    }

    private static async Task<Ok<Page<OperationView>>> List(
        Datacenter datacenter,
        [Description("Only the operations of this appliance.")] ApplianceId? appliance,
        [Description("Only the import or the promotion that makes this image.")] ImageId? image,
        [Description("Only operations of this kind.")] Choice<OperationKind>? kind,
        [Description("Only operations in this status.")] Choice<OperationStatus>? status,
        [AsParameters] PageQuery page) =>
        TypedResults.Ok(await datacenter.Catalogue.FindOperations(new(appliance, image, kind?.Value, status?.Value), page.ToRequest()));

    private static async Task<Ok<OperationView>> Get(Datacenter datacenter, OperationId id) =>
        TypedResults.Ok(await datacenter.GetOperation(id));

    private static async Task<Results<OperationEvents, NoContent>> Watch(
        Datacenter datacenter,
        OperationId id,
        [FromHeader(Name = "Last-Event-ID"), Description("The last version that the reader has seen.")] long? lastEventHeader,
        [Description("The same, for readers that cannot set headers. The header takes precedence.")] long? lastEventId)
    {
        var seen = lastEventHeader ?? lastEventId ?? 0;
        var operation = await datacenter.GetOperation(id);
        return operation.IsFinished && operation.Version == seen
            ? TypedResults.NoContent()
            : new OperationEvents(datacenter.Operation(id), seen);
    }

    private static async Task<Results<Accepted<OperationView>, Ok<OperationView>>> Cancel(Datacenter datacenter, RequestKey key, OperationId id)
    {
        var operation = await datacenter.Operation(id).Cancel();
        return operation.IsFinished ? TypedResults.Ok(operation) : datacenter.Accepted(operation);
    }

    private static async Task<Accepted<OperationView>> Force(Datacenter datacenter, RequestKey key, OperationId id) =>
        datacenter.Accepted(await datacenter.Operation(id).Force());
}
