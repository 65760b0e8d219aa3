using System.Diagnostics;
using System.Globalization;
using System.Net.Http;
using System.Security.Cryptography;
using System.Text.Json;
using Instances.Appliances;
using Instances.Client;
using Instances.Doctor;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;

namespace Instances.Testing.Kills;

/// <summary>A server on real files and SQLite that is killed at named places, the expected content of its library, and the check of it.</summary>
internal sealed class KillScene : IAsyncDisposable
{
    public const string Root = "api/v1/datacenters/local";

    public const int MaxChainDepth = 3;

    private const int DiskBytes = 1 << 20;

    /// <summary>How long a server may take until the kill, and after it until everything is idle. The server ends an abandoned import in its second minute.</summary>
    private static readonly TimeSpan Bound = TimeSpan.FromMinutes(1) + Bounds.Wait;

    private readonly Random _random;
    private readonly Dictionary<ImageId, Expected> _images = [];
    private readonly Dictionary<VirtualMachineId, byte[]> _disks = [];
    private TimeSpan _grace = TimeSpan.FromDays(1);
    private ServerProcess? _server;
    private int _names;

    private KillScene(Random random, KillReport report) => (_random, Report) = (random, report);

    public KillReport Report { get; }

    private readonly DataFolder _folder = new();

    public string Data => _folder.Path;

    /// <summary>The library has its own folder, so that the host's copies can repair it.</summary>
    public string Library => Path.Combine(Data, "library");

    public string Inbox => Path.Combine(Data, "inbox");

    public InstancesClient Client => _server!.Client;

    public HttpClient Http => _server!.Http;

    public int ServerId => _server!.Id;

    private string KillFile => Path.Combine(Data, "kill");

    public static async Task<KillScene> Start(Random random, KillReport report)
    {
        var scene = new KillScene(random, report);
        Directory.CreateDirectory(scene.Inbox);
        await scene.StartServer();
        return scene;
    }

    public async ValueTask DisposeAsync()
    {
        await EndServer();
        await _folder.DisposeAsync();
    }

    public string NewName(string what) => $"{what}-{++_names}";

    /// <summary>A raw disk: pieces of random bytes with holes between them.</summary>
    public byte[] NewDisk()
    {
        var disk = new byte[DiskBytes];
        for (var piece = 0; piece < 4; piece++) _random.NextBytes(disk.AsSpan(_random.Next(DiskBytes - 65_536), 65_536));
        return disk;
    }

    /// <summary>A new Ready master.</summary>
    public async Task<ImageView> NewMaster()
    {
        var (name, disk) = (NewName("master"), NewDisk());
        var operation = await Client.Succeeds(await Client.ImportImage(name, ImageFormat.Raw, new MemoryStream(disk), sha256: null, default));
        var image = (await Client.FindImage(operation.Image!.Value, default))!;
        Expect(image.Id, disk, ImageStatus.Ready);
        return image;
    }

    /// <summary>A master that its host has a copy of, and a slave of it.</summary>
    public async Task<(ImageView Master, ImageView Slave)> NewSlave()
    {
        var master = await NewMaster();
        var appliance = await Client.CreateAppliance(new(NewName("appliance")), default);
        await Client.AddVirtualMachine(appliance.Id, Guest.Spec("web", master.Id), default);
        await Client.Succeeds(await Client.Deploy(appliance.Id, default));
        var captured = await Client.Succeeds(await Client.CreateInstance(appliance.Id, new(), default));
        await Client.DeleteAppliance(appliance.Id, default);
        var slave = (await Client.FindImage(captured.Result!.Instances![0].Image, default))!;
        Expect(slave.Id, _images[master.Id].Disk, ImageStatus.Ready);
        return (master, slave);
    }

    /// <summary>A machine that is deployed from a master.</summary>
    public async Task<(ApplianceId Appliance, VirtualMachineId Machine, ImageId Master)> NewMachine()
    {
        var master = await NewMaster();
        var appliance = await Client.CreateAppliance(new(NewName("appliance")), default);
        var machine = await Client.AddVirtualMachine(appliance.Id, Guest.Spec("web", master.Id), default);
        await Client.Succeeds(await Client.Deploy(appliance.Id, default));
        _disks[machine.Id] = [.. _images[master.Id].Disk];
        return (appliance.Id, machine.Id, master.Id);
    }

    /// <summary>Changes a machine's disk, which no process has open: its host is simulated.</summary>
    /// <returns>The new content of the disk.</returns>
    public async Task<byte[]> Write(VirtualMachineId machine)
    {
        var (value, offset) = (_random.Next(1, 256), _random.Next(DiskBytes / 4096) * 4096);
        var top = (await Client.GetVirtualMachine(machine, default)).Disks[0].Layers[^1];
        var file = Directory.EnumerateFiles(Data, $"{top}.qcow2", SearchOption.AllDirectories).First();
        await Run("qemu-io", "-f", "qcow2", "-c", string.Create(CultureInfo.InvariantCulture, $"write -P {value} {offset} 4096"), file);
        _disks[machine].AsSpan(offset, 4096).Fill((byte)value);
        return [.. _disks[machine]];
    }

