using System.Globalization;
using System.Text.Json.Nodes;
using System.Text.RegularExpressions;
using Instances.Hosts;
using Instances.Library;
using Instances.VirtualMachines;

namespace Instances.Qemu;

/// <summary>The command line of one machine. Only its name is external text, which is checked here again; the rest is numbers, ids, and JSON.</summary>
/// <remarks>
/// <para>q35 instead of pc: it boots equally fast and has PCI Express. Under software emulation <c>max</c> is as fast as <c>qemu64</c>, and has the CPU features that current
/// distributions require.</para>
/// <para>The board does not change while a machine is deployed, whatever QEMU is installed and however many disks are added: the machine type is pinned, and every device has a fixed
/// address on the root bus. Guests derive names of network interfaces from it. The plan, in hexadecimal:</para>
/// <code>
/// 00     host bridge            05     entropy                  0e     vsock
/// 01     boot disk              06-0c  further NICs, 7 of them  10-1d  data disks, 14 of them
/// 02     display                0d     balloon                  1e     seed
/// 03     first NIC              0f     free (root ports)        1f     ISA bridge, SATA, SMBus
/// 04     serial ports (agent)
/// </code>
/// <para>Linux names disks in the order of their addresses: the seed comes after the data disks, so that it takes none of their names.</para>
/// </remarks>
internal static partial class QemuArguments
{
    public const string AgentChardev = "agent";
    public const string AgentPort = "org.qemu.guest_agent.0";

    private const int BootDiskSlot = 0x01;
    private const int NicSlot = 0x03;
    private const int SerialSlot = 0x04;
    private const int EntropySlot = 0x05;
    private const int FirstDataDiskSlot = 0x10;
    private const int SeedSlot = 0x1e;

    private const string Sandbox = "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny";

    /// <summary>With KVM they save exits from virtual processors. Under emulation they save nothing, and stopping and starting them is most of the cost of a
    /// pause and a resume.</summary>
    private static readonly string[] WithoutEventDescriptors =
        [.. new[] { "blk", "net", "serial" }.SelectMany(device => (string[])["-global", $"virtio-{device}-pci.ioeventfd=off"])];

    /// <param name="spec">With the chains to start on.</param>
    /// <param name="ports">With the host ports that were chosen.</param>
    public static IReadOnlyList<string> Build(
        MachineSpec spec, IReadOnlyList<PortForward> ports, string accelerator, bool guestsReachNetwork, Func<LayerId, string> pathOf)
    {
        if (!NamePattern().IsMatch(spec.Name)) throw new ArgumentException($"'{spec.Name}' is not a host name.", nameof(spec));
        return
        [
            "-nodefaults", "-no-user-config", "-display", "none",
            "-sandbox", Sandbox,
            "-name", $"guest={spec.Name}",
            "-uuid", spec.Id.ToString(),
            // Without graphics the firmware prints to the serial line, also when it finds nothing to boot.
            "-machine", $"{spec.MachineType ?? "q35"},graphics=off",
            "-accel", accelerator,
            .. accelerator == Accelerator.Kvm ? [] : WithoutEventDescriptors,
            "-cpu", accelerator == Accelerator.Kvm ? "host" : "max",
            "-smp", Text(spec.Cpus),
            "-m", $"size={Text(spec.MemoryBytes >> 20)}M",
            "-rtc", "base=utc",
            "-boot", "menu=off,strict=on",
            // A guest that finds a new id knows that its disks are from the past, and renews its random numbers and identifiers.
            "-device", $"vmgenid,guid={spec.Deployment.Value:D}",
            "-chardev", $"socket,id=qmp,path={RunFolder.QmpSocket},server=on,wait=off",
            "-mon", "chardev=qmp,mode=control",
            "-chardev", $"socket,id=serial,path={RunFolder.SerialSocket},server=on,wait=off,logfile={RunFolder.ConsoleLog},logappend=on",
            "-serial", "chardev:serial",
            .. spec.Disks.SelectMany((chain, index) => Disk(chain, index, At(index == 0 ? BootDiskSlot : FirstDataDiskSlot + index - 1), pathOf)),
            .. Seed(At(SeedSlot)),
            .. Network(spec.Id, ports, guestsReachNetwork, At(NicSlot)),
            "-chardev", $"socket,id={AgentChardev},path={RunFolder.AgentSocket},server=on,wait=off",
            "-device", $"virtio-serial-pci{At(SerialSlot)}",
            "-device", $"virtserialport,chardev={AgentChardev},name={AgentPort}",
            "-device", $"virtio-rng-pci{At(EntropySlot)}",
        ];

        // A machine of an earlier release keeps the PCI addresses that QEMU chose.
        string At(int slot) => spec.MachineType is null ? "" : string.Create(CultureInfo.InvariantCulture, $",addr=0x{slot:x2}");
    }

    /// <summary>The rule, as in QEMU's message if it cannot listen on the port.</summary>
    public static string ForwardRule(PortForward port) => $"{Protocol(port)}:127.0.0.1:{Text(port.HostPort)}-:{Text(port.GuestPort)}";

    /// <summary>The path of a disk in QEMU's object model.</summary>
    public static string DiskPath(int index) => $"/machine/peripheral/{DiskId(index)}";

    private static string DiskId(int index) => $"disk{Text(index)}";

    /// <summary>A disk error of the host pauses the guest. Nothing is lost, because the request is repeated when the guest resumes.</summary>
    private static IEnumerable<string> Disk(DiskChain chain, int index, string address, Func<LayerId, string> pathOf) =>
    [
        .. BlockNodes.Chain(chain, pathOf).SelectMany(Blockdev),
        "-device", $"virtio-blk-pci,id={DiskId(index)},drive={BlockNodes.Format(chain.Layers[^1])},bootindex={Text(index)},werror=stop,rerror=stop{address}",
    ];

    private static IEnumerable<string> Seed(string address) =>
    [
        .. Blockdev(new() { ["driver"] = "file", ["node-name"] = "seed-file", ["filename"] = RunFolder.SeedFromQemu, ["read-only"] = true }),
        .. Blockdev(new() { ["driver"] = "raw", ["node-name"] = "seed", ["file"] = "seed-file", ["read-only"] = true }),
        "-device", $"virtio-blk-pci,id=seed-disk,drive=seed{address}",
    ];

    private static IEnumerable<string> Network(VirtualMachineId id, IReadOnlyList<PortForward> ports, bool guestsReachNetwork, string address) =>
    [
        "-netdev", $"user,id=net,restrict={(guestsReachNetwork ? "off" : "on")}{string.Concat(ports.Select(port => ",hostfwd=" + ForwardRule(port)))}",
        "-device", $"virtio-net-pci,netdev=net,mac={Mac(id)},romfile={address}",
    ];

    /// <summary>In QEMU's range. Made from the random part of the id, so that a machine keeps its address.</summary>
    private static string Mac(VirtualMachineId id)
    {
        var bytes = id.Value.ToByteArray();
        return string.Create(CultureInfo.InvariantCulture, $"52:54:00:{bytes[13]:x2}:{bytes[14]:x2}:{bytes[15]:x2}");
    }

    private static IEnumerable<string> Blockdev(JsonObject node) => ["-blockdev", node.ToJsonString()];

    private static string Protocol(PortForward port) => port.Protocol switch
    {
        TransportProtocol.Tcp => "tcp",
        TransportProtocol.Udp => "udp",
    };

    private static string Text(long number) => number.ToString(CultureInfo.InvariantCulture);

    [GeneratedRegex(@"\A[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\z")]
    private static partial Regex NamePattern();
}
