using System.Text.Json;
using Instances.Hosts;
using Instances.Library;
using Instances.VirtualMachines;

namespace Instances.Qemu;

/// <summary>The files of one machine: its specification, its process, and the capture that holds it.</summary>
/// <remarks>
/// Records are in the folder itself, which belongs to the silo's user. QEMU works in a subfolder, <c>qemu</c>, which only the machine's user
/// owns. So a guest that breaks out of QEMU cannot change the silo's records, and cannot reach other machines. The silo follows no link in the subfolder.
/// </remarks>
internal sealed class RunFolder(string path)
{
    public const string QmpSocket = "qmp.sock";
    public const string AgentSocket = "agent.sock";
    public const string SerialSocket = "serial.sock";
    public const string ConsoleLog = "console.log";

    /// <summary>Relative to QEMU's folder, as in QEMU's arguments: so socket paths are short, however deep the folder is.</summary>
    public const string SeedFromQemu = "../seed.iso";
    public const string LogFromQemu = "../qemu.log";

    /// <summary>QEMU's folder within the machine's.</summary>
    public const string QemuName = "qemu";

    private const string BindingFile = "host.binding";
    private const string MachineFile = "machine.json";
    private const string HoldFile = "hold.json";
    private const string ProcessFile = "process.json";
    private const string FrozenMark = "frozen";

    public string Path { get; } = path;

    public string QemuPath { get; } = System.IO.Path.Combine(path, QemuName);

    public string SeedPath { get; } = System.IO.Path.Combine(path, "seed.iso");

    public string LogPath { get; } = System.IO.Path.Combine(path, "qemu.log");

    public bool Exists => Directory.Exists(Path);

    /// <summary>Whether the guest may be frozen. Set before a freeze, and cleared when a thaw succeeds or QEMU ends.</summary>
    public bool MayBeFrozen => File.Exists(System.IO.Path.Combine(Path, FrozenMark));

    public string ConsolePath => System.IO.Path.Combine(QemuPath, ConsoleLog);

    /// <summary>Creates the folder of the machines' folders.</summary>
    public static void CreateRoot(string root) => UnixFiles.OwnFolder(root, UnixFiles.PassageMode, isConfigured: true);

    public static RunFolder For(string root, VirtualMachineId machine) => new(System.IO.Path.Combine(root, machine.ToString()));

    /// <summary>The database that the machines of a root belong to; null if that was never written. If the file cannot be read, they belong to no database.</summary>
    public static HostBinding? ReadBinding(string root)
    {
        try
        {
            return Read<HostBinding>(root, BindingFile);
        }
        catch (JsonException)
        {
            return HostBinding.Unreadable;
        }
    }

    public static void WriteBinding(string root, HostBinding binding) => Write(root, BindingFile, binding, durable: true);

    public void Create()
    {
        UnixFiles.OwnFolder(Path, UnixFiles.PassageMode);
        Directory.CreateDirectory(QemuPath, UnixFiles.PrivateFolderMode);
        UnixFiles.SyncFolder(System.IO.Path.GetDirectoryName(Path)!);
    }

    /// <summary>Gives QEMU's folder to a user while no QEMU runs. The console's log is kept; everything else is created again.</summary>
    public void Give(UnixUser user)
    {
        // From now on the former user can change nothing.
        UnixFiles.OwnFolder(QemuPath, UnixFiles.PrivateFolderMode);
        foreach (var path in Directory.EnumerateFileSystemEntries(QemuPath))
        {
            if (path != ConsolePath) UnixFiles.DeleteTree(path);
            else UnixFiles.Give(path, user, UnixFiles.PrivateMode, maxLinks: 1);
        }

        UnixFiles.GiveFolder(QemuPath, user);
        UnixFiles.SyncFolder(Path);
    }

    public void Delete()
    {
        if (!Exists) return;
        UnixFiles.DeleteTree(Path);
        UnixFiles.SyncFolder(System.IO.Path.GetDirectoryName(Path)!);
    }

