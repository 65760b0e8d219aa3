using Instances.Datacenters;
using Microsoft.AspNetCore.Http.HttpResults;

namespace Instances.Doctor;

internal static class DoctorEndpoints
{
    public static void MapDoctor(this IEndpointRouteBuilder routes)
    {
        var doctor = routes.MapGroup("/doctor").WithTags("Datacenters");
        doctor.MapGet("/", Look)
            .WithSummary("Examine the datacenter")
            .WithDescription(
                "Looks whether everything has its owner and every owner has what it needs, and changes nothing. It looks twice, some seconds apart, so that what is just being made is no finding.");
        doctor.MapPost("/", Examine)
            .WithSummary("Examine the datacenter, and repair what is safe")
            .WithDescription("With fix, findings that are fixable are repaired and looked at again. No image and no virtual machine that is known is ever deleted.");
    }

    private static async Task<Ok<DoctorReport>> Look(Datacenter datacenter) => TypedResults.Ok(await datacenter.Doctor.Examine(fix: false));

    private static async Task<Ok<DoctorReport>> Examine(Datacenter datacenter, ExaminationRequest request) =>
        TypedResults.Ok(await datacenter.Doctor.Examine(request.Fix));
}

/// <summary>How to examine the datacenter.</summary>
internal sealed record ExaminationRequest(bool Fix);
