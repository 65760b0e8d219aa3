using Instances.VirtualMachines;
using Xunit;

namespace Instances.Qemu;

/// <summary>On a folder that looks like the kernel's.</summary>
public sealed class MachineCgroupsTests : IDisposable
{
    private const long Gibibyte = 1L << 30;

    private readonly string _mount = Directory.CreateTempSubdirectory("instances-cgroups-").FullName;

    public void Dispose() => Directory.Delete(_mount, recursive: true);

    [Fact]
    public void Machine_InADelegatedGroup_GetsItsLimitsAndAGroupOfItsOwn()
    {
        Delegate("cpuset cpu io memory pids\n");
        var groups = MachineCgroups.Find(_mount, ["1:name=systemd:/x", "0::/unit.service/silo"]);
        Assert.Null(groups.Obstacle);
        var machine = VirtualMachineId.New();

        var procs = groups.Prepare(machine, 4 * Gibibyte, cpus: 2, layers: 3);
        Assert.Equal(procs, groups.Prepare(machine, 4 * Gibibyte, cpus: 2, layers: 3));

        var group = Path.Combine(_mount, "unit.service/machines", machine.ToString());
        Assert.Equal(Path.Combine(group, "cgroup.procs"), procs);
        Assert.Equal($"{(6 * Gibibyte) + (3 * (64L << 20))}", File.ReadAllText(Path.Combine(group, "memory.max")));
        Assert.Equal("200", File.ReadAllText(Path.Combine(group, "cpu.weight")));
        Assert.Equal("+io", File.ReadAllText(Path.Combine(_mount, "unit.service/cgroup.subtree_control")));
    }

    [Fact]
    public void Groups_OfMachinesThatAreGone_AreRemoved()
    {
        Delegate("");
        var groups = MachineCgroups.Find(_mount, ["0::/unit.service/silo"]);
        Assert.Contains("memory, cpu, io", groups.Obstacle, StringComparison.Ordinal);
        var (kept, gone, removed) = (VirtualMachineId.New(), VirtualMachineId.New(), VirtualMachineId.New());
        foreach (var machine in (VirtualMachineId[])[kept, gone, removed]) groups.Prepare(machine, Gibibyte, 1, 1);

        groups.Remove(removed);
        groups.Remove(removed);
        groups.Sweep(new HashSet<VirtualMachineId> { kept });

        Assert.Equal([kept.ToString()], Directory.EnumerateDirectories(Path.Combine(_mount, "unit.service/machines")).Select(Path.GetFileName));
    }

    [Theory]
    [InlineData("0::/unit.service", "DelegateSubgroup=silo")]
    [InlineData("0::/", "DelegateSubgroup=silo")]
    [InlineData("0::/not-delegated/silo", "cannot be changed")]
    public void Silo_ElsewhereThanInADelegatedGroup_HasNoGroupsAndSaysWhy(string membership, string reason)
    {
        Delegate("memory");
        var groups = MachineCgroups.Find(_mount, [membership]);
        Assert.Contains(reason, groups.Obstacle, StringComparison.Ordinal);
        Assert.Null(groups.Prepare(VirtualMachineId.New(), Gibibyte, 1, 1));
        Assert.Contains("version 2", MachineCgroups.Find(Path.Combine(_mount, "none"), []).Obstacle, StringComparison.Ordinal);
    }

    private void Delegate(string controllers)
    {
        Directory.CreateDirectory(Path.Combine(_mount, "unit.service/silo"));
        File.WriteAllText(Path.Combine(_mount, "cgroup.controllers"), controllers);
        File.WriteAllText(Path.Combine(_mount, "unit.service/cgroup.controllers"), controllers);
    }
}
