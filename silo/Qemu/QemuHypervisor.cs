using System.Collections.Concurrent;
using System.Text.Json;
using System.Text.RegularExpressions;
using System.Threading.Channels;
using CliWrap;
using CliWrap.Buffered;
using Instances.Appliances;
using Instances.Faults;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;
using Microsoft.Extensions.Options;

namespace Instances.Qemu;

/// <summary>Runs machines as QEMU processes, which outlive the silo.</summary>
internal sealed partial class QemuHypervisor : IHypervisor, IHostedService, IAsyncDisposable
{
    private const int MaxChanges = 4096;
    private const int AdoptAtOnce = 8;
    private static readonly TimeSpan LookEvery = TimeSpan.FromSeconds(10);

    private readonly QemuOptions _options;
    private readonly uint _readers;
    private readonly ILayerStore _store;
    private readonly QemuImg _qemuImg;
    private readonly TimeProvider _time;
    private readonly ILogger<QemuHypervisor> _logger;
    private readonly ConcurrentDictionary<VirtualMachineId, QemuMachine> _machines = new();
    /// <summary>Prevents the start of a machine while <see cref="RemoveLeftover"/> deletes its folder.</summary>
    private readonly SemaphoreSlim _table = new(1);
    private readonly Channel<MachineObservation> _changes;
    private readonly CancellationTokenSource _disposing = new();
    private Task<QemuUsers>? _users;
    private QemuHost? _host;
    private Task _looking = Task.CompletedTask;

    public QemuHypervisor(IOptions<QemuOptions> options, IOptions<LayerStoreOptions> layers, ILayerStore store, QemuImg qemuImg, TimeProvider time, ILogger<QemuHypervisor> logger)
    {
        _options = options.Value;
        _options.RunFolder = Path.GetFullPath(_options.RunFolder);
        _readers = (uint)layers.Value.ReadersGroup;
        _store = store;
        _qemuImg = qemuImg;
        _time = time;
        _logger = logger;
        Accelerator = Qemu.Accelerator.Detect(_options.Accelerator);
        // If the reader is unreachable for that long, it asks every machine when it is back.
        _changes = Channel.CreateBounded<MachineObservation>(
            new BoundedChannelOptions(MaxChanges) { FullMode = BoundedChannelFullMode.DropOldest }, dropped => LogChangeDropped(dropped.Id));
    }

    public string Name { get; private set; } = "QEMU";

    public string Accelerator { get; }

    public long MachineOverheadBytes => Qemu.Accelerator.OverheadBytes(Accelerator);

    public ChannelReader<MachineObservation> Changes => _changes.Reader;

    /// <summary>Called before the silo joins its cluster: the silo does not start if its machines would have to run as root.</summary>
    public Task StartAsync(CancellationToken cancellationToken) => Users(cancellationToken);

    public Task StopAsync(CancellationToken cancellationToken) => Task.CompletedTask;

    /// <summary>Done once: machines in the table are not searched for again.</summary>
    public async Task<IReadOnlyList<MachineObservation>> Adopt(CancellationToken cancellationToken)
    {
        if (_host is not null) return await List();
        var users = await Users(cancellationToken);
        Name = await FindVersion(cancellationToken);
        var machineType = await FindMachineType(cancellationToken);
        users.Note(Directory.EnumerateDirectories(_options.RunFolder).Select(path => new RunFolder(path).QemuPath));
        users.Note(Directory.EnumerateFiles(LayersFolder));
        var groups = MachineCgroups.Find(MachineCgroups.Mount, File.ReadLines("/proc/self/cgroup"));
        if (groups.Obstacle is { } obstacle) LogNoGroups(obstacle);
        var host = new QemuHost(_options, users, groups, Accelerator, machineType, layer => Path.GetFullPath(_store.PathOf(layer)), _time, _logger, _changes.Writer);
        groups.Sweep(Directory.EnumerateDirectories(_options.RunFolder)
            .Select(path => VirtualMachineId.TryParse(Path.GetFileName(path), null, out var id) ? id : default).ToHashSet());
        var processes = QemuProcess.FindAll(_options.RunFolder);
        await Parallel.ForEachAsync(
            Directory.EnumerateDirectories(_options.RunFolder),
            new ParallelOptions { MaxDegreeOfParallelism = AdoptAtOnce, CancellationToken = cancellationToken },
            async (path, token) =>
            {
                if (VirtualMachineId.TryParse(Path.GetFileName(path), null, out var id)) await Adopt(host, new(path), id, processes, token);
            });
        _host = host;
        _looking = LookAfterMachines();
        return await List();
    }

