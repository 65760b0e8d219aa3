using Instances.Appliances;
using Instances.Datacenters;
using Instances.Doctor;
using Instances.Faults;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.Simulation;
using Instances.Testing;
using Instances.VirtualMachines;
using Microsoft.Extensions.DependencyInjection;
using Orleans;
using Xunit;

namespace Instances.Grains.Tests.Doctor;

/// <summary>Causes each kind of damage on a live cluster. The doctor must find only that, and repair it if that is safe.</summary>
public sealed class DoctorTests(HandSweptFixture fixture) : ClusterTest<HandSweptFixture>(fixture), IAsyncLifetime
{
    private readonly HostId _host = new(new HostOptions().Name);

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    private IDoctorGrain Doctor => Cluster.Grains.Doctor();

    /// <summary>Nothing is left for a sweep of what earlier tests have undeployed.</summary>
    public async ValueTask InitializeAsync() => await Sweep();

    public ValueTask DisposeAsync()
    {
        Dispose();
        return ValueTask.CompletedTask;
    }

    private Task<SweepReport> Sweep() => Cluster.Grains.Library().Sweep();

    [Fact]
    public async Task Examine_ASceneWithCapturesAndDeployments_FindsNothing()
    {
        var scene = await Scene.DeployedInAllPowerStates(Cluster);
        await scene.CreateInstance(new(UpdateImages: true, Undeploy: false));
        await scene.CreateInstance(new(UpdateImages: true));
        await scene.Deploy();
        await Sweep();

        var report = await AssertHealthy();

        Assert.Equal((1, 0), (report.Counts.Hosts, report.Counts.HostsAway));
        Assert.True(report.Counts is { VirtualMachines: >= 3, HostMachines: >= 3, Images: >= 4, Manifests: >= 4, LibraryLayers: >= 7 });
        await scene.AssertRestsDeployed();
    }

    [Theory]
    [InlineData("place")]
    [InlineData("start")]
    [InlineData("finish")]
    public async Task Examine_WhileAnApplianceIsDeployed_FindsAndRepairsNothing(string step)
    {
        var scene = await Scene.Undeployed(Cluster);
        Cluster.Probe.HoldBefore = step;
        var operation = await scene.Appliance.Deploy(OperationId.New());
        await Cluster.Probe.Arrived;

        Assert.Empty((await Doctor.Examine(fix: true)).Findings);

        Cluster.Probe.Release();
        Assert.Equal(OperationStatus.Succeeded, (await Cluster.End(operation)).Status);
        await scene.AssertRestsDeployed();
    }

    [Theory]
    [InlineData("quiesce")]
    [InlineData("seal")]
    [InlineData("commit")]
    [InlineData("register")]
    [InlineData("update")]
    public async Task Examine_WhileAnInstanceIsCreated_FindsAndRepairsNothing(string step)
    {
        var scene = await Scene.Deployed(Cluster, machines: 2);
        Cluster.Probe.HoldBefore = step;
        var operation = await scene.Appliance.CreateInstance(OperationId.New(), new(UpdateImages: true));
        await Cluster.Probe.Arrived;
        await Sweep();

        Assert.Empty((await Doctor.Examine(fix: true)).Findings);

        Cluster.Probe.Release();
        await scene.AssertInstances(await Cluster.End(operation), 2);
        await scene.AssertRestsUndeployed();
    }

    [Fact]
    public async Task Examine_ALayerOfAnImageThatIsGone_IsCriticalAndAPersons()
    {
        var scene = await Scene.Undeployed(Cluster);
        var layer = scene.Master.Disks[0].Layers[0].Id;
        Cluster.Layers.Layers.TryRemove(layer, out _);

        var finding = await AssertFinding("image-layer-missing", isFixable: false);

        Assert.Equal((FindingSeverity.Critical, $"image {scene.Master.Id}"), (finding.Severity, finding.Subject));
        Assert.Contains($"{layer}", finding.Message, StringComparison.Ordinal);
        Cluster.Layers.Layers[layer] = true;
        await AssertHealthy();
    }

