using System.Diagnostics;
using System.Globalization;
using System.Net.Sockets;
using System.Text;
using CliWrap;
using CliWrap.Buffered;
using Instances.Appliances;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.Testing;
using Instances.VirtualMachines;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Logging.Abstractions;
using Microsoft.Extensions.Options;
using Xunit;

namespace Instances.Qemu;

/// <summary>A host in a folder: layers, run folders, and a driver that can be disposed and created again over them.</summary>
internal sealed class QemuLab : IAsyncDisposable
{
    public static readonly TimeSpan Patience = Testing.Bounds.Wait;

    private QemuLab(string folder, Action<QemuOptions>? configure, ILogger<QemuHypervisor>? logger)
    {
        Folder = folder;
        Layers = Path.Combine(folder, "layers");
        Directory.CreateDirectory(Layers);
        Store = new(Layers);
        Options = new() { RunFolder = Path.Combine(folder, "run"), Accelerator = AcceleratorChoice.Tcg };
        configure?.Invoke(Options);
        Logger = logger ?? NullLogger<QemuHypervisor>.Instance;
        Driver = NewDriver();
    }

    public string Folder { get; }

    public string Layers { get; }

    public QemuImgStore Store { get; }

    public QemuOptions Options { get; }

    /// <summary>The group that reads sealed layers, for the drivers that are made from now on.</summary>
    public int Readers { get; set; } = new LayerStoreOptions().ReadersGroup;

    public QemuHypervisor Driver { get; private set; }

    private ILogger<QemuHypervisor> Logger { get; }

    private static QemuImg QemuImg { get; } = new(new(NullLogger<ProcessConfinement>.Instance));

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    public static async Task<QemuLab> Create(string? below = null, Action<QemuOptions>? configure = null, ILogger<QemuHypervisor>? logger = null)
    {
        var folder = Path.Combine(Path.GetTempPath(), $"qemu-lab-{Guid.NewGuid():N}");
        Directory.CreateDirectory(folder, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute | UnixFileMode.GroupExecute | UnixFileMode.OtherExecute);
        var lab = new QemuLab(below is null ? folder : Path.Combine(folder, below), configure, logger);
        await lab.Driver.Adopt(Stop);
        return lab;
    }

    /// <summary>The silo's process ends, and another one starts.</summary>
    public async Task<IReadOnlyList<MachineObservation>> RestartDriver()
    {
        await Driver.DisposeAsync();
        Driver = NewDriver();
        return await Driver.Adopt(Stop);
    }

    /// <summary>A machine on the test guest, with blank disks behind.</summary>
    public async Task<MachineSpec> Spec(string name, int dataDisks = 0, IReadOnlyList<PortForward>? ports = null, string? userData = null)
    {
        var (guest, size) = await Store.Import(await TestGuest.Path, Stop);
        var disks = new List<DiskChain> { await Chain(guest, size) };
        for (var i = 0; i < dataDisks; i++) disks.Add(await Chain(null, 64L << 20));
        return SpecOf(name, disks, ports, userData);
    }

    /// <summary>A machine without a boot disk: it starts quickly, with a normal QEMU.</summary>
    public async Task<MachineSpec> BlankSpec(string name, int disks = 1, IReadOnlyList<PortForward>? ports = null)
    {
        var chains = new List<DiskChain>();
        for (var i = 0; i < disks; i++) chains.Add(await Chain(null, 64L << 20));
        return SpecOf(name, chains, ports, null);
    }

    /// <summary>A blank machine on a long chain of empty layers.</summary>
    public async Task<MachineSpec> DeepSpec(string name, int layers)
    {
        const long Size = 1L << 20;
        List<LayerId> chain = [LayerId.New(), LayerId.New()];
        await Store.CreateLayer(chain[0], null, Size, Stop);
        await Store.CreateLayer(chain[1], chain[0], Size, Stop);

        // Each is a copy of the layer above the base, with the name of another parent.
        var header = await File.ReadAllBytesAsync(Store.PathOf(chain[1]), Stop);
        var place = header.AsSpan().IndexOf(Encoding.ASCII.GetBytes($"{chain[0]}"));
        while (chain.Count < layers)
        {
            Encoding.ASCII.GetBytes($"{chain[^1]}").CopyTo(header, place);
            chain.Add(LayerId.New());
            await File.WriteAllBytesAsync(Store.PathOf(chain[^1]), header, Stop);
        }

        foreach (var layer in chain.SkipLast(1)) await Store.Seal(layer);
        return SpecOf(name, [new(chain, Size)], null, null);
    }

    public async Task<IReadOnlyList<LayerId>> NextLayers(VirtualMachineId machine)
    {
        var next = new List<LayerId>();
        foreach (var chain in (await Observe(machine)).Disks)
        {
            var layer = LayerId.New();
            await Store.CreateLayer(layer, chain.Layers[^1], chain.VirtualSizeBytes, Stop);
            next.Add(layer);
        }

        return next;
    }

    /// <summary>All of a capture, as a host does it.</summary>
    public async Task<IReadOnlyList<LayerId>> Capture(VirtualMachineId machine, Quiesce mode = Quiesce.None)
    {
        var operation = OperationId.New();
        var tops = (await Observe(machine)).Disks.Select(chain => chain.Layers[^1]).ToList();
        await Driver.AddNextLayers(machine, operation, await NextLayers(machine));
        await Driver.SyncTops([machine], Patience, Stop);
        await Driver.Quiesce(machine, operation, mode, TimeSpan.FromSeconds(20), Stop);
        var clock = Stopwatch.StartNew();
        await Driver.Pause(machine, operation);
        var paused = clock.Elapsed.TotalMilliseconds;
        await Driver.Seal(machine, operation);
        TestContext.Current.SendDiagnosticMessage(string.Create(CultureInfo.InvariantCulture, $"pause {paused:0.0} ms, pause and seal {clock.Elapsed.TotalMilliseconds:0.0} ms"));
        foreach (var top in tops) await Store.Seal(top);
        await Driver.Resume(machine, operation);
        await Driver.Unquiesce(machine, operation);
        await Driver.EndHold(machine, operation);
        return tops;
    }