    public async Task Rehearse(Func<VirtualMachineId, OperationId, Task> capture, CancellationToken cancellationToken)
    {
        var host = _host ?? throw new InvalidOperationException("Machines are adopted before a capture is rehearsed.");
        try
        {
            await using var stage = await QemuRehearsal.Prepare(host, _qemuImg, cancellationToken);
            var id = stage.Machine.Observation.Id;
            _machines[id] = stage.Machine;
            try
            {
                await capture(id, stage.Operation);
            }
            finally
            {
                _machines.TryRemove(id, out _);
            }
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw QemuFaults.Failed($"A capture could not be rehearsed in {host.Options.RunFolder}: {e.Message}", e);
        }
    }

    public Task<IReadOnlyList<MachineObservation>> List() =>
        Task.FromResult<IReadOnlyList<MachineObservation>>([.. _machines.Values.Select(machine => machine.Observation)]);

    public Task<IReadOnlyList<MachineLeftover>> ListLeftovers()
    {
        // List the folders first, then the known machines: a machine is known before it has a folder.
        var folders = Directory.EnumerateDirectories(_options.RunFolder)
            .Select(path => VirtualMachineId.TryParse(Path.GetFileName(path), null, out var id) ? id : (VirtualMachineId?)null).OfType<VirtualMachineId>().ToHashSet();
        var processes = QemuProcess.FindAll(_options.RunFolder);
        return Task.FromResult<IReadOnlyList<MachineLeftover>>(
            [.. folders.Union(processes.Keys).Where(id => !_machines.ContainsKey(id))
                .Select(id => new MachineLeftover(id, folders.Contains(id), processes.TryGetValue(id, out var process) ? process.Pid : null))]);
    }

    public Task<IReadOnlySet<LayerId>> UsedLayers()
    {
        // Read the running chains first, then the files: a capture writes its next layers to the file before it uses them.
        var used = _machines.Values.SelectMany(machine => machine.Observation.Disks).SelectMany(disk => disk.Layers).ToHashSet();
        foreach (var path in Directory.EnumerateDirectories(_options.RunFolder).Where(path => VirtualMachineId.TryParse(Path.GetFileName(path), null, out _)))
        {
            try
            {
                var folder = new RunFolder(path);
                if (folder.ReadMachine() is not { } spec) continue;
                used.UnionWith(spec.Disks.SelectMany(disk => disk.Layers));
                if (folder.ReadHold() is { } hold) used.UnionWith(hold.Following().SelectMany(disk => disk.Layers));
            }
            catch (Exception e) when (e is JsonException or IOException or UnauthorizedAccessException)
            {
                throw FaultException.Unavailable("run-folder-damaged", $"The run folder {path} cannot be read, so that any layer may be in use: {e.Message} Repair its files, or delete the folder.", e);
            }
        }

        return Task.FromResult<IReadOnlySet<LayerId>>(used);
    }

    public Task<MachineSpec?> FindSpec(VirtualMachineId machine) => Task.FromResult(_machines.GetValueOrDefault(machine)?.Spec);

    public async Task Describe(VirtualMachineId machine, OperationId deployment, MachineOrigin origin)
    {
        if (_machines.TryGetValue(machine, out var found)) await found.Describe(deployment, origin);
    }

    public HostBinding? ReadBinding() => Qemu.RunFolder.ReadBinding(_options.RunFolder);

    public Task WriteBinding(HostBinding binding)
    {
        try
        {
            Qemu.RunFolder.WriteBinding(_options.RunFolder, binding);
            return Task.CompletedTask;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            throw QemuFaults.NotWritten(_options.RunFolder, e);
        }
    }

    public async Task RemoveLeftover(VirtualMachineId machine)
    {
        await _table.WaitAsync(_disposing.Token);
        try
        {
            if (!_machines.ContainsKey(machine)) await RemoveUnknown(machine);
        }
        finally
        {
            _table.Release();
        }
    }

    private async Task RemoveUnknown(VirtualMachineId machine)
    {
        if (QemuProcess.FindAll(_options.RunFolder).TryGetValue(machine, out var process))
        {
            process.Kill();
            if (!await process.WaitForEnd(_options.StopBound, _time, _disposing.Token))
                throw QemuFaults.Failed($"The process {process.Pid} of the machine {machine}, which has no record, does not end: check what holds it.");
        }

        _host!.Users.Delete(Qemu.RunFolder.For(_options.RunFolder, machine), _host.PathOf);
        _host.Groups.Remove(machine);
    }

    public Task<MachineObservation?> Find(VirtualMachineId machine) => Task.FromResult(_machines.GetValueOrDefault(machine)?.Observation);

