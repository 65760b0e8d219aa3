using System.Security.Cryptography;
using Instances.Appliances;
using Instances.Client;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;

namespace Instances.MainJob;

/// <summary>The main job, top-down. It creates its own appliance and images. From earlier runs it uses only the master.</summary>
internal sealed class Job(InstancesClient client, Narrator narrator, Report report)
{
    private const string MasterName = "tiny-linux";
    private const string ApplianceName = "shop";
    private const long MachineMemoryBytes = 160L << 20;

    private readonly BootCounter _boots = new(client);
    private ImageView _master = null!;
    private ApplianceView? _appliance;
    private VirtualMachineView[] _machines = [];

    public async Task Run(FileInfo image, CancellationToken cancellationToken)
    {
        await Import(image, cancellationToken);
        await CreateAppliance(cancellationToken);

        await Deploy("Deploy: both guests start for the first time", cancellationToken);
        report.Boots.First = await ExpectBoots(1, cancellationToken);
        await Reset("Reset both: their disks remember the start before", cancellationToken);
        report.Boots.AfterReset = await ExpectBoots(2, cancellationToken);

        await Undeploy("Undeploy: the changes are lost, because they were not captured", cancellationToken);
        await Deploy("Deploy again: the changes are lost, which instances prevent", cancellationToken);
        report.Boots.AfterPlainRedeploy = await ExpectBoots(1, cancellationToken);
        await Reset("Reset both: work to keep", cancellationToken);
        await ExpectBoots(2, cancellationToken);

        var first = await CreateInstances("Create instances of both, and use them from now on", _machines, updateImages: true, cancellationToken);
        await Deploy("Deploy the instances: the work is kept", cancellationToken);
        report.Boots.AfterCaptureAndRedeploy = await ExpectBoots(3, cancellationToken);

        var extra = await CreateInstances("Create an instance of web alone, images unchanged", _machines[..1], updateImages: false, cancellationToken);
        await Deploy("Deploy once more, from the same instances", cancellationToken);
        await ExpectBoots(3, cancellationToken);

        await CreateInstances("Create instances of both again, which replace the earlier ones", _machines, updateImages: true, cancellationToken);
        await ExpectDeleted([.. first, .. extra], cancellationToken);
        report.Slaves.AddRange(await Slaves(cancellationToken));
    }

    /// <summary>Ends the running operation and undeploys the appliance, if there are any.</summary>
    public async Task Abandon(CancellationToken cancellationToken)
    {
        if (_appliance is not { } appliance) return;
        var now = await client.GetAppliance(appliance.Id, cancellationToken);
        if (now.Operation is { } running)
        {
            var operation = await client.GetOperation(running, cancellationToken);
            if (operation.Cancellable) operation = await client.Cancel(running, cancellationToken);
            await client.WaitFor(operation, _ => { }, cancellationToken);
            now = await client.GetAppliance(appliance.Id, cancellationToken);
        }

        if (now.Status is not ApplianceStatus.Deployed) return;
        await client.WaitFor(await client.Undeploy(appliance.Id, cancellationToken), _ => { }, cancellationToken);
    }

    /// <summary>The slaves that were captured from this run's appliance and are in the library.</summary>
    public async Task<IReadOnlyList<Slave>> Slaves(CancellationToken cancellationToken)
    {
        if (_appliance is not { } own) return [];
        var slaves = await client.ListImages(new(Kind: ImageKind.Slave), cancellationToken);
        return [.. slaves.Where(slave => slave.Capture?.Appliance == own.Id).Select(Slave.Of)];
    }

