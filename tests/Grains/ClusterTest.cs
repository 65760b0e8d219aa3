using Instances.Testing;
using Xunit;

namespace Instances.Grains.Tests;

/// <summary>One cluster for all tests of a class.</summary>
public sealed class ClusterFixture : IAsyncLifetime
{
    internal SimulatedCluster Cluster { get; private set; } = null!;

    public async ValueTask InitializeAsync()
    {
        Cluster = await SimulatedCluster.Start();

        // The first sweep binds the library to its database: no test comes before it, whichever is the first.
        await Cluster.Grains.Library().Sweep();
    }

    public ValueTask DisposeAsync() => Cluster.DisposeAsync();
}

/// <summary>Tests that share a cluster, one after the other. What earlier tests have made is still there; probe, host and options are as at the start.</summary>
public abstract class ClusterTest : IClassFixture<ClusterFixture>, IDisposable
{
    private protected ClusterTest(ClusterFixture fixture)
    {
        Cluster = fixture.Cluster;
        Cluster.Reset();
    }

    private protected SimulatedCluster Cluster { get; }

    /// <summary>A test that failed may have left calls waiting.</summary>
    public void Dispose()
    {
        Cluster.Reset();
        GC.SuppressFinalize(this);
    }
}
