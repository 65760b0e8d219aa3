using System.ComponentModel;
using System.Runtime.InteropServices;
using Microsoft.Win32.SafeHandles;

namespace Instances.Qemu;

/// <summary>The system calls that the class library does not offer.</summary>
internal static class Posix
{
    private const int ReadOnly = 0;
    private const int ReadWrite = 2;
    private const int Append = 0x400;
    private const int NonBlocking = 0x800;
    private const int CloseOnExec = 0x80000;
    private const uint CloseRangeCloseOnExec = 4;
    private const int CurrentFolder = -100;
    private const uint BasicStatistics = 0x7ff;

    // These two differ between the architectures.
    private static readonly int Folder = RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 0x4000 : 0x10000;
    private static readonly int NoFollow = RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 0x8000 : 0x20000;

    /// <summary>What a file takes on its disk, and who owns it.</summary>
    public readonly record struct FileStatistics(uint Group, ushort Mode, long AllocatedBytes);

    public static FileStatistics Statistics(string path)
    {
        // struct statx has one layout on every architecture, unlike struct stat.
        var buffer = new byte[256];
        Check(statx(CurrentFolder, path, 0, BasicStatistics, buffer), path);
        return new(BitConverter.ToUInt32(buffer, 24), BitConverter.ToUInt16(buffer, 28), BitConverter.ToInt64(buffer, 48) * 512);
    }

    /// <summary>A folder as a handle: <c>/proc/self/fd/N/name</c> is a short path to what is in it, however deep it lies.</summary>
    public static SafeFileHandle OpenFolder(string path) => Open(path, ReadOnly | Folder | CloseOnExec);

    /// <summary>A file that somebody less trusted may have put there: a link is not followed, and a pipe does not block.</summary>
    public static SafeFileHandle OpenUntrusted(string path) => Open(path, ReadOnly | NoFollow | NonBlocking | CloseOnExec);

    /// <summary>The same, to read it and to add to its end.</summary>
    public static SafeFileHandle OpenUntrustedForAppend(string path) => Open(path, ReadWrite | Append | NoFollow | NonBlocking | CloseOnExec);

    /// <summary>Makes what was renamed, created or deleted in a folder durable.</summary>
    public static void SynchronizeFolder(string path)
    {
        using var folder = OpenFolder(path);
        Check(fsync(folder), path);
    }

    public static void ChangeOwner(string path, uint user, uint group) => Check(chown(path, user, group), path);

    /// <summary>Keeps every open descriptor of this process, whoever opened it, from the programs that it starts.</summary>
    /// <returns>False where the kernel is older than 5.11.</returns>
    public static bool KeepDescriptorsFromChildren() => close_range(3, uint.MaxValue, CloseRangeCloseOnExec) == 0;

    private static SafeFileHandle Open(string path, int flags)
    {
        var descriptor = open(path, flags);
        Check(descriptor, path);
        return new SafeFileHandle(descriptor, ownsHandle: true);
    }

    private static void Check(int result, string path)
    {
        if (result >= 0) return;
        var error = Marshal.GetLastPInvokeError();
        throw new IOException($"{path}: {new Win32Exception(error).Message}", error);
    }

#pragma warning disable IDE1006, SYSLIB1054 // The names are the C library's; generated marshalling would need unsafe code.
    [DllImport("libc", SetLastError = true)]
    private static extern int statx(int folder, [MarshalAs(UnmanagedType.LPUTF8Str)] string path, int flags, uint mask, byte[] buffer);

    [DllImport("libc", SetLastError = true)]
    private static extern int open([MarshalAs(UnmanagedType.LPUTF8Str)] string path, int flags);

    [DllImport("libc", SetLastError = true)]
    private static extern int fsync(SafeFileHandle file);

    [DllImport("libc", SetLastError = true)]
    private static extern int chown([MarshalAs(UnmanagedType.LPUTF8Str)] string path, uint user, uint group);

    [DllImport("libc", SetLastError = true)]
    private static extern int close_range(uint first, uint last, uint flags);
#pragma warning restore IDE1006, SYSLIB1054
}