    /// <summary>Takes the writable layers of a machine back from its user before the removal, because the user must own nothing when another machine gets it.</summary>
    /// <returns>False if the layers are not known.</returns>
    public bool TakeLayersBack(Func<LayerId, string> pathOf)
    {
        if (!Environment.IsPrivilegedProcess) return true;
        if (ReadUnlessDamaged<MachineSpec>(MachineFile) is not { } machine) return false;
        var hold = ReadHold();
        foreach (var layer in machine.Disks.Concat(hold?.Previous ?? []).Select(chain => chain.Layers[^1]).Concat(hold?.Next ?? []).Distinct())
        {
            var path = pathOf(layer);
            if (File.Exists(path) && UnixFiles.Statistics(path).User != UnixUser.Root.UserId) UnixFiles.Give(path, UnixUser.Root, UnixFiles.PrivateMode);
        }

        return true;
    }

    public MachineSpec? ReadMachine() => Read<MachineSpec>(MachineFile);

    /// <summary>Null also if the file is damaged. Only a crash of the host damages it, and no paused or frozen guest survives that. <c>machine.json</c> already names the
    /// next layers, which lose nothing whether or not the switch has happened. The capture finds that its hold has expired.</summary>
    public HoldRecord? ReadHold() => ReadUnlessDamaged<HoldRecord>(HoldFile);

    /// <summary>Null also if the file is damaged. It is not durable, because only a crash of the host damages it, and no process survives that.</summary>
    public ProcessRecord? ReadProcess() => ReadUnlessDamaged<ProcessRecord>(ProcessFile);

    public void MarkFrozen() => File.Open(
        System.IO.Path.Combine(Path, FrozenMark),
        new FileStreamOptions { Mode = FileMode.OpenOrCreate, Access = FileAccess.Write, UnixCreateMode = UnixFiles.PrivateMode }).Dispose();

    public void UnmarkFrozen() => File.Delete(System.IO.Path.Combine(Path, FrozenMark));

    public void WriteMachine(MachineSpec spec)
    {
        PrepareMachine(spec);
        CommitMachine();
    }

    /// <summary>Writes the new file beside the current one. Only this part of the change needs disk space.</summary>
    public void PrepareMachine(MachineSpec spec) => Prepare(Path, MachineFile, spec, durable: true);

    public void CommitMachine() => Commit(Path, MachineFile, durable: true);

    /// <param name="durable">False if the file must survive only the silo's death, not a crash of the host.</param>
    public void WriteHold(HoldRecord hold, bool durable) => Write(HoldFile, hold, durable);

    public void WriteProcess(ProcessRecord process) => Write(ProcessFile, process, durable: false);

    public void DeleteHold()
    {
        File.Delete(System.IO.Path.Combine(Path, HoldFile));
        UnixFiles.SyncFolder(Path);
    }

    private T? ReadUnlessDamaged<T>(string name)
        where T : class
    {
        try
        {
            return Read<T>(name);
        }
        catch (JsonException)
        {
            return null;
        }
    }

    private T? Read<T>(string name)
        where T : class => Read<T>(Path, name);

    private static T? Read<T>(string folder, string name)
        where T : class
    {
        try
        {
            return JsonSerializer.Deserialize<T>(File.ReadAllBytes(System.IO.Path.Combine(folder, name)), InstancesJson.Options);
        }
        catch (Exception e) when (e is FileNotFoundException or DirectoryNotFoundException)
        {
            return null;
        }
    }

    private void Write<T>(string name, T value, bool durable) => Write(Path, name, value, durable);

    /// <summary>Atomic: a reader sees the old file or the new one.</summary>
    private static void Write<T>(string folder, string name, T value, bool durable)
    {
        Prepare(folder, name, value, durable);
        Commit(folder, name, durable);
    }

    private static void Prepare<T>(string folder, string name, T value, bool durable)
    {
        using var file = new FileStream(
            Temporary(folder, name), new FileStreamOptions { Mode = FileMode.Create, Access = FileAccess.Write, UnixCreateMode = UnixFiles.PrivateMode });
        JsonSerializer.Serialize(file, value, InstancesJson.Options);
        file.Flush(flushToDisk: durable);
    }

    private static void Commit(string folder, string name, bool durable)
    {
        File.Move(Temporary(folder, name), System.IO.Path.Combine(folder, name), overwrite: true);
        if (durable) UnixFiles.SyncFolder(folder);
    }

    private static string Temporary(string folder, string name) => System.IO.Path.Combine(folder, name + ".tmp");
}
