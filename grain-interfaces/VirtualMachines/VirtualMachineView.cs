using System.Text.Json.Serialization;
using Instances.Appliances;
using Instances.Hosts;
using Instances.Library;

namespace Instances.VirtualMachines;

public enum VirtualMachineStatus
{
    Undeployed,
    Deploying,
    Running,
    Paused,

    /// <summary>Deployed and powered off: its disks are kept on its host.</summary>
    Stopped,

    /// <summary>Held for a capture.</summary>
    Capturing,
    Undeploying,

    /// <summary>Deployed, but its state is not known: its host is unreachable, or has lost it.</summary>
    Unknown,
}

/// <summary>A TCP or UDP port of the host's loopback address that leads into the guest.</summary>
/// <param name="GuestPort">1 to 65535.</param>
/// <param name="HostPort">1024 to 65535, or 0 to have a free one chosen at each deploy.</param>
[GenerateSerializer, Immutable, Alias("instances.PortForward")]
public sealed record PortForward(
    [property: Id(0)] int GuestPort,
    [property: Id(1)] int HostPort = 0,
    [property: Id(2)] TransportProtocol Protocol = TransportProtocol.Tcp)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData, Id(UnknownMembers.Id)]
    public UnknownMembers? Unknown { get; init; }
}

/// <summary>A port of a host that one machine at a time can have.</summary>
[GenerateSerializer, Immutable, Alias("instances.HostPort")]
public readonly record struct HostPort([property: Id(0)] int Port, [property: Id(1)] TransportProtocol Protocol)
{
    /// <summary>The ports that are named, or were already chosen.</summary>
    public static IReadOnlyList<HostPort> Of(IEnumerable<PortForward>? forwards) =>
        [.. (forwards ?? []).Where(forward => forward.HostPort != 0).Select(forward => new HostPort(forward.HostPort, forward.Protocol))];
}

public enum TransportProtocol
{
    Tcp,
    Udp,
}

/// <summary>Which identity a guest has: the NoCloud <c>instance-id</c>. cloud-init runs its first-boot work (host keys, users, user data) once for each identity.</summary>
public enum MachineIdentity
{
    /// <summary>The identity of the machine that the image was captured from: the guest continues as that machine. For an image without one, the machine's own.</summary>
    Keep,

    /// <summary>A new identity at each deployment.</summary>
    New,
}

/// <param name="Name">The machine's name and its guest's host name: 1 to 63 letters, digits and hyphens; unique in its appliance.</param>
/// <param name="Image">The image to deploy, Ready.</param>
/// <param name="Cpus">1 to 64, not below the image's minimum; null for the image's default, or 1 if the image has none.</param>
/// <param name="MemoryBytes">32 MiB to 1 TiB, a multiple of 1 MiB, not below the image's minimum; null for the image's default, or 256 MiB if the image has
/// none.</param>
/// <param name="DataDisks">Sizes in bytes of blank disks behind those of the image, each 1 MiB to 64 TiB and a multiple of 512; at most 15 disks in all.</param>
/// <param name="PortForwards">At most 32.</param>
/// <param name="SshAuthorizedKeys">OpenSSH public keys for the guest's default user, at most 32.</param>
/// <param name="UserData">Text, given to the guest as NoCloud user data as it is, without a byte order mark; at most 64 KiB. Excludes SSH keys, which it can hold itself.</param>
/// <param name="UserDataBase64">The same as bytes in base64, such as a gzip file; at most 64 KiB of them. Excludes UserData and SSH keys.</param>
/// <param name="Identity">Null for the machine's own identity: it stays the same through captures and redeployments, and a machine that is made from another machine's image starts
/// with a new one.</param>
[GenerateSerializer, Immutable, Alias("instances.VirtualMachineSpec")]
public sealed record VirtualMachineSpec(
    [property: Id(0)] string Name,
    [property: Id(1)] ImageId Image,
    [property: Id(2)] int? Cpus = null,
    [property: Id(3)] long? MemoryBytes = null,
    [property: Id(4)] IReadOnlyList<long>? DataDisks = null,
    [property: Id(5)] IReadOnlyList<PortForward>? PortForwards = null,
    [property: Id(6)] IReadOnlyList<string>? SshAuthorizedKeys = null,
    [property: Id(7)] string? UserData = null,
    [property: Id(8)] MachineIdentity? Identity = null,
    [property: Id(9)] string? UserDataBase64 = null)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData, Id(UnknownMembers.Id)]
    public UnknownMembers? Unknown { get; init; }
}