    public async Task<ImageId> Capture(ApplianceId appliance, VirtualMachineId machine)
    {
        var disk = await Write(machine);
        var captured = await Client.Succeeds(await Client.CreateInstance(appliance, new(Undeploy: false), default));
        var image = captured.Result!.Instances![0].Image;
        Expect(image, disk, ImageStatus.Ready);
        return image;
    }

    public bool Toss() => _random.Next(2) == 0;

    public byte[] DiskOf(ImageId image) => _images[image].Disk;

    /// <param name="disk">The content of its disk.</param>
    /// <param name="status">Null for a deleted image.</param>
    public void Expect(ImageId image, byte[] disk, ImageStatus? status) => _images[image] = new(disk, status);

    public void Expect(ImageId image, ImageStatus? status) => _images[image] = _images[image] with { Status = status };

    /// <summary>From now on retired images are deleted at once, or after a day. Restarts the server if needed.</summary>
    public async Task SetGrace(TimeSpan grace)
    {
        if (_grace == grace) return;
        _grace = grace;
        await _server!.Stop();
        await StartServer();
        if (grace > TimeSpan.Zero) return;
        foreach (var (image, expected) in _images.Where(image => image.Value.Status is ImageStatus.Retired or ImageStatus.Failed).ToList())
        {
            if (expected.Status is ImageStatus.Retired) Expect(image, status: null);
        }
    }

    /// <summary>Runs an action during which the server is killed at a place, and restarts the server.</summary>
    /// <param name="point">As <c>point</c> or <c>point:nth</c>.</param>
    public async Task Kill(string point, Func<Task> action)
    {
        await File.WriteAllTextAsync($"{KillFile}.new", point);
        File.Move($"{KillFile}.new", KillFile);
        using var bound = new CancellationTokenSource(Bound);
        var acting = Ignore(action);
        try
        {
            await _server!.Ended(bound.Token);
        }
        catch (OperationCanceledException)
        {
            File.Delete(KillFile);
            throw new KillException($"the place {point} was not reached; its log:\n{_server!.Log}");
        }

        await acting;
        if (File.Exists(KillFile))
        {
            File.Delete(KillFile);
            throw new KillException($"the server ended before the place {point}; its log:\n{_server.Log}");
        }

        Report.Kills[point] = Report.Kills.GetValueOrDefault(point) + 1;
        await StartServer();
    }

    /// <summary>Deletes the database in an orderly way: no machine is running.</summary>
    public async Task LoseDatabase()
    {
        await _server!.Stop();
        foreach (var file in Directory.EnumerateFiles(Data, "instances.db*")) File.Delete(file);
        await StartServer();
        foreach (var (image, expected) in _images.ToList())
        {
            if (expected.Status is ImageStatus.Retired) Expect(image, ImageStatus.Ready);
            if (expected.Status is ImageStatus.Failed) Expect(image, status: null);
        }
    }

    public async Task<OperationView> End(OperationId operation)
    {
        OperationView? view = null;
        await Holds(async () => (view = await Client.GetOperation(operation, default)).IsFinished, () => $"the operation {operation} ends: it is {view?.Status} in {view?.Step}");
        return view!;
    }

    public async Task Holds(Func<Task<bool>> condition, Func<string> what)
    {
        var clock = Stopwatch.StartNew();
        while (!await condition())
        {
            if (clock.Elapsed > Bound) throw new KillException($"not within {Bound.TotalSeconds} s: {what()}");
            await Task.Delay(TimeSpan.FromMilliseconds(100));
        }
    }

    /// <summary>Checks that every image is as expected, that records, manifests, catalogue and files agree, and that nothing is left over.</summary>
    /// <param name="changed">Images whose contents are compared, besides a few others.</param>
    public async Task Look(IReadOnlyCollection<ImageId>? changed = null)
    {
        var listed = await List();
        foreach (var (id, expected) in _images)
        {
            var found = listed.GetValueOrDefault(id)?.Status;
            if (found != expected.Status) throw new KillException($"the image {id} has to be {expected.Status?.ToString() ?? "gone"} and is {found?.ToString() ?? "gone"}");
        }

        if (listed.Keys.FirstOrDefault(id => !_images.ContainsKey(id)) is { } stray && stray != default) throw new KillException($"there is an unexpected image {stray}");
        await DoctorFindsNothing();
        await FilesAreTheImages([.. listed.Values]);
        var held = listed.Values.Where(image => image.Status is ImageStatus.Ready or ImageStatus.Retired).ToList();
        var others = held.Where(image => changed?.Contains(image.Id) is false).OrderBy(_ => _random.Next()).Take(changed is null ? int.MaxValue : 4);
        foreach (var image in held.Where(image => changed?.Contains(image.Id) is not false).Concat(others)) await HoldsItsDisk(image);
    }

