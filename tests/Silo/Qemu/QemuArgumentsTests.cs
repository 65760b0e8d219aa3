using System.Text.Json;
using CsCheck;
using Instances.Appliances;
using Instances.Hosts;
using Instances.Library;
using Instances.Operations;
using Instances.VirtualMachines;
using Xunit;

namespace Instances.Qemu;

public sealed class QemuArgumentsTests
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

    private static IEnumerable<JsonElement> Nodes(IReadOnlyList<string> arguments) =>
        arguments.Index().Where(argument => argument.Item == "-blockdev").Select(argument => JsonDocument.Parse(arguments[argument.Index + 1]).RootElement);
}
