using Instances.Appliances;
using Instances.Faults;
using Instances.Library;
using Instances.Operations;
using Instances.Simulation;
using Instances.Testing;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Grains.Tests.Library;

/// <summary>Hosts and a library that share no folder: deployments fetch layers from the library, and captures move layers to it.</summary>
public sealed class SeveralStoresTests : IAsyncLifetime
{
    private SeveralStores _stores = null!;

    public async ValueTask InitializeAsync() => _stores = await SeveralStores.Start();

    public ValueTask DisposeAsync() => _stores.DisposeAsync();

    [Fact]
    public async Task Image_CapturedOnOneHost_IsDeployedAndCapturedOnAnother()
    {
        var master = await _stores.AddMaster();
        var appliance = await _stores.AddAppliance(2, master.Id);
        _stores.DeployOn(0);
        await _stores.Deploy(appliance);
        Assert.Equal(Layers(master), _stores.Stores[0].Pulled);

        var first = await _stores.CreateInstance(appliance, new(UpdateImages: true));

        Assert.Equal(2 * SimulatedLayerStore.LayerBytes, first.Result!.BytesMoved);
        var slaves = await Images(first);
        Assert.All(slaves, _stores.AssertInLibrary);
        Assert.All(slaves, slave => Assert.Equal(SimulatedLayerStore.LayerBytes, slave.Bytes));

        _stores.DeployOn(1);
        var deployed = await _stores.Deploy(appliance);
        Assert.Equal(slaves.SelectMany(Layers).ToHashSet(), _stores.Stores[1].Pulled.ToHashSet());
        Assert.Equal(3, _stores.Stores[1].Pulled.Count);
        Assert.All(deployed.VirtualMachines, machine => Assert.Equal(2 * SimulatedLayerStore.LayerBytes, machine.Bytes));

        var second = await _stores.CreateInstance(appliance, new(Undeploy: false));
        Assert.All(await Images(second), _stores.AssertInLibrary);
        await _stores.SweepAll();
        Assert.Equal(new SweepReport(0, 0, 0), await _stores.SweepAll());
        Assert.All(await Images(second), _stores.AssertInLibrary);
        Assert.Equal(2, _stores.Machines[1].Machines.Count);
    }

    [Fact]
    public async Task Deploy_OnAHostThatHasTheMaster_MovesTheSlaveAlone()
    {
        var master = await _stores.AddMaster();
        var (one, other) = (await _stores.AddAppliance(1, master.Id), await _stores.AddAppliance(1, master.Id));
        _stores.DeployOn(0);
        await _stores.Deploy(one);
        await _stores.CreateInstance(one, new(UpdateImages: true));
        _stores.DeployOn(1);
        await _stores.Deploy(other);
        _stores.Stores[1].Pulled.Clear();

        var deployed = await _stores.Deploy(one);

        Assert.Single(_stores.Stores[1].Pulled);
        Assert.Equal(SimulatedLayerStore.LayerBytes, Assert.Single(deployed.VirtualMachines).Bytes);
    }

    /// <summary>The image's layers are merged after the deployment has determined them, or after it has fetched them; the old ones are swept at once.</summary>
    [Theory]
    [InlineData("Instances.Library.IImageGrain.Get")]
    [InlineData("Instances.Hosts.IHostGrain.Fetch")]
    public async Task Deploy_OfAnImageThatIsCompactedMeanwhile_FetchesWhatTookTheirPlace(string call)
    {
        var master = await _stores.AddMaster();
        var appliance = await _stores.AddAppliance(1, master.Id);
        _stores.DeployOn(0);
        await _stores.Deploy(appliance);
        for (var capture = 0; capture < 3; capture++) await _stores.CreateInstance(appliance, new(Undeploy: false));
        var slave = (await Images(await _stores.CreateInstance(appliance, new(UpdateImages: true))))[0];
        var merge = new LayerMerge(LayerId.New(), [.. Layers(slave)], 1);
        _stores.DeployOn(1);
        _stores.AfterNext(call, async () =>
        {
            Assert.True(await _stores.Grains.Image(slave.Id).BeginMerge(merge));
            await _stores.Library.Merge(merge, LibraryOptions.MaxBytesPerSecond, TestContext.Current.CancellationToken);
            Assert.True(await _stores.Grains.Image(slave.Id).CompleteMerge(merge, SimulatedLayerStore.LayerBytes));
            await _stores.Grains.Library().Sweep();
        });

        await _stores.Deploy(appliance);

        var machine = await _stores.Grains.VirtualMachine((await appliance.Get()).VirtualMachines[0]).Get();
        Assert.Equal([merge.Chain[0], merge.Merged], machine.Disks[0].Layers.SkipLast(1));
        Assert.Contains(merge.Merged, _stores.Stores[1].Pulled);
        Assert.DoesNotContain(merge.Top, _stores.Library.Layers.Keys);
        await _stores.CreateInstance(appliance, new());
    }

