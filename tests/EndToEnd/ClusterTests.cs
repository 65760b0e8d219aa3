using System.Diagnostics;
using Instances.Appliances;
using Instances.Client;
using Instances.Operations;
using Instances.Testing;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.EndToEnd.Tests;

/// <summary>A cluster of real processes with simulated hosts: two control silos, two hosts, two gateways, PostgreSQL.</summary>
[Collection(nameof(SimulatedDatacenter))]
public sealed class ClusterTests(SimulatedDatacenter datacenter, ITestOutputHelper output)
{
    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    private ProcessCluster Cluster => datacenter.Cluster;

    private InstancesClient Client => Cluster.Client;

    [Fact]
    public async Task Gateway_KilledWhileAnOperationIsWatched_IsLeftForTheOtherAndNothingIsMissed()
    {
        var appliance = await datacenter.Deployed("watched");
        await Client.Succeeds(await Client.Undeploy(appliance, Stop));
        using var first = GatewayPool.CreateClient([Cluster.Gateways[0].Address, Cluster.Gateways[1].Address]);
        var versions = new List<long>();
        var isKilled = false;

        // The first request of a pool goes to its first gateway.
        var watcher = new InstancesClient(first);
        var operation = await Client.Deploy(appliance, Stop);
        await foreach (var view in watcher.Watch(operation.Id, Stop))
        {
            versions.Add(view.Version);
            if (!isKilled) await Cluster.Gateways[0].Kill();
            isKilled = true;
        }

        var ended = await new InstancesClient(new HttpClient { BaseAddress = Cluster.Gateways[1].Address }).GetOperation(operation.Id, Stop);
        Assert.Equal(OperationStatus.Succeeded, ended.Status);
        Assert.Equal(ended.Version, versions[^1]);
        Assert.Equal(versions.Order().Distinct(), versions);
        Cluster.Gateways[0].Start();
        await Cluster.Gateways[0].Ready();
    }

    [Fact]
    public async Task RollingRestart_OfEverySiloAndGatewayDuringCaptures_FailsNoOperation()
    {
        var appliances = new[] { await datacenter.Deployed("shop"), await datacenter.Deployed("lab") };
        using var end = CancellationTokenSource.CreateLinkedTokenSource(Stop);
        var work = appliances.Select(appliance => Capture(appliance, end.Token)).ToList();

        foreach (var process in Cluster.All)
        {
            var clock = Stopwatch.StartNew();
            await process.Stop();
            var stopped = clock.Elapsed;
            process.Start();
            await process.Ready();
            output.WriteLine($"{process.Name}: stopped within {stopped.TotalSeconds:0.0} s, ready {(clock.Elapsed - stopped).TotalSeconds:0.0} s after its start.");
        }

        await end.CancelAsync();
        var captures = (await Task.WhenAll(work)).SelectMany(ended => ended).ToList();
        output.WriteLine($"{captures.Count} captures while everything was restarted.");
        Assert.True(captures.Count > appliances.Length, "captures went on");
        Assert.All(captures, operation => Assert.Equal((OperationStatus.Succeeded, null), (operation.Status, operation.Fault?.Message)));
    }

    [Fact]
    public async Task Database_AwayForAWhile_LosesNothingAndHealsByItself()
    {
        var appliance = await datacenter.Deployed("outlives");
        var missed = Cluster.Silos.ToDictionary(silo => silo, MissedHeartbeats);
        var operation = await Client.CreateInstance(appliance, new(Quiesce: Quiesce.None, Undeploy: false), Stop);

        Cluster.Database.Kill();
        using var http = new HttpClient { BaseAddress = Cluster.Gateways[0].Address };
        using var refused = await http.GetAsync("api/v1/datacenters/local/appliances", Stop);
        await Task.WhenAll(Cluster.Silos.Select(silo => Eventually.Holds(() => Task.FromResult(MissedHeartbeats(silo) > missed[silo]), $"{silo.Name} cannot write its sign of life")));
        await Task.Delay(OutageFromEnvironment, Stop);
        Cluster.Database.Start();

        Assert.Equal(System.Net.HttpStatusCode.ServiceUnavailable, refused.StatusCode);
        Assert.NotNull(refused.Headers.RetryAfter);
        await Eventually.Holds(async () => await Client.GetAppliance(appliance, Stop) is { Status: ApplianceStatus.Deployed, Operation: null }, "the appliance rests");
        Assert.True((await Client.End(operation)).IsFinished);
        Assert.All(await Client.ListVirtualMachines(appliance, Stop), machine => Assert.Equal(VirtualMachineStatus.Running, machine.Status));
        await Client.Succeeds(await Client.CreateInstance(appliance, new(), Stop));
        Assert.All(Cluster.All, process => Assert.True(process.IsRunning, $"{process.Name} runs"));
    }

    [Fact]
    public async Task Silo_OfAHostThatRunsElsewhere_RefusesToStart()
    {
        var second = Cluster.Second("host-1");
        second.Start();
        await second.Ended();

        Assert.Equal(1, second.ExitCode);
        Assert.Contains("- The host name 'host-1' is taken", second.Tail(), StringComparison.Ordinal);
        Assert.All(Cluster.Hosts, process => Assert.True(process.IsRunning, $"{process.Name} runs"));
    }

    [Fact]
    public async Task Silo_WithMistakesInItsConfiguration_NamesThemAllAndEnds()
    {
        await using var data = new DataFolder();
        var (code, said) = await SiloProgram.Run("--data", data, "--port", "0", "--Silo:Roles=Host", "--Silo:Address=nowhere", "--Silo:Port=7", "--Silo:ClientPort=7");

        Assert.Equal(1, code);
        Assert.Equal(["Silo:Address", "Silo:Port", "Silo:Roles"], new[] { "Silo:Address", "Silo:Port", "Silo:Roles" }.Where(key => said.Contains($"- {key}", StringComparison.Ordinal)));
        Assert.DoesNotContain("   at ", said, StringComparison.Ordinal);
    }

    /// <summary>After every silo has noticed the outage; a soak sets 60.</summary>
    private static TimeSpan OutageFromEnvironment =>
        TimeSpan.FromSeconds(int.TryParse(Environment.GetEnvironmentVariable("INSTANCES_TEST_OUTAGE_SECONDS"), out var seconds) ? seconds : 0);

    private static int MissedHeartbeats(ClusterProcess silo) =>
        File.ReadLines(silo.LogPath).Count(line => line.Contains("Failed to update table entry for this silo", StringComparison.Ordinal));

    /// <summary>One capture after the other, until told to end.</summary>
    private async Task<List<OperationView>> Capture(ApplianceId appliance, CancellationToken end)
    {
        var ended = new List<OperationView>();
        while (!end.IsCancellationRequested)
            ended.Add(await Client.End(await Client.CreateInstance(appliance, new(Quiesce: Quiesce.None, Undeploy: false, UpdateImages: true), Stop)));
        return ended;
    }
}
