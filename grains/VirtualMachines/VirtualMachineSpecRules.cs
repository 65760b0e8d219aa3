using System.Buffers.Binary;
using System.Buffers.Text;
using System.Text;
using System.Text.Json;
using Instances.Faults;
using Instances.Library;

namespace Instances.VirtualMachines;

/// <summary>The bounds that <see cref="VirtualMachineSpec"/> states.</summary>
internal static class VirtualMachineSpecRules
{
    public const int DefaultCpus = 1;
    public const long DefaultMemoryBytes = 256L << 20;
    public const int MaxCpus = 64;
    public const long MinMemoryBytes = 32L << 20;
    public const long MaxMemoryBytes = 1L << 40;
    public const int MaxDisks = 15;
    public const long MinDiskBytes = 1L << 20;
    public const long MaxDiskBytes = 64L << 40;
    public const int MaxPortForwards = 32;
    public const int MaxSshKeys = 32;
    public const int MaxSshKeyLength = 16 * 1024;
    public const int MaxUserDataBytes = 64 * 1024;

    private const char ByteOrderMark = '\uFEFF';

    /// <returns>As it is stored.</returns>
    /// <exception cref="FaultException">name-invalid; virtual-machine-invalid.</exception>
    public static VirtualMachineSpec Require(VirtualMachineSpec spec)
    {
        spec = Normalized(spec);
        Names.RequireHostName(spec.Name);
        if (spec.Cpus is < 1 or > MaxCpus) throw Refused($"cpus is {spec.Cpus}: 1 to {MaxCpus} are allowed.");
        if (spec.MemoryBytes is < MinMemoryBytes or > MaxMemoryBytes || spec.MemoryBytes % (1L << 20) is not (null or 0))
            throw Refused($"memoryBytes is {spec.MemoryBytes}: 32 MiB to 1 TiB in whole MiB are allowed.");
        RequireDisks(spec.DataDisks ?? []);
        RequireForwards(spec.PortForwards ?? []);
        RequireSeed(spec);
        return spec;
    }

    /// <summary>An empty list is the same as none, and a byte order mark is dropped.</summary>
    public static VirtualMachineSpec Normalized(VirtualMachineSpec spec) => spec with
    {
        DataDisks = spec.DataDisks is { Count: > 0 } ? spec.DataDisks : null,
        PortForwards = spec.PortForwards is { Count: > 0 } ? spec.PortForwards : null,
        SshAuthorizedKeys = spec.SshAuthorizedKeys is { Count: > 0 } ? spec.SshAuthorizedKeys : null,
        UserData = spec.UserData?.TrimStart(ByteOrderMark),
    };

    public static bool AreSame(VirtualMachineSpec one, VirtualMachineSpec other) =>
        JsonSerializer.SerializeToUtf8Bytes(Normalized(one), InstancesJson.Options).AsSpan().SequenceEqual(JsonSerializer.SerializeToUtf8Bytes(Normalized(other), InstancesJson.Options));

    /// <summary>The user data as the guest gets it; null if it has none.</summary>
    public static byte[]? UserDataOf(VirtualMachineSpec spec) =>
        spec.UserDataBase64 is { } bytes ? Convert.FromBase64String(bytes) : spec.UserData is { } text ? Encoding.UTF8.GetBytes(text) : null;

    /// <exception cref="FaultException">virtual-machine-too-small.</exception>
    public static void RequireEnough(string name, int cpus, long memoryBytes, ImageView image)
    {
        var (minCpus, minMemoryBytes) = (image.Details.MinCpus ?? 0, image.Details.MinMemoryBytes ?? 0);
        if (cpus < minCpus) throw TooSmall($"{cpus} CPUs", $"{minCpus}");
        if (memoryBytes < minMemoryBytes) throw TooSmall($"{memoryBytes.Bytes()} of memory", minMemoryBytes.Bytes());

        FaultException TooSmall(string has, string needs) => FaultException.Invalid(
            "virtual-machine-too-small", $"The virtual machine '{name}' has {has}, and the image '{image.Name}' needs {needs}: give it more, or choose another image.");
    }