    [Fact]
    public async Task Deploy_OnAHostThatHasLostALayer_BringsItAgain()
    {
        var master = await _stores.AddMaster();
        var appliance = await _stores.AddAppliance(1, master.Id);
        _stores.DeployOn(0);
        await _stores.Deploy(appliance);
        await _stores.Undeploy(appliance);
        _stores.Stores[0].Layers.Clear();

        await _stores.Deploy(appliance);

        Assert.Equal([.. Layers(master), .. Layers(master)], _stores.Stores[0].Pulled);
    }

    [Fact]
    public async Task CreateInstance_OfMachinesOnTwoHosts_IsOneInstant()
    {
        var appliance = await _stores.AddAppliance(4, (await _stores.AddMaster()).Id);
        _stores.DeployOn(null);
        await _stores.Deploy(appliance);
        Assert.All(_stores.Machines, host => Assert.Equal(2, host.Machines.Count));

        var captured = await _stores.CreateInstance(appliance, new());

        var slaves = await Images(captured);
        Assert.Equal(4, slaves.Count);
        Assert.All(slaves, _stores.AssertInLibrary);
        Assert.Single(slaves.Select(slave => slave.Capture!.At).Distinct());
        Assert.True(captured.Result!.ConsistencyWindowMs >= 0);
        Assert.Equal(4 * SimulatedLayerStore.LayerBytes, captured.Result.BytesMoved);
    }

    [Fact]
    public async Task CreateInstance_WhoseLayersDoNotReachTheLibrary_IsUndoneAndTheMachinesGoOn()
    {
        var appliance = await _stores.AddAppliance(2, (await _stores.AddMaster()).Id);
        _stores.DeployOn(0);
        await _stores.Deploy(appliance);
        _stores.Library.FailNextPull(FaultException.Capacity("no-space", "The disk is full."));

        var end = await _stores.End((await appliance.CreateInstance(OperationId.New(), new())).Id);

        Assert.Equal((OperationStatus.Failed, "no-space"), (end.Status, end.Fault!.Code));
        Assert.Single(_stores.Library.Manifests);
        Assert.All(_stores.Machines[0].Machines.Values, machine => Assert.Equal((VirtualMachineStatus.Running, null), (machine.Status, machine.Hold)));
        Assert.Equal(2, (await Images(await _stores.CreateInstance(appliance, new()))).Count);
    }

