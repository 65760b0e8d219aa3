using Instances.Testing;
using Xunit;

namespace Instances.Grains.Tests;

/// <summary>One cluster for all tests of a class.</summary>
public class ClusterFixture : IAsyncLifetime
{
    internal SimulatedCluster Cluster { get; private set; } = null!;

    private protected virtual bool SweepsByHand => false;

    public async ValueTask InitializeAsync()
    {
        Cluster = await SimulatedCluster.Start(sweepsByHand: SweepsByHand);

        // The first sweep binds the library to its database. Wait for it before the first test.
        await Cluster.Grains.Library().Sweep();
    }

    public async ValueTask DisposeAsync()
    {
        await Cluster.DisposeAsync();
        GC.SuppressFinalize(this);
    }
}

/// <summary>No sweep runs but those that the tests start.</summary>
public sealed class HandSweptFixture : ClusterFixture
{
    private protected override bool SweepsByHand => true;
}

public abstract class ClusterTest(ClusterFixture fixture) : ClusterTest<ClusterFixture>(fixture);

/// <summary>Tests that share a cluster, one after the other. Objects of earlier tests still exist; probe, host and options are reset.</summary>
public abstract class ClusterTest<TFixture> : IClassFixture<TFixture>, IDisposable
    where TFixture : ClusterFixture
{
    private protected ClusterTest(TFixture fixture)
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