    [Fact]
    public async Task Examine_AnImageWithoutItsManifest_IsFound()
    {
        var master = await Cluster.AddMaster();
        var manifest = (await Cluster.Layers.ReadManifests(Stop)).Single(manifest => manifest.Id == master.Id);
        await Cluster.Layers.DeleteManifest(master.Id);

        Assert.Equal($"image {master.Id}", (await AssertFinding("image-manifest-missing", isFixable: false)).Subject);

        await Cluster.Layers.WriteManifest(manifest);
        await AssertHealthy();
    }

    [Fact]
    public async Task Examine_AManifestWithoutAnImage_IsSwept()
    {
        var image = (await Cluster.AddManifest(LayerId.New(), OperationStatus.Failed)).Id;

        await AssertRepairs("manifest-orphan", $"manifest {image}");

        Assert.DoesNotContain(image, Cluster.Layers.Manifests);
    }

    [Fact]
    public async Task Examine_AManifestThatMayBeAnImageOfALostDatabase_IsCriticalAndAPersons()
    {
        var layer = LayerId.New();
        Cluster.Layers.Layers[layer] = true;
        var image = (await Cluster.AddManifest(layer, operation: null)).Id;

        Assert.Equal($"manifest {image}", (await AssertFinding("manifest-without-record", isFixable: false)).Subject);

        Assert.Contains(image, Cluster.Layers.Manifests);
        await Cluster.Layers.DeleteManifest(image);
        await Cluster.Layers.Delete(layer);
        await AssertHealthy();
    }

    [Fact]
    public async Task Examine_ALayerThatNobodyRefersTo_IsSwept()
    {
        var layer = LayerId.New();
        Cluster.Layers.Layers[layer] = true;

        await AssertRepairs("layer-orphan", $"layer {layer}");

        Assert.DoesNotContain(layer, Cluster.Layers.Layers.Keys);
    }

    [Fact]
    public async Task Examine_AMachineThatItsHostDoesNotHave_IsCriticalAndAPersons()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        var machine = (await scene.Machines())[0];
        Cluster.Host.Machines.TryRemove(machine.Id, out var lost);

        var finding = await AssertFinding("virtual-machine-missing", isFixable: false);

