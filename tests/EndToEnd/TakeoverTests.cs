using System.Diagnostics;
using Instances.Appliances;
using Instances.Client;
using Instances.Operations;
using Instances.Testing;
using Xunit;

namespace Instances.EndToEnd.Tests;

/// <summary>The silo that runs an operation stops in the middle of it, and another silo resumes the operation.</summary>
public sealed class TakeoverTests(ITestOutputHelper output)
{
    /// <summary>Enough that calls to some of them are routed through each silo.</summary>
    private const int Others = 16;

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task Operation_WhoseSiloIsFrozenAndThenKilled_IsResumedByTheOther()
    {
        await using var datacenter = new SimulatedDatacenter(hosts: 1, gateways: 1, number => [$"--Testing:HoldFile={HoldFile(number)}"]);
        await datacenter.InitializeAsync();
        var (cluster, client) = (datacenter.Cluster, datacenter.Cluster.Client);
        var appliance = await datacenter.Deployed("shop");
        var others = await Task.WhenAll(Enumerable.Range(0, Others).Select(number => client.CreateAppliance(new($"other-{number}"), Stop)));
        foreach (var number in (int[])[1, 2]) await HoldIn(number);
        var operation = await client.CreateInstance(appliance, new(Quiesce: Quiesce.None), Stop);
        await Eventually.Holds(() => Task.FromResult(IsHeldIn(1) || IsHeldIn(2)), "a silo has reached the step after the commit");
        var (first, second) = IsHeldIn(1) ? (1, 2) : (2, 1);

        var frozen = cluster.Controls[first - 1];
        await Resumes(second, "frozen", () =>
        {
            frozen.Freeze();
            return Task.CompletedTask;
        });

        // A frozen silo keeps its connections: the gateways must route calls around it.
        await Task.WhenAll(others.Select(other => client.GetAppliance(other.Id, Stop)));

        await frozen.Kill();
        await HoldIn(first);
        frozen.Start();
        await frozen.Ready();
        await Resumes(first, "killed", cluster.Controls[second - 1].Kill);

        async Task Resumes(int other, string how, Func<Task> stop)
        {
            var clock = Stopwatch.StartNew();
            await stop();
            await Eventually.Holds(() => Task.FromResult(IsHeldIn(other)), "the other silo has resumed the operation");
            output.WriteLine($"Resumed {clock.Elapsed.TotalSeconds:0.0} s after the silo was {how}.");
            Assert.Equal(OperationStatus.Running, (await client.GetOperation(operation.Id, Stop)).Status);
        }
    }

    /// <summary>The silo stops in the step after the commit, once.</summary>
    private Task HoldIn(int number) => File.WriteAllTextAsync(HoldFile(number), "create-instance/undeploy", Stop);

    private bool IsHeldIn(int number) => !File.Exists(HoldFile(number));

    private string HoldFile(int number) => Path.Combine(Path.GetTempPath(), $"hold-{Environment.ProcessId}-{GetHashCode()}-{number}");
}
