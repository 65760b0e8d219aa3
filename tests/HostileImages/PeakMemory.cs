using System.Runtime.InteropServices;

namespace Instances.Library.Import;

/// <summary>The memory of the programs that this process has run and that have ended.</summary>
internal static class PeakMemory
{
    private const int Children = -1; // RUSAGE_CHILDREN
    private const int UsageBytes = 144;
    private const int PeakOffset = 32; // ru_maxrss, behind two times of two numbers each

    /// <summary>The most that any one of them had resident, in bytes. Never gets smaller.</summary>
    public static long OfChildren()
    {
        var usage = new byte[UsageBytes];
        return getrusage(Children, usage) == 0 ? BitConverter.ToInt64(usage, PeakOffset) * 1024 : throw new InvalidOperationException("getrusage failed.");
    }

    [DllImport("libc", SetLastError = true)]
    private static extern int getrusage(int who, byte[] usage);
}
