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
}
