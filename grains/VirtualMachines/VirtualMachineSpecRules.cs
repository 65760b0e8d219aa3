using System.Text;
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

    /// <exception cref="FaultException">name-invalid; virtual-machine-invalid.</exception>
    public static VirtualMachineSpec Require(VirtualMachineSpec spec)
    {
        Names.RequireHostName(spec.Name);
        if (spec.Cpus is < 1 or > MaxCpus) throw Refused($"cpus is {spec.Cpus}: 1 to {MaxCpus} are allowed.");
        if (spec.MemoryBytes is < MinMemoryBytes or > MaxMemoryBytes || spec.MemoryBytes % (1L << 20) is not (null or 0))
            throw Refused($"memoryBytes is {spec.MemoryBytes}: 32 MiB to 1 TiB in whole MiB are allowed.");
        RequireDisks(spec.DataDisks ?? []);
        RequireForwards(spec.PortForwards ?? []);
        RequireSeed(spec);
        return spec;
    }

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
        if (keys.Any(key => key.Length > MaxSshKeyLength || key.Any(char.IsControl) || !key.Contains(' ', StringComparison.Ordinal)))
            throw Refused("an entry of sshAuthorizedKeys is not one line of an OpenSSH public key.");
        if (spec.UserData is not { } userData) return;
        if (Encoding.UTF8.GetByteCount(userData) > MaxUserDataBytes) throw Refused("userData has more than 64 KiB.");
        if (keys.Count > 0) throw Refused("userData and sshAuthorizedKeys are both given: put the keys into userData.");
    }

    private static FaultException Refused(string message) => FaultException.Invalid("virtual-machine-invalid", $"The virtual machine is refused: {message}");
}
