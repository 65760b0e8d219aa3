using System.Text.Json;
using Instances.Appliances;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;
using Microsoft.Extensions.Options;
using Xunit;

namespace Instances.Simulation;

/// <summary>A simulated host whose process ends and restarts.</summary>
public sealed class SimulatedFilesTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("instances-simulation-").FullName;

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public async Task Adopt_AfterTheProcessHasGone_FindsEveryMachineAsItWas()
    {
        var before = await Process();
        var (running, paused, removed) = (Spec(), Spec(), Spec());
        foreach (var spec in (MachineSpec[])[running, paused, removed]) await before.Start(spec, Stop);
        await before.Power(paused.Id, PowerAction.Pause);
        await before.Remove(removed.Id, removed.Deployment);

        var after = await Process();

        Assert.Equal(Json(await before.Find(running.Id)), Json(await after.Find(running.Id)));
        Assert.Equal(VirtualMachineStatus.Paused, (await after.Find(paused.Id))!.Status);
        Assert.Equal(2, (await after.List()).Count);
    }

    [Theory]
    [InlineData(Quiesce.Freeze)]
    [InlineData(Quiesce.Shutdown)]
    public async Task Adopt_InTheMiddleOfACapture_LetsTheCaptureBeUndone(Quiesce quiesce)
    {
        var (before, spec, operation, next) = (await Process(), Spec(), OperationId.New(), LayerId.New());
        await before.Start(spec, Stop);
        await before.AddNextLayers(spec.Id, operation, [next]);
        await before.Quiesce(spec.Id, operation, quiesce, TimeSpan.FromSeconds(1), Stop);
        await before.Pause(spec.Id, operation);
        await before.Seal(spec.Id, operation);

        var after = await Process();

        Assert.Equal(operation, (await after.Find(spec.Id))!.Hold!.Operation);
        Assert.Equal(next, (await after.Find(spec.Id))!.Disks[0].Layers[^1]);
        await after.Resume(spec.Id, operation);
        await after.Unquiesce(spec.Id, operation);
        Assert.Empty(await after.RemoveNextLayers(spec.Id, operation));
        await after.EndHold(spec.Id, operation);
        Assert.Equal((VirtualMachineStatus.Running, null), ((await after.Find(spec.Id))!.Status, (await after.Find(spec.Id))!.Hold));
    }

    [Fact]
    public async Task Calls_SideBySideOnOneMachine_LeaveTheFileThatTheMachineIs()
    {
        var (before, spec) = (await Process(), Spec());
        await before.Start(spec, Stop);
        await Parallel.ForEachAsync(Enumerable.Range(0, 500), Stop, async (number, _) =>
            await before.Power(spec.Id, number % 2 == 0 ? PowerAction.Pause : PowerAction.Resume));

        Assert.Equal(Json(await before.Find(spec.Id)), Json(await (await Process()).Find(spec.Id)));
    }

    private async Task<SimulatedHypervisor> Process()
    {
        var files = new SimulatedFiles(Options.Create(new SimulationOptions { Folder = _folder }));
        var hypervisor = new SimulatedHypervisor(new(TimeProvider.System, files), TimeProvider.System);
        await hypervisor.Adopt(Stop);
        return hypervisor;
    }

    private static MachineSpec Spec() =>
        new(VirtualMachineId.New(), ApplianceId.New(), OperationId.New(), "web", 1, 64L << 20, [new([LayerId.New(), LayerId.New()], 1L << 30)], [new(80, 8080)], ["key"], null);

    private static string Json(MachineObservation? observation) => JsonSerializer.Serialize(observation, InstancesJson.Options);
}
