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
        library.MapGet("/compaction", Compaction)
            .WithSummary("Get what compaction does")
            .WithDescription("Chains of images are kept short in the background: which layers become one now, how many images have a chain that is too deep, and what was done so far.");
        library.MapPost("/compaction", Compact)
            .WithSummary("Look for chains to shorten")
            .WithDescription("Looks at once, and tries what has failed before again. Its progress is what compaction does.");
    }

    private static async Task<Ok<LibraryCompaction>> Compaction(Datacenter datacenter) => TypedResults.Ok(await datacenter.Compaction.Get());

    private static async Task<Ok<LibraryCompaction>> Compact(Datacenter datacenter) => TypedResults.Ok(await datacenter.Compaction.Compact());

    private static async Task<Ok<LibraryHealth>> Health(Datacenter datacenter) => TypedResults.Ok(await datacenter.Scrub.Get());

    private static async Task<Ok<LibraryHealth>> Verify(Datacenter datacenter) => TypedResults.Ok(await datacenter.Scrub.Verify());
}