    public async Task<MachineObservation> Observe(VirtualMachineId machine) =>
        await Driver.Find(machine) ?? throw new InvalidOperationException($"{machine} is not there.");

    public static IEnumerable<LayerId> TopsOf(IReadOnlyList<DiskChain> disks) => disks.Select(chain => chain.Layers[^1]);

    public RunFolder RunFolderOf(VirtualMachineId machine) => RunFolder.For(Options.RunFolder, machine);

    public int PidOf(VirtualMachineId machine) => RunFolderOf(machine).ReadProcess()!.Pid;

    /// <summary>Waits until the guest has printed a text, and gives all that it has printed.</summary>
    public async Task<string> Printed(VirtualMachineId machine, string text, int times = 1)
    {
        var console = "";
        await Until(
            async () =>
            {
                console = await Driver.ReadConsole(machine, 1 << 20);
                return console.Split(text).Length > times;
            },
            () => $"'{text}' is not in: {console}");
        return console;
    }

    /// <summary>Waits until the guest's agent answers, which may be after its shell does.</summary>
    public Task AgentAnswers(VirtualMachineId machine) => Until(
        async () =>
        {
            using var bound = CancellationTokenSource.CreateLinkedTokenSource(Stop);
            bound.CancelAfter(TimeSpan.FromSeconds(2));
            try
            {
                await using var agent = await GuestAgent.Connect(RunFolderOf(machine).QemuPath, RunFolder.AgentSocket, bound.Token);
                return true;
            }
            catch (Exception e) when (e is QmpException or OperationCanceledException)
            {
                return false;
            }
        },
        () => "The guest's agent does not answer.");

    /// <summary>Runs a command in the guest's shell. Its echo must not look like what it prints.</summary>
    public async Task Shell(VirtualMachineId machine, string command, string prints)
    {
        using var socket = await UnixSocket.Connect(RunFolderOf(machine).QemuPath, RunFolder.SerialSocket, Stop);
        await socket.SendAsync(Encoding.UTF8.GetBytes($"{command}\n"), SocketFlags.None, Stop);
        // Keep the connection open until the guest has printed: QEMU drops unread input when the client disconnects.
        await Printed(machine, prints);
    }

    public async Task<MachineObservation> NextChange(VirtualMachineId machine, VirtualMachineStatus status)
    {
        using var bound = CancellationTokenSource.CreateLinkedTokenSource(Stop);
        bound.CancelAfter(Patience);
        await foreach (var change in Driver.Changes.ReadAllAsync(bound.Token))
        {
            if (change.Id == machine && change.Status == status) return change;
        }

        throw new InvalidOperationException("The driver has ended.");
    }

    public static async Task Until(Func<Task<bool>> holds, Func<string> otherwise)
    {
        using var bound = CancellationTokenSource.CreateLinkedTokenSource(Stop);
        bound.CancelAfter(Patience);
        try
        {
            while (!await holds()) await Task.Delay(20, bound.Token);
        }
        catch (OperationCanceledException) when (!Stop.IsCancellationRequested)
        {
            throw new TimeoutException(otherwise());
        }
    }

    /// <summary>Checks with qemu-img that a sealed layer has no errors and no leaks.</summary>
    public async Task<string> Check(LayerId layer)
    {
        var result = await Cli.Wrap("qemu-img").WithArguments(["check", "-U", "-f", "qcow2", Store.PathOf(layer)]).WithValidation(CommandResultValidation.None)
            .ExecuteBufferedAsync(Stop);
        return result.StandardOutput + result.StandardError;
    }

    /// <summary>Bytes of a disk as its chain up to a layer holds them.</summary>
    public async Task<string> Content(LayerId layer)
    {
        var raw = Path.Combine(Folder, $"{layer}.raw");
        await Cli.Wrap("qemu-img").WithArguments(["convert", "-U", "-f", "qcow2", "-O", "raw", Store.PathOf(layer), raw]).ExecuteAsync(Stop);
        var text = Encoding.Latin1.GetString(await File.ReadAllBytesAsync(raw, Stop));
        File.Delete(raw);
        return text;
    }

    public async ValueTask DisposeAsync()
    {
        foreach (var machine in await Driver.List()) await Driver.Remove(machine.Id, machine.Deployment);
        await Driver.DisposeAsync();
        Directory.Delete(Path.GetFullPath(Folder).Split("/deep/")[0], recursive: true);
    }

    private async Task<DiskChain> Chain(LayerId? parent, long size)
    {
        var top = LayerId.New();
        await Store.CreateLayer(top, parent, size, Stop);
        return new(parent is { } id ? [id, top] : [top], size);
    }

    private static MachineSpec SpecOf(string name, IReadOnlyList<DiskChain> disks, IReadOnlyList<PortForward>? ports, string? userData) =>
        new(VirtualMachineId.New(), ApplianceId.New(), OperationId.New(), name, 1, 128L << 20, disks, ports ?? [], [], userData);

    private QemuHypervisor NewDriver() => new(
        Microsoft.Extensions.Options.Options.Create(Options), Microsoft.Extensions.Options.Options.Create(new LayerStoreOptions { ReadersGroup = Readers }), Store, QemuImg, TimeProvider.System, Logger);
}
