using System.Globalization;
using Instances.VirtualMachines;

namespace Instances.Qemu;

/// <summary>A control group for each machine (cgroup v2), beside the silo's own, so that a QEMU that exceeds its memory affects only itself.</summary>
/// <remarks>
/// The silo must be in a group named <c>silo</c> below a group that was delegated to it. Machines stay in their groups while the silo restarts. If the silo were in the delegated
/// group itself, systemd could not start a new silo there, because a group with controllers for its children cannot contain processes.
/// </remarks>
internal sealed class MachineCgroups
{
    public const string Mount = "/sys/fs/cgroup";

    private const string OwnName = "silo";
    private const string MachinesName = "machines";
    private const string Controllers = "cgroup.controllers";
    private const string SubtreeControl = "cgroup.subtree_control";
    private const string Procs = "cgroup.procs";
    private const long SpareBytes = 2L << 30;
    private const long LayerCacheBytes = 64L << 20;
    private const int WeightOfCpu = 100;
    private const int MaxWeight = 10_000;
    private static readonly string[] Wanted = ["memory", "cpu", "io"];

    private readonly string? _folder;
    private readonly HashSet<string> _controllers = [];

    private MachineCgroups(string? folder, IEnumerable<string> controllers, string? obstacle) => (_folder, _controllers, Obstacle) = (folder, [.. controllers], obstacle);

    /// <summary>Why machines have no groups, or lack some limits; null if they have all.</summary>
    public string? Obstacle { get; }

    /// <param name="membership">Of this process, as in <c>/proc/self/cgroup</c>.</param>
    public static MachineCgroups Find(string mount, IEnumerable<string> membership)
    {
        if (!File.Exists(Path.Combine(mount, Controllers))) return Without($"this system has no control groups of version 2 at {mount}");
        if (membership.FirstOrDefault(line => line.StartsWith("0::/", StringComparison.Ordinal)) is not { } own || Path.GetFileName(own) != OwnName)
            return Without($"the silo is not in a group named '{OwnName}' below a delegated one. The unit file sets Delegate=yes and DelegateSubgroup={OwnName}, which needs systemd 254 or later");
        var parent = Path.GetDirectoryName(mount + own["0::".Length..])!;
        var machines = Path.Combine(parent, MachinesName);
        try
        {
            var controllers = Wanted.Intersect(File.ReadAllText(Path.Combine(parent, Controllers)).Split((char[])[' ', '\n'], StringSplitOptions.RemoveEmptyEntries)).ToList();
            Directory.CreateDirectory(machines);
            foreach (var folder in (string[])[parent, machines])
                foreach (var controller in controllers) File.WriteAllText(Path.Combine(folder, SubtreeControl), $"+{controller}");
            var lacking = Wanted.Except(controllers).ToList();
            return new(machines, controllers, lacking.Count == 0 ? null : $"{parent} was delegated without these controllers: {string.Join(", ", lacking)}");
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return Without($"{parent} cannot be changed: {e.Message}");
        }

        static MachineCgroups Without(string obstacle) => new(null, [], obstacle);
    }

    /// <summary>Creates the group of a machine before its start.</summary>
    /// <param name="layers">In all of its disks' chains: each has a cache of its tables.</param>
    /// <returns>The file to which a process writes its pid to join; null if machines have no groups.</returns>
    public string? Prepare(VirtualMachineId machine, long memoryBytes, int cpus, int layers)
    {
        if (_folder is null) return null;
        var group = Path.Combine(_folder, machine.ToString());
        Directory.CreateDirectory(group);
        if (_controllers.Contains("memory")) Write("memory.max", memoryBytes + SpareBytes + (layers * LayerCacheBytes));
        if (_controllers.Contains("cpu")) Write("cpu.weight", Math.Min(cpus * WeightOfCpu, MaxWeight));
        return Path.Combine(group, Procs);

        void Write(string name, long value) => File.WriteAllText(Path.Combine(group, name), value.ToString(CultureInfo.InvariantCulture));
    }

    /// <summary>Removes the group of a machine that has ended. If that fails, the empty group is harmless, and the next start of the silo removes it.</summary>
    public void Remove(VirtualMachineId machine)
    {
        if (_folder is not null) TryRemove(Path.Combine(_folder, machine.ToString()));
    }

    /// <summary>Removes the groups of machines that are no longer here.</summary>
    public void Sweep(IReadOnlySet<VirtualMachineId> known)
    {
        if (_folder is null) return;
        foreach (var group in Directory.EnumerateDirectories(_folder))
        {
            if (VirtualMachineId.TryParse(Path.GetFileName(group), CultureInfo.InvariantCulture, out var machine) && !known.Contains(machine)) TryRemove(group);
        }
    }

    private static void TryRemove(string group)
    {
        try
        {
            // The files in it belong to the kernel and disappear with it.
            Directory.Delete(group);
        }
        catch (IOException)
        {
            // A process is still in it, or it was already removed.
        }
    }
}
