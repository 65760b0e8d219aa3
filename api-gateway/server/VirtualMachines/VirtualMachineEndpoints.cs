using System.ComponentModel;
using Instances.Appliances;
using Instances.Catalogue;
using Instances.Datacenters;
using Instances.Faults;
using Instances.Requests;
using Microsoft.AspNetCore.Http.HttpResults;
using Microsoft.AspNetCore.Http.Json;
using Microsoft.Extensions.Options;

namespace Instances.VirtualMachines;

internal static class VirtualMachineEndpoints
{
    public const int MaxConsoleBytes = 65_536;

    private const string About =
        "cpus, memoryBytes and portForwards are as they were specified; effectiveCpus, effectiveMemoryBytes and effectivePortForwards are what the machine has, with defaults and chosen ports. "
        + "User data is not shown, only its SHA-256; a PATCH without user data keeps it. The header ETag is the version of what PATCH changes.";

    public static void MapVirtualMachines(this IEndpointRouteBuilder routes)
    {
        var members = routes.MapGroup("/appliances/{appliance}/virtual-machines").WithTags("Virtual machines");
        members.MapPost("/", Add)
            .WithSummary("Add a virtual machine to an appliance")
            .WithDescription("The machine is undeployed; in a deployed appliance the next deployment deploys it. Allowed when the appliance is Deployed or Undeployed.");
        members.MapGet("/", List).WithSummary("List an appliance's virtual machines").WithDescription("In the order in which they were added.");
        members.MapGet("/{id}", GetMember).WithSummary("Get a virtual machine of an appliance").WithDescription(About);
        members.MapPatch("/{id}", Change)
            .WithSummary("Change a virtual machine")
            .WithDescription("A JSON merge patch: members that are left out stay, and null resets a member to its default. Allowed while the machine is undeployed. "
                + "With If-Match the change is refused (412) if the machine's version has changed.");
        members.MapDelete("/{id}", Remove)
            .WithSummary("Remove a virtual machine from its appliance")
            .WithDescription("Allowed while the machine is undeployed. Its images stay in the library.");

        var group = routes.MapGroup("/virtual-machines/{id}").WithTags("Virtual machines");
        group.MapGet("/", Get).WithSummary("Get a virtual machine").WithDescription(About);
        group.MapPost("/power", Power)
            .WithSummary("Switch a virtual machine's power")
            .WithDescription(
                "on, off, shutdown (presses the power button and returns), reset, pause or resume. An action whose result is already reached does nothing. "
                + "off and reset lose data that the guest has not written to its disks.");
        group.MapGet("/console-log", ReadConsole)
            .Produces<string>(StatusCodes.Status200OK, "text/plain")
            .WithSummary("Read the end of the serial console")
            .WithDescription("The last part of what the guest has printed on its serial console since it was deployed.");
    }

    private static async Task<Created<VirtualMachineView>> Add(Datacenter datacenter, RequestKey key, ApplianceId appliance, VirtualMachineSpec spec, HttpResponse response)
    {
        var id = key.NewId<VirtualMachineId>();
        var machine = await key.Guard(datacenter.Appliance(appliance).AddVirtualMachine(id, spec), "virtual-machine-exists");
        response.Headers.ETag = IfMatch.Tag(machine.Version);
        return TypedResults.Created(datacenter.Url($"appliances/{appliance}/virtual-machines/{id}"), machine);
    }

    private static async Task<Ok<Page<VirtualMachineView>>> List(Datacenter datacenter, ApplianceId appliance, [AsParameters] PageQuery page) =>
        TypedResults.Ok(await datacenter.Catalogue.VirtualMachines(appliance, page.ToRequest()));

    private static async Task<Ok<VirtualMachineView>> GetMember(Datacenter datacenter, ApplianceId appliance, VirtualMachineId id, HttpResponse response) =>
        Tagged(await Member(datacenter, appliance, id), response);

    private static async Task<Ok<VirtualMachineView>> Change(
        Datacenter datacenter,
        ApplianceId appliance,
        VirtualMachineId id,
        IfMatch match,
        MergePatch<VirtualMachineSpec, VirtualMachineView> patch,
        IOptions<JsonOptions> json,
        HttpResponse response) =>
        Tagged(await datacenter.Appliance(appliance).PatchVirtualMachine(id, patch.ToDocument(new("example", default), json), match.Versions), response);

    private static async Task<NoContent> Remove(Datacenter datacenter, ApplianceId appliance, VirtualMachineId id, IfMatch match)
    {
        await datacenter.Appliance(appliance).RemoveVirtualMachine(id, match.Versions);
        return TypedResults.NoContent();
    }

    private static async Task<Ok<VirtualMachineView>> Get(Datacenter datacenter, VirtualMachineId id, HttpResponse response) => Tagged(await datacenter.VirtualMachine(id).Get(), response);

    private static Ok<VirtualMachineView> Tagged(VirtualMachineView machine, HttpResponse response)
    {
        response.Headers.ETag = IfMatch.Tag(machine.Version);
        return TypedResults.Ok(machine);
    }

    private static async Task<Ok<VirtualMachineView>> Power(Datacenter datacenter, RequestKey key, VirtualMachineId id, PowerRequest request) =>
        TypedResults.Ok(await datacenter.VirtualMachine(id).Power(request.Action, key.IsGiven ? key.NewId<RequestId>() : null));

    private static async Task<Utf8ContentHttpResult> ReadConsole(
        Datacenter datacenter, VirtualMachineId id, [Description("The most bytes to return, 1 to 65,536. Default: 65,536.")] int? bytes)
    {
        if (bytes is < 1 or > MaxConsoleBytes)
            throw FaultException.Invalid("bytes-out-of-range", $"bytes is {bytes}; it has to be 1 to {MaxConsoleBytes}.");
        var text = await datacenter.VirtualMachine(id).ReadConsole(bytes ?? MaxConsoleBytes);
        return TypedResults.Text(System.Text.Encoding.UTF8.GetBytes(text), "text/plain; charset=utf-8");
    }

    private static async Task<VirtualMachineView> Member(Datacenter datacenter, ApplianceId appliance, VirtualMachineId id)
    {
        var machine = await datacenter.VirtualMachine(id).Get();
        return machine.Appliance == appliance
            ? machine
            : throw FaultException.NotFound("virtual-machine-not-found", $"The appliance {appliance} has no virtual machine {id}.");
    }
}

/// <summary>What to do with a machine's power.</summary>
internal sealed record PowerRequest(PowerAction Action);
