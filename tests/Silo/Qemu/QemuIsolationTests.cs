using System.Globalization;
using CliWrap;
using Instances.Appliances;
using Instances.Faults;
using Instances.Library;
using Instances.VirtualMachines;
using Microsoft.Extensions.Options;
using Xunit;

namespace Instances.Qemu;

/// <summary>What the user of one machine, and what other users of the host, can reach of another machine.</summary>
public sealed class QemuIsolationTests
{
    private const uint Daemon = 1;
    private static readonly uint Readers = (uint)new LayerStoreOptions().ReadersGroup;

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    [Fact]
    public async Task TwoMachines_EachHasAUserOfItsOwn_AndReachesNothingOfTheOther()
    {
        RequireRoot();
        await using var lab = await QemuLab.Create();
        var (one, other) = (await Machine(lab, "one"), await Machine(lab, "other"));
        var (user, stranger) = (UserOf(lab.PidOf(one.Id)), UserOf(lab.PidOf(other.Id)));
        Assert.NotEqual(user, stranger);
        Assert.InRange(user, 70_000u, 89_999u);
        Assert.Equal(Readers, GroupOf(lab.PidOf(one.Id)));

        var (folder, theirs) = (lab.RunFolderOf(other.Id), lab.RunFolderOf(one.Id));
        var top = lab.Store.PathOf(other.Disks[0].Layers[^1]);
        Assert.True(await Can(stranger, Readers, "test", "-w", top));
        Assert.True(await Can(stranger, Readers, "test", "-w", Path.Combine(folder.QemuPath, RunFolder.QmpSocket)));
        Assert.True(await Can(stranger, Readers, "test", "-r", folder.SeedPath));
        foreach (var path in (string[])[top, folder.SeedPath, folder.LogPath, Path.Combine(folder.Path, "machine.json"), Path.Combine(folder.QemuPath, RunFolder.QmpSocket), Path.Combine(folder.QemuPath, RunFolder.AgentSocket)])
        {
            Assert.False(await Can(user, Readers, "test", "-r", path), path);
            Assert.False(await Can(user, Readers, "test", "-w", path), path);
        }

        Assert.False(await Can(user, Readers, "ls", folder.QemuPath));
        Assert.False(await Can(user, Readers, "ls", theirs.Path));
        Assert.False(await Can(user, Readers, "kill", "-0", lab.PidOf(other.Id).ToString(CultureInfo.InvariantCulture)));

        // A sealed layer can be read by all machines that know its name, and by no other user.
        var tops = await lab.Capture(other.Id);
        Assert.True(await Can(user, Readers, "test", "-r", lab.Store.PathOf(tops[0])));
        Assert.False(await Can(stranger, Readers, "test", "-w", lab.Store.PathOf(tops[0])));
        Assert.False(await Can(Daemon, Daemon, "test", "-r", lab.Store.PathOf(tops[0])));
        Assert.False(await Can(user, Readers, "test", "-r", lab.Store.PathOf((await lab.Observe(other.Id)).Disks[0].Layers[^1])));
    }

    [Fact]
    public async Task Capture_OfAStoppedMachine_IsWritableByItsUserAfterTheStart()
    {
        RequireRoot();
        await using var lab = await QemuLab.Create();
        var spec = await Machine(lab, "one");
        var user = UserOf(lab.PidOf(spec.Id));
        await lab.Driver.Power(spec.Id, PowerAction.Off);
        await lab.Capture(spec.Id);
        await lab.Driver.Power(spec.Id, PowerAction.On);
        Assert.Equal(user, UserOf(lab.PidOf(spec.Id)));
        Assert.Equal(user, UnixFiles.Statistics(lab.Store.PathOf((await lab.Observe(spec.Id)).Disks[0].Layers[^1])).User);
    }

