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
            .WithDescription("How many layers were read and are sound in this round, which are corrupt, with the images that need them, and which layer was repaired last, and from where. Reads no layer.");
        library.MapPost("/verify", Verify)
            .WithSummary("Read the whole library")
            .WithDescription("Begins a round: every layer is read from now on, slowly. Its progress is the library's health. A corrupt layer is replaced by a good copy of a host or of another datacenter in Library:Peers, if there is one.");
        library.MapGet("/compaction", Compaction)
            .WithSummary("Get what compaction does")
            .WithDescription("Compaction keeps chains of images short in the background. The answer shows the layers that are being merged, how many images have too long a chain, and what was done so far.");
        library.MapPost("/compaction", Compact)
            .WithSummary("Look for chains to shorten")
            .WithDescription("Scans now, and retries merges that have failed. GET shows the progress.");

        library.MapPost("/rebuild", Rebuild)
            .WithSummary("Rebuild the library from its files")
            .WithDescription(
                "After a loss of the database: begins to create a record for every image that has a manifest and no record, in the background. Existing records are not changed. "
                + "Images are restored as Ready, including those that were Retired. With dryRun nothing is changed. If a rebuild is running, it continues; during a dry run no rebuild begins (409 rebuild-running).");
        library.MapGet("/rebuild", FindRebuild)
            .WithSummary("Get the rebuild")
            .WithDescription("The progress of the running rebuild, or the result of the last one, and which images it left out and why.");
        library.MapLayers();
        library.MapGet("/usage", Usage)
            .WithSummary("Get the library's usage")
            .WithDescription(
                "The use of space by status, by enterprise and by image (own, shared and total; those that would free most come first), and what sweeps and compaction have freed. "
                + "Reads the sizes of all layers from the file system, and no layer.");
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
/// <param name="DryRun">Change nothing: only show what would be done.</param>
internal sealed record RebuildRequest(bool DryRun = false);