    private async Task Import(FileInfo image, CancellationToken cancellationToken)
    {
        await using var bytes = image.OpenRead();
        var sha256 = Convert.ToHexStringLower(await SHA256.HashDataAsync(bytes, cancellationToken));
        var masters = await client.ListImages(new(ImageKind.Master, ImageStatus.Ready, Name: MasterName), cancellationToken);
        if (masters.FirstOrDefault(master => master.Import?.Sha256 == sha256) is { } known)
        {
            _master = known;
            narrator.Say($"The master {MasterName} is in the library, from the same file.");
        }
        else
        {
            bytes.Position = 0;
            await narrator.Step($"Import {image.Name} as the master {MasterName}", async show =>
            {
                var format = image.Extension == ".qcow2" ? ImageFormat.Qcow2 : ImageFormat.Raw;
                var accepted = await client.UploadImage(MasterName, format, bytes, sha256, cancellationToken);
                var operation = await Succeed(accepted, show, cancellationToken);
                _master = await Image(operation.Image!.Value, cancellationToken);
            });
        }

        Expect.Equal("The status of the master", ImageStatus.Ready, _master.Status);
        Expect.Equal("The kind of the master", ImageKind.Master, _master.Kind);
        Expect.Equal("The SHA-256 of the master's upload", sha256, _master.Import?.Sha256);
        report.Masters.Add(new(_master.Id, _master.Name));
    }

    private async Task CreateAppliance(CancellationToken cancellationToken)
    {
        var taken = (await client.ListAppliances(cancellationToken)).Select(appliance => appliance.Name).ToHashSet();
        var name = Enumerable.Range(1, taken.Count + 1).Select(number => number == 1 ? ApplianceName : $"{ApplianceName}-{number}").First(name => !taken.Contains(name));
        await narrator.Step($"Create the appliance {name} with the virtual machines web and db", async _ =>
        {
            _appliance = await client.CreateAppliance(new(name), cancellationToken);
            foreach (var machine in (string[])["web", "db"])
                await client.AddVirtualMachine(_appliance.Id, new(machine, _master.Id, MemoryBytes: MachineMemoryBytes), cancellationToken);
            await Refresh(ApplianceStatus.Undeployed, VirtualMachineStatus.Undeployed, cancellationToken);
        });
        Expect.Same("The virtual machines of the appliance", ["web", "db"], _machines.Select(machine => machine.Name));
        // In the order in which they were added.
        Expect.Equal("The first virtual machine", "web", _machines[0].Name);
    }

    private Task Deploy(string title, CancellationToken cancellationToken) => narrator.Step(title, async show =>
    {
        await Succeed(await client.Deploy(_appliance!.Id, cancellationToken), show, cancellationToken);
        await Refresh(ApplianceStatus.Deployed, VirtualMachineStatus.Running, cancellationToken);
    });

    private Task Undeploy(string title, CancellationToken cancellationToken) => narrator.Step(title, async show =>
    {
        await Succeed(await client.Undeploy(_appliance!.Id, cancellationToken), show, cancellationToken);
        await Refresh(ApplianceStatus.Undeployed, VirtualMachineStatus.Undeployed, cancellationToken);
    });

    private Task Reset(string title, CancellationToken cancellationToken) => narrator.Step(title, async _ =>
    {
        foreach (var machine in _machines) await client.Power(machine.Id, PowerAction.Reset, cancellationToken);
    });

    private async Task<int> ExpectBoots(int expected, CancellationToken cancellationToken)
    {
        await narrator.Step($"Both consoles say boots={expected}", show => Task.WhenAll(_machines.Select(machine =>
            _boots.Expect(machine, expected, show, cancellationToken))));
        return expected;
    }

    private async Task<IReadOnlyList<ImageId>> CreateInstances(
        string title, VirtualMachineView[] chosen, bool updateImages, CancellationToken cancellationToken)
    {
        IReadOnlyList<CapturedInstance> instances = [];
        await narrator.Step(title, async show =>
        {
            var all = chosen.Length == _machines.Length;
            var command = new CreateInstanceCommand(all ? null : [.. chosen.Select(machine => machine.Id)], updateImages);
            var operation = await Succeed(await client.CreateInstance(_appliance!.Id, command, cancellationToken), show, cancellationToken);
            instances = operation.Result?.Instances ?? [];
            report.Captures.Add(new(
                operation.Id,
                [.. chosen.Select(machine => machine.Name)],
                operation.Result?.ConsistencyWindowMs,
                Math.Round((operation.FinishedAt!.Value - operation.StartedAt).TotalSeconds, 3),
                operation.Result?.DiskBytesWritten));
        });

        Expect.Same("The captured virtual machines", chosen.Select(machine => machine.Id), instances.Select(instance => instance.VirtualMachine));
        foreach (var machine in chosen) await ExpectSlave(machine, instances.Single(instance => instance.VirtualMachine == machine.Id), cancellationToken);

        var before = _machines.ToDictionary(machine => machine.Id, machine => machine.Image);
        await Refresh(ApplianceStatus.Undeployed, VirtualMachineStatus.Undeployed, cancellationToken);
        foreach (var machine in _machines)
        {
            var expected = updateImages ? instances.Single(instance => instance.VirtualMachine == machine.Id).Image : before[machine.Id];
            Expect.Equal($"The image of {machine.Name}", expected, machine.Image);
        }

        return [.. instances.Select(instance => instance.Image)];
    }