        Assert.Equal((FindingSeverity.Critical, $"virtual machine {machine.Id}"), (finding.Severity, finding.Subject));
        Cluster.Host.Machines[machine.Id] = lost!;
        await AssertHealthy();
    }

    [Fact]
    public async Task Examine_AMachineThatNoRecordKnows_IsRemovedWithItsOwnLayers()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        var known = Cluster.Host.Machines[(await scene.Machines())[0].Id].Spec;
        var (machine, top) = (VirtualMachineId.New(), LayerId.New());
        Cluster.Layers.Layers[top] = false;
        Cluster.Host.Machines[machine] = new(known with { Id = machine, Disks = [known.Disks[0] with { Layers = [known.Disks[0].Layers[0], top] }] });

        await AssertRepairs("virtual-machine-orphan", $"virtual machine {machine} on host {_host}");

        Assert.DoesNotContain(machine, Cluster.Host.Machines.Keys);
        Assert.DoesNotContain(top, Cluster.Layers.Layers.Keys);
        await scene.AssertRestsDeployed();
    }

    [Theory]
    [InlineData("run-folder-orphan", true, null)]
    [InlineData("process-orphan", true, 4711)]
    [InlineData("process-orphan", false, 4711)]
    public async Task Examine_WhatIsLeftOfAMachineThatNoRecordKnows_IsRemoved(string code, bool hasFolder, int? process)
    {
        var machine = VirtualMachineId.New();
        Cluster.Host.Leftovers[machine] = new(machine, hasFolder, process);

        await AssertRepairs(code, $"virtual machine {machine} on host {_host}");

        Assert.Empty(Cluster.Host.Leftovers);
    }

    [Fact]
    public async Task Examine_AMachineThatItsHostCouldNotTakeOver_IsLeftAlone()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        var machine = (await scene.Machines())[0].Id;
        Cluster.Host.Machines.TryRemove(machine, out var lost);
        Cluster.Host.Leftovers[machine] = new(machine, HasRunFolder: true, ProcessId: 4711);

        Assert.Equal($"virtual machine {machine}", (await AssertFinding("virtual-machine-not-adopted", isFixable: false)).Subject);
        var refused = await Assert.ThrowsAsync<FaultException>(() => Cluster.Grains.Host(_host).RemoveOrphan(machine, []));

        Assert.Equal("virtual-machine-known", refused.Fault.Code);
        Assert.Contains(machine, Cluster.Host.Leftovers.Keys);
        Cluster.Host.Leftovers.Clear();
        Cluster.Host.Machines[machine] = lost!;
        await AssertHealthy();
    }

    [Fact]
    public async Task Examine_AMachineOnOtherLayersThanItsRecordSays_IsCriticalAndAPersons()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        var machine = Cluster.Host.Machines[(await scene.Machines())[0].Id];
        var disks = machine.Disks;

        // The host's own check of a just started machine may record the chain first: then the test changes it again.
        await Testing.Eventually.Holds(async () =>
        {
            machine.Disks = [disks[0] with { Layers = [.. disks[0].Layers, LayerId.New()] }];
            return (await Doctor.Examine(fix: true)).Findings is [{ Code: "chain-differs", Severity: FindingSeverity.Critical, Fixable: false, Fixed: false } finding]
                && finding.Subject == $"virtual machine {machine.Spec.Id}";
        }, "the doctor finds the other chain, and leaves it");

        machine.Disks = disks;
        await Cluster.Grains.VirtualMachine(machine.Spec.Id).Observe(_host, (await Cluster.Grains.Host(_host).Observe(machine.Spec.Id))!);
        await AssertHealthy();
    }

    [Fact]
    public async Task Examine_AReservationWithoutAnOperation_IsGivenBack()
    {
        var operation = OperationId.New();
        await Cluster.Grains.Datacenter().Place(operation, ApplianceId.New(), [new(VirtualMachineId.New(), 1, 64L << 20, [])]);

        await AssertRepairs("reservation-stale", $"operation {operation}");

        Assert.Empty(await Cluster.Grains.Datacenter().Reservations());
    }

    [Fact]
    public async Task Examine_AnOperationThatItsApplianceDoesNotRun_IsClosed()
    {
        var scene = await Scene.Undeployed(Cluster);
        var operation = OperationId.New();
        await Cluster.Grains.Operation(operation).Begin(new(OperationKind.Deploy, scene.Id, Image: null, ["place"], [], TimeProvider.System.GetUtcNow()));

        await AssertRepairs("operation-orphan", $"operation {operation}");

        var closed = (await Cluster.Grains.Operation(operation).Find())!;
        Assert.Equal((OperationStatus.Failed, "operation-lost"), (closed.Status, closed.Fault!.Code));
    }

    [Fact]
    public async Task Examine_AnImportThatItsImageDoesNotKnow_IsClosed()
    {
        var operation = OperationId.New();
        await Cluster.Grains.Operation(operation).Begin(new(OperationKind.Import, Appliance: null, ImageId.New(), ["receive"], [], TimeProvider.System.GetUtcNow()));

        await AssertRepairs("operation-orphan", $"operation {operation}");
    }

    [Fact]
    public async Task Examine_AnApplianceWhoseOperationHasNoRunningRecord_IsFound()
    {
        var scene = await Scene.Undeployed(Cluster);
        Cluster.Probe.HoldBefore = "start";
        var operation = await scene.Appliance.Deploy(OperationId.New());
        await Cluster.Probe.Arrived;
        await Cluster.Grains.Operation(operation.Id).Finish(new(
            OperationStatus.Failed, new(OperationStatus.Failed, [], [], Cancellable: false), TimeProvider.System.GetUtcNow(), Fault: null, Result: null));

        var finding = await AssertFinding("appliance-stuck", isFixable: true);

        Assert.Equal((FindingSeverity.Critical, $"appliance {scene.Id}"), (finding.Severity, finding.Subject));
        Cluster.Probe.Release();
        await Eventually.Holds(async () => (await scene.Appliance.Get()).Status is ApplianceStatus.Deployed, "it continues");
        await AssertHealthy();
    }

    [Fact]
    public async Task Examine_AnUndeployThatGoesOnFailing_IsFoundAndToldToTryAtOnce()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        Cluster.Host.FailNext(SimulatedCall.Remove, times: 1000);
        var operation = await scene.Appliance.Undeploy(OperationId.New(), force: false);
        await Eventually.Holds(async () => (await Cluster.Grains.Operation(operation.Id).Find())!.Status is OperationStatus.Stuck, "it is stuck");

        var finding = Assert.Single((await Doctor.Examine(fix: false)).Findings);
        Assert.Equal(("operation-stuck", $"appliance {scene.Id}", true), (finding.Code, finding.Subject, finding.Fixable));
        Assert.Contains("told to fail at Remove", finding.Message, StringComparison.Ordinal);

        Cluster.Host.FailNext(SimulatedCall.Remove, times: 0);
        await Doctor.Examine(fix: true);
        Assert.Equal(OperationStatus.Succeeded, (await Cluster.End(operation)).Status);
        await Sweep();
        await AssertHealthy();
    }

    [Fact]
    public async Task Examine_AnOperationWithoutProgress_IsFoundBehindTheBound()
    {
        var scene = await Scene.Undeployed(Cluster);
        Cluster.Probe.HoldBefore = "start";
        var operation = await scene.Appliance.Deploy(OperationId.New());
        await Cluster.Probe.Arrived;
        await AssertHealthy();

        // The last progress may be reported between the two snapshots: then the next examination finds it.
        Cluster.Doctor.StallBound = TimeSpan.Zero;
        await Eventually.Holds(async () => (await Doctor.Examine(fix: false)).Findings.Count > 0, "the doctor finds it");
        var finding = await AssertFinding("operation-stalled", isFixable: true);

        Assert.Contains("'start'", finding.Message, StringComparison.Ordinal);
        Cluster.Doctor.StallBound = new DoctorOptions().StallBound;
        Cluster.Probe.Release();
        await Cluster.End(operation);
        await AssertHealthy();
    }

    [Fact]
    public async Task Examine_AReminderOfWhatRunsNoOperation_IsUnregistered()
    {
        var table = Cluster.Services.GetRequiredService<IReminderTable>();
        var grain = Cluster.Grains.Appliance(ApplianceId.New()).GetGrainId();
        await table.UpsertRow(new() { GrainId = grain, ReminderName = "operation", StartAt = DateTime.UnixEpoch.AddYears(500), Period = TimeSpan.FromDays(1) }, Stop);

        await AssertRepairs("reminder-orphan", $"reminder operation of {grain}");

        Assert.Empty((await table.ReadRows(grain, Stop)).Reminders);
    }

    [Fact]
    public async Task Examine_AMachineThatIsHeldForNoCapture_IsLetGo()
    {
        var scene = await Scene.Deployed(Cluster, machines: 1);
        var machine = Cluster.Host.Machines[(await scene.Machines())[0].Id];
        var next = LayerId.New();
        Cluster.Layers.Layers[next] = false;
        (machine.Hold, machine.NextLayers, machine.WasPaused, machine.Status) = (new(OperationId.New(), TimeProvider.System.GetUtcNow()), [next], true, VirtualMachineStatus.Paused);

        var report = await Doctor.Examine(fix: true);

        Assert.Equal(["hold-orphan"], report.Findings.Select(finding => finding.Code));
        Assert.All(report.Findings, finding => Assert.True(finding.Fixed, finding.Message));
        Assert.False(Cluster.Layers.Layers.ContainsKey(next));
        Assert.Equal((null, VirtualMachineStatus.Running, 0), (machine.Hold, machine.Status, machine.NextLayers.Count));
        await AssertHealthy();
        await scene.AssertRestsDeployed();
    }

    private async Task<DoctorReport> AssertHealthy()
    {
        var report = await Doctor.Examine(fix: false);
        Assert.Empty(report.Findings);
        return report;
    }

    /// <summary>It is the only finding, and a repair does not change it if that is not safe.</summary>
    private async Task<Finding> AssertFinding(string code, bool isFixable)
    {
        var finding = Assert.Single((await Doctor.Examine(fix: !isFixable)).Findings);
        Assert.Equal((code, isFixable, false), (finding.Code, finding.Fixable, finding.Fixed));
        return finding;
    }

    /// <summary>It is the only finding. It stays without --fix, is repaired with it, and is not found again.</summary>
    private async Task AssertRepairs(string code, string subject)
    {
        foreach (var fix in (bool[])[false, true])
        {
            var finding = Assert.Single((await Doctor.Examine(fix)).Findings);
            Assert.Equal((code, subject, true, fix), (finding.Code, finding.Subject, finding.Fixable, finding.Fixed));
        }

        await AssertHealthy();
    }
}
