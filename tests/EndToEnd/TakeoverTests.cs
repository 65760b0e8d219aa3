using System.Diagnostics;
using Instances.Appliances;
using Instances.Client;
using Instances.Operations;
using Instances.Testing;
using Xunit;

namespace Instances.EndToEnd.Tests;

/// <summary>An operation whose silo goes in the middle of it is taken up by another one, in time.</summary>
public sealed class TakeoverTests(ITestOutputHelper output)
{
    /// <summary>A silo that was killed is known to be dead within 3 s, and its operations are looked at every 5 s.</summary>
    private static readonly TimeSpan AfterKill = TimeSpan.FromSeconds(15);

    private static readonly TimeSpan AfterFreeze = TimeSpan.FromSeconds(45);

    /// <summary>So many that some of their calls go by way of each silo.</summary>
    private const int Others = 16;

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Theory]
    [InlineData(false)]
    [InlineData(true)]
    public async Task Operation_WhoseSiloGoes_IsTakenUpByTheOther(bool isFrozen)
    {
        await using var datacenter = new SimulatedDatacenter(number => ["--Testing:HoldSagaAt=create-instance/undeploy", $"--Testing:HoldMarker={Marker(number)}"]);
        await datacenter.InitializeAsync();
        var (cluster, client) = (datacenter.Cluster, datacenter.Cluster.Client);
        var appliance = await datacenter.Deployed("shop");
        var others = await Task.WhenAll(Enumerable.Range(0, Others).Select(number => client.CreateAppliance(new($"other-{number}"), Stop)));
        var operation = await client.CreateInstance(appliance, new(Quiesce: Quiesce.None), Stop);
        await Eventually.Holds(() => Task.FromResult(File.Exists(Marker(1)) || File.Exists(Marker(2))), "a silo has reached the step behind the commit");
        var (gone, other) = File.Exists(Marker(1)) ? (1, 2) : (2, 1);

        var clock = Stopwatch.StartNew();
        if (isFrozen) cluster.Controls[gone - 1].Freeze();
        else await cluster.Controls[gone - 1].Kill();
        await Eventually.Holds(() => Task.FromResult(File.Exists(Marker(other))), "the other silo has taken the operation up");

        output.WriteLine($"Taken up {clock.Elapsed.TotalSeconds:0.0} s after the silo was {(isFrozen ? "frozen" : "killed")}.");
        Assert.InRange(clock.Elapsed, TimeSpan.Zero, isFrozen ? AfterFreeze : AfterKill);
        Assert.Equal(OperationStatus.Running, (await client.GetOperation(operation.Id, Stop)).Status);

        // A frozen silo keeps its connections to the gateways: none of them may go on sending calls that way.
        await Task.WhenAll(others.Select(other => client.GetAppliance(other.Id, Stop)));
    }

    private string Marker(int number) => Path.Combine(Path.GetTempPath(), $"instances-held-{Environment.ProcessId}-{GetHashCode()}-{number}");
}