    private async Task<Dictionary<ImageId, ImageView>> List()
    {
        IReadOnlyList<ImageView> images = [.. await Client.ListImages(new(IncludeRetired: true), default), .. await Client.ListImages(new(Status: ImageStatus.Failed), default)];
        return images.ToDictionary(image => image.Id);
    }

    private async Task DoctorFindsNothing()
    {
        IReadOnlyList<Finding> findings = [];
        await Holds(
            async () => (findings = (await Client.Examine(fix: false, default)).Findings).Count == 0,
            () => $"the doctor finds nothing: {string.Join("; ", findings.Select(finding => $"{finding.Code} {finding.Subject}: {finding.Message}"))}");
    }

    private async Task FilesAreTheImages(IReadOnlyList<ImageView> images)
    {
        var held = images.Where(image => image.Status is not ImageStatus.Failed).ToList();
        var layers = held.SelectMany(image => image.Disks).SelectMany(disk => disk.Layers).Select(layer => $"{layer.Id}.qcow2").ToHashSet();
        var wanted = held.Select(image => $"{image.Id}.json").Concat(layers).Append("store.id").Append("library.binding").ToHashSet();
        IReadOnlyList<string> wrong = [];
        await Holds(
            () =>
            {
                var found = Directory.EnumerateFiles(Library, "*", SearchOption.AllDirectories).Select(file => Path.GetRelativePath(Library, file))
                    .Where(file => Path.GetExtension(file) != ".check" || !layers.Contains(Path.ChangeExtension(file, "qcow2"))).ToHashSet();
                wrong = [.. found.Except(wanted).Select(file => $"{file} is left over"), .. wanted.Except(found).Select(file => $"{file} is missing")];
                return Task.FromResult(wrong.Count == 0);
            },
            () => string.Join(", ", wrong));
        foreach (var image in held)
        {
            var manifest = JsonSerializer.Deserialize<ImageManifest>(await File.ReadAllBytesAsync(Path.Combine(Library, $"{image.Id}.json")), InstancesJson.Options)!;
            var (file, record) = (Text(manifest.Name, manifest.Disks), Text(image.Name, image.Disks));
            if (file != record) throw new KillException($"the manifest of the image {image.Id} says {file} and its record {record}");
        }

        static string Text(string name, IReadOnlyList<DiskManifest> disks) => JsonSerializer.Serialize(new { name, disks }, InstancesJson.Options);
    }

    /// <summary>Checks that its chain opens without an error and has the expected content.</summary>
    private async Task HoldsItsDisk(ImageView image)
    {
        var top = Path.Combine(Library, $"{image.Disks[0].Layers[^1].Id}.qcow2");
        var (expected, read) = (_images[image.Id].Disk, Path.Combine(Data, "read.raw"));
        await Run("qemu-img", "check", "-q", "-f", "qcow2", top);
        await Run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", top, read);
        if (!SHA256.HashData(await File.ReadAllBytesAsync(read)).SequenceEqual(SHA256.HashData(expected))) throw new KillException($"the image {image.Id} does not hold what was put in");
    }

    private static async Task Run(string program, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardOutput = true, RedirectStandardError = true })!;
        var said = await process.StandardError.ReadToEndAsync() + await process.StandardOutput.ReadToEndAsync();
        await process.WaitForExitAsync();
        if (process.ExitCode != 0) throw new KillException($"{program} {string.Join(' ', arguments)}: {said}");
    }

    /// <summary>Ignores an answer that is lost with the server.</summary>
    private static async Task Ignore(Func<Task> action)
    {
        try
        {
            await action();
        }
        catch (Exception exception) when (exception is HttpRequestException or IOException or OperationCanceledException or ProblemException or JsonException)
        {
            // The later check shows whether it was carried out.
        }
    }

    private async Task EndServer()
    {
        var server = _server;
        _server = null;
        if (server is not null) await server.DisposeAsync();
    }

    private async Task StartServer()
    {
        await EndServer();
        _server = await ServerProcess.Start(
            Data, "--environment=Testing", $"--Testing:KillFile={KillFile}", "--Host:Hypervisor=simulated", $"--Library:Folder={Library}", $"--Library:GracePeriod={_grace:c}",
            "--Library:SweepPeriod=00:00:01", "--Library:CompactionPeriod=00:00:01", $"--Library:MaxChainDepth={MaxChainDepth}", "--Library:UploadIdleBound=00:00:05", "--Doctor:Grace=00:00:00.500", "--Import:ReportPeriod=00:00:00.100",
            "--LayerStore:MinimumFreeBytes=1048576", $"--Import:AllowedFolders:0={Inbox}");
    }

    private sealed record Expected(byte[] Disk, ImageStatus? Status);
}

/// <summary>A promise was not kept.</summary>
internal sealed class KillException(string message) : Exception(message);