/// <param name="Host">Where it is deployed, or null.</param>
/// <param name="Disks">The disks while it is deployed, the boot disk first; empty otherwise.</param>
/// <param name="WishedStatus">Running, Paused or Stopped, as users requested or the guest did by shutting down; null when Undeployed.</param>
/// <param name="Problem">Why the status is not the wished one, or what else is wrong with the machine, and what to do about it; null if nothing is wrong.</param>
/// <param name="Identity">As the machine was created or changed; null for the machine's own identity.</param>
/// <param name="InstanceId">The guest's effective identity (the NoCloud <c>instance-id</c>); null when Undeployed.</param>
[GenerateSerializer, Immutable, Alias("instances.VirtualMachineView")]
public sealed record VirtualMachineView(
    [property: Id(0)] VirtualMachineId Id,
    [property: Id(1)] ApplianceId Appliance,
    [property: Id(2)] string Name,
    [property: Id(3)] VirtualMachineStatus Status,
    [property: Id(4)] ImageId Image,
    [property: Id(7)] IReadOnlyList<long> DataDisks,
    [property: Id(9)] HostId? Host,
    [property: Id(10)] IReadOnlyList<DiskChain> Disks,
    [property: Id(11)] DateTimeOffset CreatedAt,
    [property: Id(12)] VirtualMachineStatus? WishedStatus = null,
    [property: Id(13)] string? Problem = null,
    [property: Id(14)] MachineIdentity? Identity = null,
    [property: Id(15)] string? InstanceId = null)
{
    /// <summary>As in the specification; null for the image's default.</summary>
    [Id(16)]
    public int? Cpus { get; init; }

    /// <summary>As in the specification; null for the image's default.</summary>
    [Id(17)]
    public long? MemoryBytes { get; init; }

    /// <summary>As in the specification: a host port of 0 is chosen at each deployment.</summary>
    [Id(18)]
    public IReadOnlyList<PortForward> PortForwards { get; init; } = [];

    /// <summary>As in the specification.</summary>
    [Id(19)]
    public IReadOnlyList<string>? SshAuthorizedKeys { get; init; }

    /// <summary>SHA-256 of the user data in hex; null if it has none. The user data itself is not shown: it may hold passwords, and lists would repeat it.</summary>
    [Id(20)]
    public string? UserDataSha256 { get; init; }

    /// <summary>One more with every change of its specification. Its ETag.</summary>
    [Id(21)]
    public long Version { get; init; } = 1;

    // Views that an earlier release has stored have the effective values under the names of the specified ones.

    /// <summary>The effective value, now or at the next deployment: the machine's own, or the image's default.</summary>
    [Id(5)]
    public int EffectiveCpus { get => field == 0 ? Cpus ?? 0 : field; init; }

    /// <summary>The effective value, now or at the next deployment: the machine's own, or the image's default.</summary>
    [Id(6)]
    public long EffectiveMemoryBytes { get => field == 0 ? MemoryBytes ?? 0 : field; init; }

    /// <summary>While it is deployed: with the host ports that are in use; as in the specification otherwise.</summary>
    [Id(8)]
    public IReadOnlyList<PortForward> EffectivePortForwards { get => field ?? PortForwards; init; }

    /// <summary>What the console shows about a guest that does not boot; null otherwise.</summary>
    [Id(22)]
    public string? Hint { get; init; }
}

/// <summary>A disk as a chain of layers.</summary>
/// <param name="Layers">From the base to the top, at least one. For a deployed machine the last one is its writable top.</param>
/// <param name="VirtualSizeBytes">What the guest sees as the size of the disk.</param>
[GenerateSerializer, Immutable, Alias("instances.DiskChain")]
public sealed record DiskChain(
    [property: Id(0)] IReadOnlyList<LayerId> Layers,
    [property: Id(1)] long VirtualSizeBytes)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData, Id(UnknownMembers.Id)]
    public UnknownMembers? Unknown { get; init; }
}

public enum PowerAction
{
    /// <summary>Starts a stopped machine on its disks as they are.</summary>
    On,

    /// <summary>Cuts the power: what the guest had not written is lost.</summary>
    Off,

    /// <summary>Presses the power button (ACPI) and returns; the machine is Stopped when its guest has shut down.</summary>
    Shutdown,

    /// <summary>Presses the reset button: what the guest had not written is lost.</summary>
    Reset,
    Pause,
    Resume,
}