    [Fact]
    public async Task Machine_OfARelease_WithOneUserForAll_IsAdoptedAndGetsItsOwnAtItsNextStart()
    {
        RequireRoot();
        await using var lab = await QemuLab.Create(configure: options => options.RunAs = "nobody");
        var spec = await Machine(lab, "one");
        var nobody = UserOf(lab.PidOf(spec.Id));
        await File.AppendAllTextAsync(lab.RunFolderOf(spec.Id).ConsolePath, "kept", Stop);
        lab.Options.RunAs = "";
        Assert.Equal(VirtualMachineStatus.Running, Assert.Single(await lab.RestartDriver()).Status);
        await lab.Capture(spec.Id);
        Assert.Equal(nobody, UnixFiles.Statistics(lab.Store.PathOf((await lab.Observe(spec.Id)).Disks[0].Layers[^1])).User);

        await lab.Driver.Power(spec.Id, PowerAction.Off);
        await lab.Driver.Power(spec.Id, PowerAction.On);
        var user = UserOf(lab.PidOf(spec.Id));
        Assert.InRange(user, 70_000u, 89_999u);
        Assert.Contains("kept", await lab.Driver.ReadConsole(spec.Id, 1000), StringComparison.Ordinal);
        Assert.Equal(VirtualMachineStatus.Running, Assert.Single(await lab.RestartDriver()).Status);
        await lab.Capture(spec.Id);
        Assert.Equal(user, UserOf(lab.PidOf(spec.Id)));
    }

    [Fact]
    public async Task Machine_OfARelease_WhoseGroupReadsNoSealedLayers_GetsNoMergedLayersUntilItsNextStart()
    {
        RequireRoot();
        await using var lab = await QemuLab.Create(configure: options => options.RunAs = "nobody");
        lab.Readers = (int)UnixUser.Find("nobody")!.Value.GroupId;
        await lab.RestartDriver();
        var spec = await lab.DeepSpec("deep", layers: 4);
        foreach (var layer in spec.Disks[0].Layers.SkipLast(1)) File.SetUnixFileMode(lab.Store.PathOf(layer), UnixFiles.SealedMode | UnixFileMode.OtherRead);
        await lab.Driver.Start(spec, Stop);
        Assert.NotEqual(Readers, GroupOf(lab.PidOf(spec.Id)));

        lab.Readers = (int)Readers;
        await lab.RestartDriver();
        var merge = new LayerMerge(LayerId.New(), [.. spec.Disks[0].Layers.SkipLast(1)], From: 1);
        await lab.Store.CreateLayer(merge.Merged, merge.Below, spec.Disks[0].VirtualSizeBytes, Stop);
        await lab.Store.Seal(merge.Merged);
        Assert.False(await lab.Driver.CanReplaceLayers(spec.Id));
        Assert.Contains("Permission denied", (await Assert.ThrowsAsync<FaultException>(() => lab.Driver.ReplaceLayers(spec.Id, merge))).Message, StringComparison.Ordinal);

        await lab.Driver.Power(spec.Id, PowerAction.Off);
        Assert.True(await lab.Driver.CanReplaceLayers(spec.Id));
        await lab.Driver.Power(spec.Id, PowerAction.On);
        Assert.True(await lab.Driver.CanReplaceLayers(spec.Id));
        Assert.True(await lab.Driver.ReplaceLayers(spec.Id, merge));
    }

    [Fact]
    public async Task Removal_FreesTheUser_OfWhomNothingIsLeft()
    {
        RequireRoot();
        await using var lab = await QemuLab.Create(configure: options => options.Uids = 1);
        var spec = await Machine(lab, "one");
        var user = UserOf(lab.PidOf(spec.Id));
        // Another silo on this host finds the user too.
        await lab.RestartDriver();
        var full = await Assert.ThrowsAsync<FaultException>(() => Machine(lab, "other"));
        Assert.Contains("Qemu:Uids", full.Message, StringComparison.Ordinal);
        foreach (var machine in await lab.Driver.List()) if (machine.Id != spec.Id) await lab.Driver.Remove(machine.Id, machine.Deployment);

        await lab.Driver.Remove(spec.Id, spec.Deployment);
        Assert.Equal(0u, UnixFiles.Statistics(lab.Store.PathOf(spec.Disks[0].Layers[^1])).User);
        Assert.Equal(user, UserOf(lab.PidOf((await Machine(lab, "next")).Id)));
    }

    [Fact]
    public async Task Process_InTheFolderOfAnotherMachine_DoesNotPassForItsQemu()
    {
        await using var lab = await QemuLab.Create();
        var spec = await lab.BlankSpec("one");
        lab.RunFolderOf(spec.Id).Create();
        using var pretender = new System.Diagnostics.Process
        {
            StartInfo = new("sh", ["-c", "echo; read line", "qemu", "-uuid", spec.Id.ToString()])
            {
                WorkingDirectory = lab.RunFolderOf(spec.Id).Path, RedirectStandardInput = true, RedirectStandardOutput = true,
            },
        };
        pretender.Start();
        await pretender.StandardOutput.ReadLineAsync(Stop);

        Assert.Empty(QemuProcess.FindAll(lab.Options.RunFolder));

        pretender.StandardInput.Close();
        await pretender.WaitForExitAsync(Stop);
    }

