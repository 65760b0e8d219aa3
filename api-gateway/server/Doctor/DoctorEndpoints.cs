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
                "Checks that everything has an owner and every owner has what it needs. Changes nothing. It checks twice, some seconds apart, so that something that is just being created is not a finding.");
        doctor.MapPost("/", Examine)
            .WithSummary("Examine the datacenter, and repair what is safe")
            .WithDescription("With fix, the fixable findings are repaired and checked again. No image is deleted, and no virtual machine that has a record.");
    }

    private static async Task<Ok<DoctorReport>> Look(Datacenter datacenter) => TypedResults.Ok(await datacenter.Doctor.Examine(fix: false));

    private static async Task<Ok<DoctorReport>> Examine(Datacenter datacenter, ExaminationRequest request) =>
        TypedResults.Ok(await datacenter.Doctor.Examine(request.Fix));
}

/// <summary>How to examine the datacenter.</summary>
internal sealed record ExaminationRequest(bool Fix);
