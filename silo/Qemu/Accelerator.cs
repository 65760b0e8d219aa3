namespace Instances.Qemu;

/// <summary>How the guests' instructions are executed.</summary>
internal static class Accelerator
{
    public const string Kvm = "kvm";
    public const string Tcg = "tcg";
    public const string KvmDevice = "/dev/kvm";

    /// <summary>In a virtual machine without nesting, the device may exist and open, but run no guest. So the CPU flags are checked too.</summary>
    public static string Detect(AcceleratorChoice choice, string device = KvmDevice, string cpuInfo = "/proc/cpuinfo") => choice switch
    {
        AcceleratorChoice.Kvm => Kvm,
        AcceleratorChoice.Tcg => Tcg,
        AcceleratorChoice.Auto => Opens(device) && HasVirtualization(cpuInfo) ? Kvm : Tcg,
    };

    /// <summary>Memory that QEMU needs besides its guest's: its heap, the caches of its disks' tables and, under emulation, the translated code.</summary>
    public static long OverheadBytes(string accelerator) => accelerator == Kvm ? 128L << 20 : 256L << 20;

    private static bool Opens(string device)
    {
        try
        {
            using var handle = File.OpenHandle(device, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite);
            return true;
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            return false;
        }
    }

    private static bool HasVirtualization(string cpuInfo)
    {
        var flags = File.ReadLines(cpuInfo).FirstOrDefault(line => line.StartsWith("flags", StringComparison.Ordinal));
        return flags is not null && flags.Split(' ').Any(flag => flag is "svm" or "vmx");
    }
}
