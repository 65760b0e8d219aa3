using Instances.Client;
using Xunit;

namespace Instances.Library;

public sealed class LibraryEndpointTests(Gateway gateway)
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    private InstancesClient Client => new(gateway.Http);

    [Fact]
    public async Task GetHealth_ShowsTheRoundAndWhatIsCorrupt()
    {
        var health = await Client.GetLibraryHealth(Stop);

        Assert.Equal((2, 1, false), (health.Layers, health.LayersRead, health.IsDone));
        var corrupt = Assert.Single(health.Corrupt);
        Assert.Equal(("aa", "bb"), (corrupt.Expected, corrupt.Found));
        Assert.Equal("https://gateway.example/api/v1/datacenters/west", health.LastHealing?.From);
    }

    [Fact]
    public async Task Verify_BeginsARound() => Assert.Equal(0, (await Client.VerifyLibrary(Stop)).LayersRead);

    [Fact]
    public async Task GetCompaction_ShowsWhatWasDone()
    {
        var compaction = await Client.GetLibraryCompaction(Stop);

        Assert.Equal((8, 3L, 12L, 100L, 40L), (compaction.MaxChainDepth, compaction.Merges, compaction.LayersMerged, compaction.BytesBefore, compaction.BytesAfter));
        Assert.Null(compaction.Running);
    }

    [Fact]
    public async Task Compact_LooksAtOnce() => Assert.Equal((2, 5L), (await Client.CompactLibrary(Stop)).Running is { } running ? (running.Layers, running.BytesWritten) : default);

    [Theory, InlineData(true), InlineData(false)]
    public async Task Rebuild_IsBegunAsItWasAskedFor(bool dryRun)
    {
        var rebuild = await Client.RebuildLibrary(dryRun, Stop);

        Assert.Equal((dryRun, null, 3, 3), (rebuild.DryRun, rebuild.FinishedAt, rebuild.Manifests, rebuild.Done));
    }

    [Fact]
    public async Task Rebuild_WithoutABody_IsNoDryRun()
    {
        using var answer = await gateway.Http.PostAsync(new Uri("api/v1/datacenters/local/library/rebuild", UriKind.Relative), content: null, Stop);

        Assert.Contains("\"dryRun\":false", await answer.Content.ReadAsStringAsync(Stop), StringComparison.Ordinal);
    }

    [Fact]
    public async Task GetRebuild_WhereThereWasNone_IsNotFound() =>
        Assert.Equal("rebuild-not-found", (await Assert.ThrowsAsync<ProblemException>(() => Client.GetLibraryRebuild(Stop))).Code);

    [Fact]
    public async Task GetUsage_ShowsAsManyImagesAsAskedFor()
    {
        var usage = await Client.GetLibraryUsage(limit: 7, Stop);

        Assert.Equal(7, Assert.Single(usage.ByStatus).Images);
        Assert.Equal((6L, 4L), (usage.ByImage[0].OwnBytes, usage.ByImage[0].SharedBytes));
    }
}