    [Fact]
    public async Task Sockets_ThatAreLinks_AreNotFollowed()
    {
        await using var lab = await QemuLab.Create();
        var spec = await Machine(lab, "one");
        var folder = lab.RunFolderOf(spec.Id);
        File.CreateSymbolicLink(Path.Combine(folder.QemuPath, "link.sock"), Path.Combine(folder.QemuPath, RunFolder.QmpSocket));
        await Assert.ThrowsAsync<QmpException>(() => UnixSocket.Connect(folder.QemuPath, "link.sock", Stop));
        await Assert.ThrowsAsync<QmpException>(() => UnixSocket.Connect(folder.QemuPath, RunFolder.ConsoleLog, Stop));
    }

    [Fact]
    public async Task Removal_OfAFolderWithLinks_DeletesNothingOutside()
    {
        await using var lab = await QemuLab.Create();
        var spec = await Machine(lab, "one");
        var outside = Directory.CreateDirectory(Path.Combine(lab.Folder, "outside"));
        var file = Path.Combine(outside.FullName, "file");
        await File.WriteAllTextAsync(file, "", Stop);
        Directory.CreateSymbolicLink(Path.Combine(lab.RunFolderOf(spec.Id).QemuPath, "link"), outside.FullName);
        await lab.Driver.Remove(spec.Id, spec.Deployment);
        Assert.True(File.Exists(file));
        Assert.False(Directory.Exists(lab.RunFolderOf(spec.Id).Path));
    }

    [Theory]
    [InlineData("root:x:0:0::/root:/bin/sh\nalice:x:70005:70005::/:/bin/sh", false, "alice")]
    [InlineData("alice:100000:65536\nbob:60000:20000", true, "bob")]
    [InlineData("alice:x:69999:69999::/:/bin/sh\nbob:x:90000:90000::/:/bin/sh", false, null)]
    [InlineData("# a comment\nalice:100000:65536", true, null)]
    public void Users_OfAccountsAndSubordinates_AreNotThoseOfMachines(string lines, bool isRange, string? owner)
    {
        var refusal = Record.Exception(() => QemuUsers.RequireFree(new(), lines.Split('\n'), "/etc/file", isRange));
        if (owner is null) Assert.Null(refusal);
        else Assert.Contains($"'{owner}'", Assert.IsType<OptionsValidationException>(refusal).Message, StringComparison.Ordinal);
    }

    [Theory]
    [InlineData(0u, 0b110_110_110, null)]
    [InlineData(106u, 0b110_110_000, 106u)]
    public void KvmGroup_IsNeededOnlyIfNotEverybodyMayOpenTheDevice(uint group, int mode, uint? needed) =>
        Assert.Equal(needed, QemuUsers.KvmGroup(new(0, group, (UnixFileMode)mode, 0)));

    [Theory]
    [InlineData(0u, 0b110_110_000)]
    [InlineData(0u, 0b110_000_000)]
    [InlineData(106u, 0b110_000_000)]
    public void KvmGroup_OfRoot_IsRefused(uint group, int mode) =>
        Assert.Contains("chgrp kvm", Assert.Throws<OptionsValidationException>(() => QemuUsers.KvmGroup(new(0, group, (UnixFileMode)mode, 0))).Message, StringComparison.Ordinal);

    private static void RequireRoot()
    {
        if (!Environment.IsPrivilegedProcess) Assert.Skip("Only root can run QEMU as another user.");
    }

    private static async Task<Hosts.MachineSpec> Machine(QemuLab lab, string name)
    {
        var spec = await lab.BlankSpec(name);
        await lab.Driver.Start(spec, Stop);
        return spec;
    }

    private static uint UserOf(int pid) => IdOf(pid, "Uid:");

    private static uint GroupOf(int pid) => IdOf(pid, "Gid:");

    private static uint IdOf(int pid, string field) =>
        uint.Parse(File.ReadLines($"/proc/{pid}/status").Single(line => line.StartsWith(field, StringComparison.Ordinal)).Split('\t')[1], CultureInfo.InvariantCulture);

    private static async Task<bool> Can(uint user, uint group, params string[] command)
    {
        var result = await Cli.Wrap("setpriv").WithArguments(["--reuid", $"{user}", "--regid", $"{group}", "--clear-groups", "--", .. command])
            .WithValidation(CommandResultValidation.None).ExecuteAsync(Stop);
        return result.ExitCode == 0;
    }
}