    /// <summary>A slave is named after the master and belongs to it. Its parent is the image that the machine was deployed from.</summary>
    private async Task ExpectSlave(VirtualMachineView machine, CapturedInstance instance, CancellationToken cancellationToken)
    {
        var image = await Image(instance.Image, cancellationToken);
        Expect.Equal($"The kind of {image.Name}", ImageKind.Slave, image.Kind);
        Expect.Equal($"The status of {image.Name}", ImageStatus.Ready, image.Status);
        Expect.Equal($"The master of {image.Name}", _master.Id, image.Master);
        Expect.Equal($"The parent of {image.Name}", machine.Image, image.Parent);
        Expect.Equal($"The virtual machine of {image.Name}", machine.Id, image.Capture?.VirtualMachine);
        var suffix = image.Name.StartsWith($"{_master.Name}-", StringComparison.Ordinal) ? image.Name[(_master.Name.Length + 1)..] : "";
        Expect.True(Guid.TryParseExact(suffix, "D", out _), "The name of a slave", $"{_master.Name}-<uuid>", image.Name);
    }

    /// <summary>The versions that the last capture replaced are gone; the master is not.</summary>
    private Task ExpectDeleted(IReadOnlyList<ImageId> previous, CancellationToken cancellationToken) =>
        narrator.Step("The earlier instances are gone, the master is not", async _ =>
        {
            foreach (var id in previous)
            {
                var image = await client.FindImage(id, cancellationToken);
                Expect.True(
                    image is null or { Status: ImageStatus.Retired }, $"The earlier instance {id}", "none, or one that is retired", $"{image?.Status}");
                report.Deleted.Add(id);
            }

            var listed = await client.ListImages(new(), cancellationToken);
            Expect.Same("Earlier instances in the library's list", [], listed.Select(image => image.Id).Intersect(previous));
            var master = await Image(_master.Id, cancellationToken);
            Expect.Equal("The status of the master", ImageStatus.Ready, master.Status);
            Expect.True(listed.Any(image => image.Id == master.Id), "The library's list", "the master in it", "it is not there");
        });

    private async Task<OperationView> Succeed(OperationView operation, Action<string> show, CancellationToken cancellationToken)
    {
        var ended = await client.WaitFor(operation, version => show(Describe(version)), cancellationToken);
        Expect.True(
            ended.Status is OperationStatus.Succeeded, $"The operation {ended.Kind}", "Succeeded", $"{ended.Status}: {ended.Fault?.Message ?? "no fault"}");
        return ended;
    }

    private static string Describe(OperationView operation) => string.Join(
        " · ", operation.VirtualMachines.Select(machine => $"{machine.Name}: {machine.Activity}").Prepend(operation.Step ?? operation.Status.ToString()));

    private async Task Refresh(ApplianceStatus appliance, VirtualMachineStatus machines, CancellationToken cancellationToken)
    {
        _appliance = await client.GetAppliance(_appliance!.Id, cancellationToken);
        Expect.Equal($"The status of {_appliance.Name}", appliance, _appliance.Status);
        _machines = [.. await client.ListVirtualMachines(_appliance.Id, cancellationToken)];
        foreach (var machine in _machines) Expect.Equal($"The status of {machine.Name}", machines, machine.Status);
    }

    private async Task<ImageView> Image(ImageId id, CancellationToken cancellationToken) =>
        await client.FindImage(id, cancellationToken) ?? throw new ExpectationException($"The image {id}", "one in the library", "none");
}
