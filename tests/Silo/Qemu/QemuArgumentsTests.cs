using System.Text.Json;
using System.Text.RegularExpressions;
using CsCheck;
using Instances.Appliances;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Qemu;

public sealed partial class QemuArgumentsTests
{
    [Theory]
    [InlineData(Accelerator.Kvm, 0)]
    [InlineData(Accelerator.Tcg, 3)]
    public void Build_ForAnAccelerator_UsesEventDescriptorsWhereTheySpareSomething(string accelerator, int without) =>
        Assert.Equal(without, QemuArguments.Build(Spec(), [], accelerator, false, _ => "/").Count(argument => argument.EndsWith(".ioeventfd=off", StringComparison.Ordinal)));

    private static MachineSpec Spec(string name = "web", params DiskChain[] disks) =>
        new(VirtualMachineId.New(), ApplianceId.New(), OperationId.New(), name, 2, 256L << 20, disks, [], [], null);

    [Fact]
    public void Build_AnyName_IsRefusedOrCannotSplitAnOption() => Gen.OneOf(Gen.String, Gen.String[Gen.Char["ab-,=. \n"], 1, 8]).Sample(name =>
    {
        IReadOnlyList<string> arguments;
        try
        {
            arguments = QemuArguments.Build(Spec(name), [], Accelerator.Tcg, false, layer => $"/{layer}");
        }
        catch (ArgumentException)
        {
            return;
        }

        Assert.Contains($"guest={name}", arguments);
        Assert.DoesNotContain(name, ch => ch is ',' or '=' or '\n' or ' ');
    });

    [Fact]
    public void Build_AnyPath_StandsInJsonOnly() => Gen.String[Gen.Char["ab/,={}\"'\\ é\n"], 1, 20].Sample(path =>
    {
        var layer = LayerId.New();
        var arguments = QemuArguments.Build(Spec(disks: new DiskChain([layer], 1 << 20)), [], Accelerator.Tcg, false, _ => "/" + path);
        var file = Nodes(arguments).Single(node => node.GetProperty("node-name").GetString() == BlockNodes.File(layer));
        Assert.Equal(Path.GetFullPath("/" + path), file.GetProperty("filename").GetString());
        // Options come in pairs of a name and a value, whatever the value is.
        Assert.Equal(1, arguments.Count(argument => argument.Contains(BlockNodes.File(layer), StringComparison.Ordinal) && argument.Contains("filename", StringComparison.Ordinal)));
    });

    [Fact]
    public void Build_Chain_NamesEveryParentAndFollowsNoHeader()
    {
        LayerId[] layers = [LayerId.New(), LayerId.New(), LayerId.New()];
        var nodes = Nodes(QemuArguments.Build(Spec(disks: new DiskChain(layers, 1L << 40)), [], Accelerator.Tcg, false, layer => $"/layers/{layer}.qcow2"))
            .ToDictionary(node => node.GetProperty("node-name").GetString()!);
        Assert.All(nodes.Keys, name => Assert.InRange(name.Length, 1, 31));
        Assert.Equal(JsonValueKind.Null, Format(0).GetProperty("backing").ValueKind);
        Assert.Equal(BlockNodes.Format(layers[0]), Format(1).GetProperty("backing").GetString());
        Assert.Equal(BlockNodes.Format(layers[1]), Format(2).GetProperty("backing").GetString());
        Assert.Equal([true, true, false], layers.Select((_, index) => Format(index).GetProperty("read-only").GetBoolean()));
        Assert.Equal(256L << 20, Format(2).GetProperty("l2-cache-size").GetInt64());
        Assert.False(nodes[BlockNodes.File(layers[2])].TryGetProperty("read-only", out _));

        JsonElement Format(int index) => nodes[BlockNodes.Format(layers[index])];
    }

    [Fact]
    public void Build_Network_ReachesTheHostOnlyWhereAllowed()
    {
        PortForward[] ports = [new(80, 8080), new(53, 5353, TransportProtocol.Udp)];
        var closed = QemuArguments.Build(Spec(), ports, Accelerator.Kvm, false, _ => "/");
        Assert.Contains("user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:8080-:80,hostfwd=udp:127.0.0.1:5353-:53", closed);
        Assert.Contains("host", closed);
        Assert.Contains(QemuArguments.Build(Spec(), [], Accelerator.Tcg, true, _ => "/"), argument => argument.Contains("restrict=off", StringComparison.Ordinal));
    }

    [Fact]
    public void Build_WithMoreDisks_MovesNoDevice()
    {
        var (one, all) = (Addresses(1), Addresses(15));
        Assert.Equal(15 + 4, all.Count);
        Assert.Equal(all.Count, all.Values.Distinct().Count());
        Assert.All(one, device => Assert.Equal(device.Value, all[device.Key]));
        Assert.Equal(3, all["virtio-net-pci"]);
        // Linux names disks in the order of their addresses.
        Assert.Equal(Enumerable.Range(0, 15).Select(disk => $"disk{disk}").Append("seed-disk"), all.Where(device => device.Key.Contains("disk", StringComparison.Ordinal)).OrderBy(device => device.Value).Select(device => device.Key));

        Dictionary<string, int> Addresses(int disks) => Devices(Spec(disks: [.. Enumerable.Range(0, disks).Select(_ => new DiskChain([LayerId.New()], 1 << 20))]) with { MachineType = "pc-q35-7.2" })
            .ToDictionary(device => DiskPattern().Match(device) is { Success: true } disk ? disk.Groups[1].Value : device.Split(',')[0], device => Convert.ToInt32(device.Split("addr=")[1], 16));
    }

    [Fact]
    public void Build_MachineOfAnEarlierRelease_KeepsItsBoard()
    {
        var arguments = QemuArguments.Build(Spec(disks: new DiskChain([LayerId.New()], 1 << 20)), [], Accelerator.Tcg, false, _ => "/");
        Assert.Contains("q35,graphics=off", arguments);
        Assert.DoesNotContain(arguments, argument => argument.Contains("addr=", StringComparison.Ordinal));
    }

    [Fact]
    public void Build_Generation_ChangesWithTheDeploymentOnly()
    {
        var spec = Spec();
        Assert.Equal(Generation(spec), Generation(spec with { MemoryBytes = 1L << 30 }));
        Assert.NotEqual(Generation(spec), Generation(spec with { Deployment = OperationId.New() }));

        static string Generation(MachineSpec spec) =>
            QemuArguments.Build(spec, [], Accelerator.Tcg, false, _ => "/").Single(argument => argument.StartsWith("vmgenid,guid=", StringComparison.Ordinal));
    }

    private static IEnumerable<string> Devices(MachineSpec spec)
    {
        var arguments = QemuArguments.Build(spec, [], Accelerator.Tcg, false, _ => "/");
        return arguments.Index().Where(argument => argument.Item == "-device").Select(argument => arguments[argument.Index + 1]).Where(device => device.Contains("-pci", StringComparison.Ordinal));
    }

    [GeneratedRegex("id=([a-z0-9-]*disk[0-9]*),")]
    private static partial Regex DiskPattern();

    private static IEnumerable<JsonElement> Nodes(IReadOnlyList<string> arguments) =>
        arguments.Index().Where(argument => argument.Item == "-blockdev").Select(argument => JsonDocument.Parse(arguments[argument.Index + 1]).RootElement);
}
