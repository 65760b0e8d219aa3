using System.Text;
using System.Text.Json;
using Instances.Appliances;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Qemu;

public sealed class RunFolderTests : IDisposable
{
    private const UnixFileMode OwnerOnly = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    private readonly string _root = Directory.CreateTempSubdirectory("run-folder-").FullName;
    private readonly MachineSpec _spec = new(
        VirtualMachineId.New(), ApplianceId.New(), OperationId.New(), "web", 1, 64L << 20, [new([LayerId.New()], 1 << 20)], [new(80)], ["ssh-ed25519 AAAA \"me\"\n: x"], null);

    private RunFolder Folder => RunFolder.For(_root, _spec.Id);

    public void Dispose() => Directory.Delete(_root, recursive: true);

    [Fact]
    public void Records_WrittenAndReplaced_AreReadBack()
    {
        Folder.Create();
        Assert.Null(Folder.ReadMachine());
        Folder.WriteMachine(_spec);
        Folder.WriteMachine(_spec with { Name = "other" });
        Assert.Equal("other", Folder.ReadMachine()!.Name);
        var hold = new HoldRecord(OperationId.New(), DateTimeOffset.UnixEpoch, _spec.Disks, [LayerId.New()], true, FreezeState.Frozen, false, true, 5);
        Folder.WriteHold(hold, durable: true);
        Assert.Equal(hold with { Previous = [], Next = [] }, Folder.ReadHold()! with { Previous = [], Next = [] });
        Assert.Equal(hold.Next, Folder.ReadHold()!.Following().Select(chain => chain.Layers[^1]));
        Folder.DeleteHold();
        Assert.Null(Folder.ReadHold());
        Folder.Delete();
        Folder.Delete();
        Assert.Empty(Directory.EnumerateFileSystemEntries(_root));
    }

    [Fact]
    public void Records_CrashWhileWriting_LeavesTheFormerOne()
    {
        Folder.Create();
        Folder.WriteMachine(_spec);
        File.WriteAllText(Path.Combine(Folder.Path, "machine.json.tmp"), "{\"half\":");
        Assert.Equal(_spec.Id, Folder.ReadMachine()!.Id);
        // Truncated by a crash of the host, which also ended the process.
        File.WriteAllText(Path.Combine(Folder.Path, "process.json"), "");
        Assert.Null(Folder.ReadProcess());
        File.WriteAllText(Path.Combine(Folder.Path, "hold.json"), "\0\0\0\0");
        Assert.Null(Folder.ReadHold());
        File.WriteAllText(Path.Combine(Folder.Path, "machine.json"), "");
        Assert.Throws<JsonException>(Folder.ReadMachine);
    }

    [Fact]
    public void Records_MayHoldSecrets_AreTheOwnersOnly()
    {
        Folder.Create();
        Folder.WriteMachine(_spec);
        Assert.Equal(OwnerOnly, File.GetUnixFileMode(Path.Combine(Folder.Path, "machine.json")));
        Assert.Equal(OwnerOnly | UnixFileMode.UserExecute, File.GetUnixFileMode(Folder.QemuPath));
    }

    [Fact]
    public async Task Seed_KeysAndName_AreQuotedOnAVolumeForQemuOnly()
    {
        Folder.Create();
        await NoCloudSeed.Write(_spec, Folder, TestContext.Current.CancellationToken);
        var volume = System.Text.Encoding.Latin1.GetString(await File.ReadAllBytesAsync(Folder.SeedPath, TestContext.Current.CancellationToken));
        Assert.StartsWith("CD001", volume[0x8001..], StringComparison.Ordinal);
        Assert.StartsWith("cidata", volume[0x8028..], StringComparison.OrdinalIgnoreCase);
        Assert.Contains(NoCloudSeed.MetaData(_spec), volume, StringComparison.Ordinal);
        Assert.Equal(OwnerOnly, File.GetUnixFileMode(Folder.SeedPath));
        Assert.Equal("#cloud-config\nssh_authorized_keys:\n  - \"ssh-ed25519 AAAA \\\"me\\\"\\u000a: x\"\n", Encoding.UTF8.GetString(NoCloudSeed.UserData(_spec)));
        Assert.Equal("#!/bin/sh\n", Encoding.UTF8.GetString(NoCloudSeed.UserData(_spec with { UserData = "#!/bin/sh\n" })));
        Assert.Equal([0x1F, 0x8B, 0, 0xFF], NoCloudSeed.UserData(_spec with { UserDataBase64 = "H4sA/w==" }));
        Assert.Equal(["machine", "qemu", "seed.iso"], Directory.EnumerateFileSystemEntries(Folder.Path).Select(path => Path.GetFileName(path)!).Append("machine").Order());
    }

    [Fact]
    public async Task Seed_WithoutItsContent_IsMadeAgain()
    {
        Folder.Create();
        foreach (var bytes in (int[])[0, 0x10000])
        {
            await File.WriteAllBytesAsync(Folder.SeedPath, new byte[bytes], TestContext.Current.CancellationToken);
            await NoCloudSeed.Write(_spec, Folder, TestContext.Current.CancellationToken);
            var volume = await File.ReadAllBytesAsync(Folder.SeedPath, TestContext.Current.CancellationToken);
            Assert.Equal("CD001", Encoding.Latin1.GetString(volume, 0x8001, 5));
        }

        var made = File.GetLastWriteTimeUtc(Folder.SeedPath);
        await NoCloudSeed.Write(_spec, Folder, TestContext.Current.CancellationToken);
        Assert.Equal(made, File.GetLastWriteTimeUtc(Folder.SeedPath));
    }

    [Fact]
    public async Task Seed_DiskIsFull_SaysSo()
    {
        Folder.Create();
        File.CreateSymbolicLink(Folder.SeedPath + ".tmp", "/dev/full");
        var failure = await Record.ExceptionAsync(() => NoCloudSeed.Write(_spec, Folder, TestContext.Current.CancellationToken));
        Assert.Equal("no-space", QemuFaults.From("web", failure!).Fault.Code);
    }

    [Fact]
    public void MetaData_ForASpecification_HasItsIdentity()
    {
        Assert.Contains("instance-id: \"this-guest\"\n", NoCloudSeed.MetaData(_spec with { InstanceId = "this-guest" }), StringComparison.Ordinal);
        Assert.Contains($"instance-id: \"{_spec.Id}.{_spec.Deployment}\"\n", NoCloudSeed.MetaData(_spec), StringComparison.Ordinal);
    }

    [Fact]
    public void ConsoleTail_AnyBytes_AreSafeText()
    {
        Assert.Equal("b\n\t\uFFFD[31m", ConsoleTail.Clean("b\r\n\t\u001b[31m"u8));
        Assert.Equal("x", ConsoleTail.Clean("\u00e9x"u8[1..]));
        Assert.Equal("", ConsoleTail.Read(Path.Combine(_root, "none"), 10));
        var log = Path.Combine(_root, "log");
        File.WriteAllText(log, "0123456789");
        Assert.Equal("789", ConsoleTail.Read(log, 3));
        ConsoleTail.Trim(log, 4);
        File.AppendAllText(log, "a");
        Assert.Equal("6789a", ConsoleTail.Read(log, 100));
        // QEMU's user may create a link there to read a file that only the silo may read.
        var link = Path.Combine(_root, "link");
        File.CreateSymbolicLink(link, log);
        Assert.Throws<Instances.Faults.FaultException>(() => ConsoleTail.Read(link, 10));
    }
}
