using Instances.Doctor;
using Instances.Faults;
using Instances.Library;
using Instances.Simulation;
using Instances.Testing;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Grains.Tests.Library;

/// <summary>If a host's store is on the library's file system, both have the same file: a corruption affects both, and a repair in the library does not repair the host's file.</summary>
public sealed class HostScrubTests : IAsyncLifetime
{
    private SeveralStores _stores = null!;
    private LayerId _layer;
    private VirtualMachineId _machine;

    private SimulatedLayerStore Host => _stores.Stores[0];

    public async ValueTask InitializeAsync()
    {
        _stores = await SeveralStores.Start();
        var master = await _stores.AddMaster();
        _layer = master.Disks[0].Layers[0].Id;
        var appliance = await _stores.AddAppliance(1, master.Id);
        _stores.DeployOn(0);
        await _stores.Deploy(appliance);
        _machine = (await appliance.Get()).VirtualMachines[0];
        await Verify();
        (_stores.Library.Digests[_layer], Host.Digests[_layer]) = ("0bad", "0bad");
    }

    public ValueTask DisposeAsync() => _stores.DisposeAsync();

    [Fact]
    public async Task Heal_TheHostHasTheSameFile_ItsCopyIsReplacedToo()
    {
        (_stores.Library.Copies[_layer], Host.Copies[_layer]) = (SimulatedLayerStore.Sound, SimulatedLayerStore.Sound);

        await _stores.Grains.Scrub().Verify();

        await Eventually.Holds(() => Task.FromResult(Host.FindCheck(_layer) is { IsCorrupt: false, IsDoubted: false, HealedAt: not null }), "the host's copy is replaced");
        await Eventually.Holds(
            async () => (await _stores.Grains.VirtualMachine(_machine).Get()).Problem?.Contains("has turned out to be corrupt", StringComparison.Ordinal) == true,
            "the machine that runs on the old file says so");
        await Power(PowerAction.Off);
        Assert.Null((await Power(PowerAction.On)).Problem);
    }

    [Fact]
    public async Task CorruptCopy_NobodyHasAGoodOne_NothingIsStartedOnItUntilThereIs()
    {
        await Power(PowerAction.Off);
        await _stores.Grains.Scrub().Verify();
        await Eventually.Holds(async () => (await _stores.Grains.Scrub().Get()).HostCopies is [{ Host.Name: "host-1" } copy] && copy.Layer == _layer, "the library's health shows the host's copy");
        Assert.Contains((await _stores.Grains.Doctor().Examine(fix: false)).Findings, finding => finding.Code == "host-layer-corrupt" && finding.Severity is FindingSeverity.Critical);

        var refused = await Assert.ThrowsAsync<FaultException>(() => Power(PowerAction.On));

        Assert.Equal("layer-corrupt", refused.Fault.Code);
        (_stores.Library.Copies[_layer], Host.Copies[_layer]) = (SimulatedLayerStore.Sound, SimulatedLayerStore.Sound);
        await _stores.Grains.Scrub().Verify();
        await Eventually.Holds(() => Task.FromResult(Host.FindCheck(_layer) is { IsCorrupt: false, HealedAt: not null }), "the host's copy is replaced");
        Assert.Equal(VirtualMachineStatus.Running, (await Power(PowerAction.On)).Status);
    }

    [Fact]
    public async Task CorruptCopy_FileIsRestored_TheMachineThatDiedIsStartedAgain()
    {
        await _stores.Grains.Scrub().Verify();
        await Eventually.Holds(() => Task.FromResult(Host.FindCheck(_layer) is { IsCorrupt: true }), "the host has read its copy");
        _stores.Machines[0].Dies(_machine);
        await Eventually.Holds(
            async () => await _stores.Grains.VirtualMachine(_machine).Get() is { Status: VirtualMachineStatus.Stopped, Problem: { } problem } && problem.Contains("is corrupt", StringComparison.Ordinal),
            "the machine is not started, and its record says why");

        (_stores.Library.Digests[_layer], Host.Digests[_layer]) = (SimulatedLayerStore.Sound, SimulatedLayerStore.Sound);
        await Verify();
        await _stores.Host(0).Doubt(_layer, SimulatedLayerStore.Sound);

        await Eventually.Holds(async () => await _stores.Grains.VirtualMachine(_machine).Get() is { Status: VirtualMachineStatus.Running, Problem: null }, "the machine runs again");
    }

    private Task<VirtualMachineView> Power(PowerAction action) => _stores.Grains.VirtualMachine(_machine).Power(action);

    private async Task Verify()
    {
        await _stores.Grains.Scrub().Verify();
        await Eventually.Holds(async () => (await _stores.Grains.Scrub().Get()) is { IsDone: true, Reading: null }, "every layer is read");
    }
}