    public async Task<MachineObservation> Start(MachineSpec spec, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        var host = _host ?? throw new InvalidOperationException("Machines are adopted before any is started.");
        var machine = await GetOrAdd(host, spec, cancellationToken);
        try
        {
            return await machine.Start(spec, cancellationToken);
        }
        catch (Exception e) when (e is FaultException or OperationCanceledException)
        {
            if (await machine.EndIfNothingIsKept())
            {
                _machines.TryRemove(KeyValuePair.Create(spec.Id, machine));
                await machine.DisposeAsync();
            }

            throw;
        }
    }

    private async Task<QemuMachine> GetOrAdd(QemuHost host, MachineSpec spec, CancellationToken cancellationToken)
    {
        await _table.WaitAsync(cancellationToken);
        try
        {
            return _machines.GetOrAdd(spec.Id, _ => new(host, spec));
        }
        finally
        {
            _table.Release();
        }
    }

    public async Task Remove(VirtualMachineId machine, OperationId deployment)
    {
        if (!_machines.TryGetValue(machine, out var found) || !await found.Remove(deployment)) return;
        _machines.TryRemove(machine, out _);
        await found.DisposeAsync();
    }

    public Task<MachineObservation> Power(VirtualMachineId machine, PowerAction action) => Get(machine).Power(action);

    public Task<string> ReadConsole(VirtualMachineId machine, int maxBytes) => Get(machine).ReadConsole(maxBytes);

    public Task AddNextLayers(VirtualMachineId machine, OperationId operation, IReadOnlyList<LayerId> next) => Get(machine).AddNextLayers(operation, next);

    public Task<IReadOnlyList<LayerId>> RemoveNextLayers(VirtualMachineId machine, OperationId operation) => Get(machine).RemoveNextLayers(operation);

    public Task SyncTops(IReadOnlyList<VirtualMachineId> machines, TimeSpan bound, CancellationToken cancellationToken) =>
        QemuMachine.SyncTops([.. machines.Select(Get)], bound, _time, cancellationToken);

    public Task<QuiesceOutcome> Quiesce(VirtualMachineId machine, OperationId operation, Quiesce mode, TimeSpan bound, CancellationToken cancellationToken) =>
        Get(machine).Quiesce(operation, mode, bound, cancellationToken);

    public Task Unquiesce(VirtualMachineId machine, OperationId operation) => Get(machine).Unquiesce(operation);

    public Task<CaptureMoment> Pause(VirtualMachineId machine, OperationId operation) => Get(machine).Pause(operation);

    public Task Resume(VirtualMachineId machine, OperationId operation) => Get(machine).Resume(operation);

    public Task<CaptureMoment> Seal(VirtualMachineId machine, OperationId operation) => Get(machine).Seal(operation);

    public Task<long> CaptureBytes(VirtualMachineId machine, OperationId operation) => Get(machine).CaptureBytes(operation);

    /// <remarks>Without root, the silo and its machines run as one user, who can read all layers.</remarks>
    public Task<bool> CanReplaceLayers(VirtualMachineId machine) => Task.FromResult(!Environment.IsPrivilegedProcess || Get(machine).CanReplaceLayers(_readers));

    public Task<bool> ReplaceLayers(VirtualMachineId machine, LayerMerge merge) => Get(machine).ReplaceLayers(merge);

    public Task EndHold(VirtualMachineId machine, OperationId operation) => Get(machine).EndHold(operation);

    /// <summary>Leaves the machines running.</summary>
    public async ValueTask DisposeAsync()
    {
        await _disposing.CancelAsync();
        await _looking;
        foreach (var machine in _machines.Values) await machine.DisposeAsync();
        _changes.Writer.TryComplete();
    }

    /// <summary>Keeps the logs of all machines within their bounds, and detects guests that do not boot.</summary>
    internal async Task LookAtMachines()
    {
        foreach (var machine in _machines.Values)
        {
            try
            {
                machine.TrimLogs();
                await machine.LookAtBoot();
                await machine.WriteEndLate();
            }
            catch (Exception e) when (e is IOException or NotSupportedException or UnauthorizedAccessException or FaultException)
            {
                LogNotLookedAfter(machine.Observation.Id, e.Message);
            }
        }
    }

    private async Task LookAfterMachines()
    {
        using var timer = new PeriodicTimer(LookEvery, _time);
        try
        {
            do await LookAtMachines();
            while (await timer.WaitForNextTickAsync(_disposing.Token));
        }
        catch (OperationCanceledException)
        {
            // The silo ends.
        }
    }

    private QemuMachine Get(VirtualMachineId machine) => _machines.GetValueOrDefault(machine) ?? throw QemuFaults.NotOnHost(machine);

