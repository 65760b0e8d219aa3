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
}
