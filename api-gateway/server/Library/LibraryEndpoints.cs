using Instances.Datacenters;
using Microsoft.AspNetCore.Http.HttpResults;

namespace Instances.Library;

internal static class LibraryEndpoints
{
    public static void MapLibrary(this IEndpointRouteBuilder routes)
    {
        var library = routes.MapGroup("/library").WithTags("Library");
        library.MapGet("/health", Health)
            .WithSummary("Get the library's health")
            .WithDescription("How many layers were read and found sound in this round, and which are corrupt, with the images that stand on them. Reads no layer.");
        library.MapPost("/verify", Verify)
            .WithSummary("Read the whole library")
            .WithDescription("Begins a round: every layer is read from now on, slowly. Its progress is the library's health. A corrupt layer is replaced by the good copy of a host where there is one.");
    }

    private static async Task<Ok<LibraryHealth>> Health(Datacenter datacenter) => TypedResults.Ok(await datacenter.Scrub.Get());

    private static async Task<Ok<LibraryHealth>> Verify(Datacenter datacenter) => TypedResults.Ok(await datacenter.Scrub.Verify());
}