    private async Task Adopt(
        QemuHost host, RunFolder folder, VirtualMachineId id, IReadOnlyDictionary<VirtualMachineId, QemuProcess> processes, CancellationToken cancellationToken)
    {
        try
        {
            if (_machines.ContainsKey(id)) return;
            if (folder.ReadMachine() is not { } spec)
            {
                // The silo died before it wrote the machine's specification, so nothing was started; or during the removal.
                folder.Delete();
                return;
            }

            var machine = new QemuMachine(host, spec);
            await machine.Adopt(processes.TryGetValue(id, out var process) ? process : null, cancellationToken);
            _machines[id] = machine;
        }
        catch (Exception e) when (e is FaultException or JsonException or IOException or UnauthorizedAccessException)
        {
            // Continue with the other machines.
            LogNotAdopted(folder.Path, e);
        }
    }

    private async Task<string> FindVersion(CancellationToken cancellationToken)
    {
        try
        {
            var result = await Ask(Cli.Wrap(_options.Binary).WithArguments("--version"), cancellationToken);
            return VersionPattern().Match(result.StandardOutput) is { Success: true } match ? $"QEMU {match.Groups[1].Value}" : "QEMU";
        }
        catch (Exception e) when (e is not (OperationCanceledException or FaultException))
        {
            throw QemuFaults.Failed($"'{_options.Binary}' cannot be run: install QEMU on this host, or set {QemuOptions.Section}:{nameof(QemuOptions.Binary)}.", e);
        }
    }

    /// <summary>Of the line <c>q35 Standard PC (Q35 + ICH9, 2009) (alias of pc-q35-7.2)</c>: <c>pc-q35-7.2</c>.</summary>
    /// <returns>Null if QEMU reports none: its machines then have the unversioned type.</returns>
    private async Task<string?> FindMachineType(CancellationToken cancellationToken)
    {
        var result = await Ask(Cli.Wrap(_options.Binary).WithArguments(["-machine", "help"]).WithValidation(CommandResultValidation.None), cancellationToken);
        return MachineTypePattern().Match(result.StandardOutput) is { Success: true } match ? match.Groups[1].Value : null;
    }

    /// <summary>Runs QEMU with a bound: if its disk hangs, the program never ends.</summary>
    private async Task<BufferedCommandResult> Ask(Command command, CancellationToken cancellationToken)
    {
        using var timer = new CancellationTokenSource(_options.StartBound, _time);
        using var bound = CancellationTokenSource.CreateLinkedTokenSource(timer.Token, cancellationToken);
        try
        {
            return await command.ExecuteBufferedAsync(bound.Token);
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            throw QemuFaults.TimedOut($"'{command.TargetFilePath} {command.Arguments}' did not end within {_options.StartBound.TotalSeconds:0} s: check the host's disks.");
        }
    }

    private Task<QemuUsers> Users(CancellationToken cancellationToken) =>
        _users is { IsFaulted: false, IsCanceled: false } users ? users : _users = FindUsers(cancellationToken);

    private async Task<QemuUsers> FindUsers(CancellationToken cancellationToken)
    {
        Qemu.RunFolder.CreateRoot(_options.RunFolder);
        _options.RunFolder = ResolveLinks(_options.RunFolder);
        if (!Environment.IsPrivilegedProcess)
        {
            LogRunsAsSilo();
            return QemuUsers.SiloUser;
        }

        if (_options.RunAs == UnixUser.RootName)
        {
            LogRunsAsRoot();
            return QemuUsers.SiloUser;
        }

        var users = await QemuUsers.Find(_options, _readers, Accelerator == Qemu.Accelerator.Kvm, [_options.RunFolder, LayersFolder], cancellationToken);
        if (_options.RunAs.Length > 0) LogRunsAsOne(_options.RunAs);
        return users;
    }

    private string LayersFolder => Path.GetDirectoryName(Path.GetFullPath(_store.PathOf(LayerId.New())))!;

    /// <summary>The path as the kernel reports it for a process' working folder.</summary>
    internal static string ResolveLinks(string path)
    {
        using var folder = UnixFiles.OpenFolder(path);
        return new FileInfo($"/proc/self/fd/{folder.DangerousGetHandle()}").LinkTarget ?? path;
    }

    [GeneratedRegex(@"version (\d+(\.\d+)+)")]
    private static partial Regex VersionPattern();

    [GeneratedRegex(@"^q35\s.*\(alias of (pc-q35-[0-9.]+)\)", RegexOptions.Multiline)]
    private static partial Regex MachineTypePattern();
}
