using Instances.Appliances;
using Instances.Library;
using Instances.Operations;
using Instances.Testing;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.EndToEnd.Tests;

/// <summary>SIGKILL during create-instance with real guests running, and a restart. Kills at every step, with simulated guests, are in <c>Grains/Appliances/CrashTests</c>.</summary>
public sealed class KillTests(KillTests.Shop shop) : IClassFixture<KillTests.Shop>
{
    /// <summary>Places: the guests have next layers; are frozen and paused; write to their next layers; everything is in the library.</summary>
    private static readonly string[] BeforeCommit = ["prepare:after", "pause:after", "seal:after", "commit"];

    private static readonly string[] AfterCommit = ["commit:after", "undeploy/web:after", "finish"];

    [Fact]
    public async Task Kill_AtEachStepBeforeTheCommit_LeavesTheApplianceDeployedAsBefore()
    {
        await shop.StartAndDeploy();
        var processes = shop.Guests.Ids();
        foreach (var point in BeforeCommit)
        {
            var operation = await shop.CaptureUntilHeld(point, new(Quiesce: Quiesce.Freeze, UpdateImages: true));
            await shop.KillAndRestart();

            await shop.Settles(ApplianceStatus.Deployed, $"after a kill at {point}");
            Assert.Equal(processes, shop.Guests.Ids());
            var machines = await shop.Machines();
            Assert.All(machines, machine => Assert.Equal(VirtualMachineStatus.Running, machine.Status));
            var ended = await shop.Ended(operation);
            Assert.Equal((OperationStatus.Failed, "operation-interrupted"), (ended.Status, ended.Fault?.Code));
            await shop.NothingIsLeft(machines, $"after a kill at {point}");
        }

        await shop.BootCounts(2, "the guests still count on their disks after all of that");
    }

    [Fact]
    public async Task Kill_AtEachStepAfterTheCommit_LeavesTheApplianceUndeployedWithAllImagesReady()
    {
        foreach (var point in AfterCommit)
        {
            await shop.StartAndDeploy();
            var operation = await shop.CaptureUntilHeld(point, new(Quiesce: Quiesce.None, UpdateImages: true));
            await shop.KillAndRestart();

            await shop.Settles(ApplianceStatus.Undeployed, $"after a kill at {point}");
            var ended = await shop.Ended(operation);
            Assert.Equal(OperationStatus.Succeeded, ended.Status);
            var machines = await shop.Machines();
            foreach (var instance in ended.Result!.Instances!)
            {
                Assert.Equal(ImageStatus.Ready, (await shop.Server.Client.FindImage(instance.Image, TestContext.Current.CancellationToken))!.Status);
                Assert.Equal(instance.Image, machines.Single(machine => machine.Id == instance.VirtualMachine).Image);
            }

            Assert.Empty(shop.Guests.Ids());
            await shop.NothingIsLeft(machines, $"after a kill at {point}");
        }
    }

    /// <summary>An appliance of two guests on a server that is killed and started again.</summary>
    public sealed class Shop : IAsyncLifetime
    {
        private readonly DataFolder _data = new();
        private ApplianceId _appliance;

        internal ServerProcess Server { get; private set; } = null!;

        internal GuestProcesses Guests => _data.Guests;

        private string HoldFile => Path.Combine(_data, "hold");

        public async ValueTask InitializeAsync()
        {
            await StartServer();
            var master = await Server.Client.ImportGuest();
            var appliance = await Server.Client.CreateAppliance(new("shop"), TestContext.Current.CancellationToken);
            _appliance = appliance.Id;
            foreach (var name in new[] { "web", "db" }) await Server.Client.AddVirtualMachine(_appliance, Guest.Spec(name, master.Id), TestContext.Current.CancellationToken);
        }

        public async ValueTask DisposeAsync()
        {
            await Server.DisposeAsync();
            await _data.DisposeAsync();
        }

        internal async Task StartAndDeploy()
        {
            if ((await Server.Client.GetAppliance(_appliance, TestContext.Current.CancellationToken)).Status is ApplianceStatus.Undeployed)
                await Server.Client.Succeeds(await Server.Client.Deploy(_appliance, TestContext.Current.CancellationToken));
        }

        internal async Task<OperationView> CaptureUntilHeld(string point, CreateInstanceCommand command)
        {
            await File.WriteAllTextAsync(HoldFile, $"create-instance/{point}");
            if (command.Quiesce is Quiesce.Freeze) foreach (var machine in await Machines()) await Server.Client.WaitForBoot(machine.Id, atLeast: 1);
            var operation = await Server.Client.CreateInstance(_appliance, command, TestContext.Current.CancellationToken);
            await Eventually.Holds(() => Task.FromResult(!File.Exists(HoldFile)), $"the saga reaches {point}");
            return operation;
        }

        internal async Task KillAndRestart()
        {
            await Server.Kill();
            await Server.DisposeAsync();
            await StartServer();
        }

        private async Task StartServer() => Server = await ServerProcess.Start(_data, $"--Testing:HoldFile={HoldFile}");

        /// <summary>Reads the list only, which activates no grain: the appliance must settle without help.</summary>
        internal Task Settles(ApplianceStatus status, string when) => Eventually.Holds(async () =>
        {
            var appliance = (await Server.Client.ListAppliances(default)).Single();
            return appliance.Status == status && appliance.Operation is null;
        }, $"the appliance is {status} {when}");

        internal async Task<OperationView> Ended(OperationView operation) => await Server.Client.End(operation);

        internal async Task<IReadOnlyList<VirtualMachineView>> Machines() => await Server.Client.ListVirtualMachines(_appliance, TestContext.Current.CancellationToken);

        internal async Task BootCounts(int atLeast, string what)
        {
            foreach (var machine in await Machines())
            {
                await Server.Client.Power(machine.Id, PowerAction.Reset, TestContext.Current.CancellationToken);
                Assert.True(await Server.Client.WaitForBoot(machine.Id, atLeast) >= atLeast, what);
            }
        }

        /// <summary>Every layer file belongs to an image or a machine, every run folder and every process to a machine that is deployed.</summary>
        internal async Task NothingIsLeft(IReadOnlyList<VirtualMachineView> machines, string when)
        {
            var images = await Server.Client.ListImages(new(), TestContext.Current.CancellationToken);
            var owned = images.SelectMany(image => image.Disks).SelectMany(disk => disk.Layers).Select(layer => layer.Id)
                .Concat(machines.SelectMany(machine => machine.Disks).SelectMany(disk => disk.Layers))
                .Select(layer => $"{layer}.qcow2").Distinct().Order().ToList();
            IReadOnlyList<string> Stored() => [.. Directory.EnumerateFiles(Path.Combine(_data, "layers")).Select(file => Path.GetFileName(file)!)
                .Where(file => !file.EndsWith(".json", StringComparison.Ordinal) && file is not ("store.id" or "library.binding"))
                .Select(file => file.Replace(".check", ".qcow2", StringComparison.Ordinal)).Distinct().Order()];
            await Eventually.Holds(() => Task.FromResult(owned.SequenceEqual(Stored())), $"no layer is without an owner {when}: {string.Join(", ", Stored().Except(owned))}");

            var deployed = machines.Where(machine => machine.Status is not VirtualMachineStatus.Undeployed).Select(machine => machine.Id.ToString()).Order();
            Assert.Equal(deployed, Directory.EnumerateDirectories(Path.Combine(_data, "machines")).Select(folder => Path.GetFileName(folder)!).Order());
            Assert.Equal(deployed.Count(), Guests.Ids().Count);
        }
    }
}
