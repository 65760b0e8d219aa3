using Instances.Catalogue;
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
            .WithDescription("How many layers were read and found sound in this round, and which are corrupt, with the images that stand on them, and which layer was put right last, and from where. Reads no layer.");
        library.MapPost("/verify", Verify)
            .WithSummary("Read the whole library")
            .WithDescription("Begins a round: every layer is read from now on, slowly. Its progress is the library's health. A corrupt layer is replaced by the good copy of a host, or of another datacenter that Library:Peers names, where there is one.");
        library.MapGet("/compaction", Compaction)
            .WithSummary("Get what compaction does")
            .WithDescription("Chains of images are kept short in the background: which layers become one now, how many images have a chain that is too deep, and what was done so far.");
        library.MapPost("/compaction", Compact)
            .WithSummary("Look for chains to shorten")
            .WithDescription("Looks at once, and tries what has failed before again. Its progress is what compaction does.");

        library.MapPost("/rebuild", Rebuild)
            .WithSummary("Rebuild the library from its files")
            .WithDescription(
                "After a loss of the database: begins to give every image that has a manifest and no record its record again, in the background. Records that are there are left as they are. "
                + "Images come back as Ready, those too that were Retired. With dryRun it only looks. Where a rebuild runs, that one goes on; while a dry run is under way no rebuild begins (409, rebuild-running).");
        library.MapGet("/rebuild", FindRebuild)
            .WithSummary("Get the rebuild")
            .WithDescription("How far the rebuild is that runs, or what the last one did, and which images it left out and why.");
        library.MapLayers();
        library.MapGet("/usage", Usage)
            .WithSummary("Get the library's usage")
            .WithDescription(
                "What takes how much space: by status, by enterprise, by image (own, shared and in all; those first that would free most), and what sweeps and compaction have freed. "
                + "Asks the file system for the size of every layer; reads none.");
    }

    private static async Task<Ok<LibraryCompaction>> Compaction(Datacenter datacenter) => TypedResults.Ok(await datacenter.Compaction.Get());

    private static async Task<Ok<LibraryCompaction>> Compact(Datacenter datacenter) => TypedResults.Ok(await datacenter.Compaction.Compact());

    private static async Task<Ok<LibraryHealth>> Health(Datacenter datacenter) => TypedResults.Ok(await datacenter.Scrub.Get());

    private static async Task<Ok<LibraryHealth>> Verify(Datacenter datacenter) => TypedResults.Ok(await datacenter.Scrub.Verify());

    private static async Task<Ok<LibraryRebuild>> Rebuild(Datacenter datacenter, RebuildRequest? request = null) => TypedResults.Ok(await datacenter.Library.Rebuild(request is { DryRun: true }));

    private static async Task<Ok<LibraryRebuild>> FindRebuild(Datacenter datacenter) => TypedResults.Ok(await datacenter.Library.GetRebuild());

    private static async Task<Ok<LibraryUsage>> Usage(Datacenter datacenter, int limit = PageRequest.DefaultLimit) => TypedResults.Ok(await datacenter.Library.Usage(limit));
}

/// <summary>How to rebuild the library.</summary>
/// <param name="DryRun">Only look, and change nothing.</param>
internal sealed record RebuildRequest(bool DryRun = false);