    [Fact]
    public async Task CreateInstance_ThatMovesBytesForLongerThanTheHoldBound_IsNotLetGo()
    {
        var appliance = await _stores.AddAppliance(1, (await _stores.AddMaster()).Id);
        _stores.DeployOn(0);
        await _stores.Deploy(appliance);
        _stores.Library.PollsOfAPull = 100_000;
        var operation = (await appliance.CreateInstance(OperationId.New(), new())).Id;
        await Eventually.Holds(async () => (await _stores.Grains.Operation(operation).Find())!.VirtualMachines[0].Activity.StartsWith("publishing", StringComparison.Ordinal), "layers are on their way");

        _stores.HoldBound = TimeSpan.FromMilliseconds(100);
        var machine = _stores.Machines[0].Machines.Values.Single();
        await Eventually.Holds(() => Task.FromResult(TimeProvider.System.GetUtcNow() - machine.Hold!.Since > TimeSpan.FromSeconds(1)), "the bound passes, and the host asks several times");
        Assert.Equal(HoldVerdict.Keep, await appliance.ReleaseHold(operation));
        Assert.Equal(VirtualMachineStatus.Paused, machine.Status);
        _stores.Library.PollsOfAPull = 1;

        Assert.Equal(OperationStatus.Succeeded, (await _stores.End(operation)).Status);
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Cancel_WhileLayersAreOnTheirWay_EndsTheOperation(bool ofDeploy)
    {
        var appliance = await _stores.AddAppliance(1, (await _stores.AddMaster()).Id);
        _stores.DeployOn(0);
        if (!ofDeploy) await _stores.Deploy(appliance);
        (_stores.Library.PollsOfAPull, _stores.Stores[0].PollsOfAPull) = (int.MaxValue, int.MaxValue);
        var operation = ofDeploy ? await appliance.Deploy(OperationId.New()) : await appliance.CreateInstance(OperationId.New(), new());
        await Eventually.Holds(
            async () => (await _stores.Grains.Operation(operation.Id).Find())!.VirtualMachines[0].Activity.Contains(" bytes of ", StringComparison.Ordinal),
            "layers are on their way");

        await appliance.Cancel(operation.Id);

        Assert.Equal(OperationStatus.Cancelled, (await _stores.End(operation.Id)).Status);
        Assert.Equal(ofDeploy ? ApplianceStatus.Undeployed : ApplianceStatus.Deployed, (await appliance.Get()).Status);
    }

    [Fact]
    public async Task Sweep_OfAHostWhoseImagesAreGone_LeavesNothing()
    {
        var master = await _stores.AddMaster();
        var appliance = await _stores.AddAppliance(2, master.Id);
        _stores.DeployOn(null);
        await _stores.Deploy(appliance);
        var slaves = await Images(await _stores.CreateInstance(appliance, new()));
        await appliance.Delete();
        foreach (var slave in slaves) await _stores.Grains.Image(slave.Id).Delete();
        await _stores.Grains.Image(master.Id).Delete();

        await _stores.SweepAll();

        Assert.All((SimulatedLayerStore[])[_stores.Library, .. _stores.Stores], store => Assert.Empty(store.Layers));
        Assert.Empty(_stores.Library.Manifests);
    }

    [Fact]
    public async Task Sweep_OfAHostPastItsBound_EvictsByLastUseAndNeverWhatIsInUse()
    {
        var (used, unused) = (await _stores.AddMaster(), await _stores.AddMaster());
        var appliance = await _stores.AddAppliance(1, used.Id);
        _stores.DeployOn(0);
        await _stores.Deploy(appliance);
        var host = _stores.Stores[0];

        // Both were cached before this silo's time; the second one was sealed here and has not reached the library.
        LayerId[] cached = [Layers(unused)[0], Layers(await _stores.AddMaster(isInLibrary: false))[0]];
        foreach (var layer in cached) host.Layers[layer] = true;
        host.CacheBytes = 1;

        var report = await _stores.Host(0).Sweep();

        Assert.Equal(1, report.Layers);
        Assert.DoesNotContain(cached[0], host.Layers.Keys);
        Assert.Contains(cached[1], host.Layers.Keys);
        Assert.Contains(Layers(used)[0], host.Layers.Keys);
        Assert.Equal(3, host.Layers.Count);
    }

    [Fact]
    public async Task Sweep_OfAHostPastItsBound_StopsAtItsBoundAndTakesTheLongestUnusedFirst()
    {
        var masters = await Task.WhenAll(Enumerable.Range(0, 4).Select(_ => _stores.AddMaster()));
        var host = _stores.Stores[0];
        foreach (var layer in masters.SelectMany(Layers)) host.Layers[layer] = true;
        foreach (var index in (int[])[2, 0, 3, 1]) host.Touch(Layers(masters[index])[0]);
        host.CacheBytes = 2 * SimulatedLayerStore.LayerBytes;

        Assert.Equal(2, (await _stores.Host(0).Sweep()).Layers);

        Assert.Equal([Layers(masters[1])[0], Layers(masters[3])[0]], host.Layers.Keys.OrderBy(layer => Array.FindIndex([1, 3], index => Layers(masters[index])[0] == layer)));
    }

    [Fact]
    public async Task Sweep_BetweenTheFetchAndTheStart_EvictsNothingOfIt()
    {
        var master = await _stores.AddMaster();
        var layers = master.Disks[0].Layers;
        Assert.True((await _stores.Host(0).Fetch(layers)).IsDone);
        _stores.Stores[0].CacheBytes = 1;

        Assert.Equal(new SweepReport(0, 0, 0), await _stores.Host(0).Sweep());

        Assert.Equal(Layers(master), _stores.Stores[0].Layers.Keys);
    }

    private async Task<IReadOnlyList<ImageView>> Images(OperationView operation) =>
        await Task.WhenAll(operation.Result!.Instances!.Select(instance => _stores.Grains.Image(instance.Image).Get()));

    private static IReadOnlyList<LayerId> Layers(ImageView image) => [.. image.Disks.SelectMany(disk => disk.Layers).Select(layer => layer.Id)];
}