    private static void RequireDisks(IReadOnlyList<long> disks)
    {
        if (disks.Count >= MaxDisks) throw Refused($"dataDisks has {disks.Count} sizes: a virtual machine has at most {MaxDisks} disks in all.");
        foreach (var size in disks)
        {
            if (size is < MinDiskBytes or > MaxDiskBytes || size % 512 != 0)
                throw Refused($"a data disk has {size} bytes: 1 MiB to 64 TiB in multiples of 512 are allowed.");
        }
    }

    private static void RequireForwards(IReadOnlyList<PortForward> forwards)
    {
        if (forwards.Count > MaxPortForwards) throw Refused($"portForwards has {forwards.Count} entries: {MaxPortForwards} are allowed.");
        foreach (var forward in forwards)
        {
            if (forward.GuestPort is < 1 or > 65535) throw Refused($"guestPort is {forward.GuestPort}: 1 to 65535 are allowed.");
            if (forward.HostPort is not 0 and (< 1024 or > 65535)) throw Refused($"hostPort is {forward.HostPort}: 1024 to 65535 are allowed, or 0 for a free one.");
        }

        var taken = forwards.Where(forward => forward.HostPort != 0).GroupBy(forward => (forward.HostPort, forward.Protocol)).FirstOrDefault(group => group.Count() > 1);
        if (taken is not null) throw Refused($"hostPort {taken.Key.HostPort} is named twice.");
    }

    private static void RequireSeed(VirtualMachineSpec spec)
    {
        var keys = spec.SshAuthorizedKeys ?? [];
        if (keys.Count > MaxSshKeys) throw Refused($"sshAuthorizedKeys has {keys.Count} keys: {MaxSshKeys} are allowed.");
        foreach (var key in keys) RequireSshKey(key);
        if (spec.UserData is not null && spec.UserDataBase64 is not null) throw Refused("userData and userDataBase64 are both given: give one of them, and null for the other.");
        if (spec.UserData is { } text)
        {
            if (text.Contains('\0', StringComparison.Ordinal)) throw Refused("userData holds the character U+0000, which no text has: give bytes as userDataBase64.");
            if (Encoding.UTF8.GetByteCount(text) > MaxUserDataBytes) throw Refused("userData has more than 64 KiB.");
        }

        if (spec.UserDataBase64 is { } base64)
        {
            if (!Base64.IsValid(base64, out var length)) throw Refused("userDataBase64 is not base64.");
            if (length > MaxUserDataBytes) throw Refused("userDataBase64 has more than 64 KiB.");
        }

        if (keys.Count > 0 && (spec.UserData ?? spec.UserDataBase64) is not null) throw Refused("user data and sshAuthorizedKeys are both given: put the keys into the user data.");
    }

    /// <summary>One line of an OpenSSH public key: the type, base64 of fields that begin with the same type, perhaps a comment.</summary>
    private static void RequireSshKey(string key)
    {
        var parts = key.Split(' ', 3, StringSplitOptions.RemoveEmptyEntries | StringSplitOptions.TrimEntries);
        if (key.Length > MaxSshKeyLength || key.Any(char.IsControl) || parts.Length < 2 || !IsSshKey(parts[0], parts[1]))
            throw Refused($"sshAuthorizedKeys has the entry '{(key.Length > 40 ? key[..40] + "…" : key)}', which is not one line of an OpenSSH public key, such as 'ssh-ed25519 AAAA… name': copy the line of a .pub file.");
    }

    private static bool IsSshKey(string type, string base64)
    {
        var bytes = new byte[MaxSshKeyLength];
        if (!Convert.TryFromBase64String(base64, bytes, out var length)) return false;
        var rest = bytes.AsSpan(0, length);
        var fields = 0;
        for (; rest.Length >= sizeof(int); fields++)
        {
            var size = BinaryPrimitives.ReadInt32BigEndian(rest);
            if (size < 0 || size > rest.Length - sizeof(int)) return false;
            if (fields == 0 && !rest.Slice(sizeof(int), size).SequenceEqual(Encoding.UTF8.GetBytes(type))) return false;
            rest = rest[(sizeof(int) + size)..];
        }

        // Keys of security devices end with flags in single bytes.
        return fields >= 2 && (rest.IsEmpty || type.StartsWith("sk-", StringComparison.Ordinal));
    }

    private static FaultException Refused(string message) => FaultException.Invalid("virtual-machine-invalid", $"The virtual machine is refused: {message}");
}
