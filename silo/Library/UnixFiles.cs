using System.ComponentModel;
using System.Runtime.InteropServices;
using System.Text;

namespace Instances.Library;

/// <summary>Linux' file system calls, those that .NET does not offer and those that it offers on Unix only.</summary>
#pragma warning disable CA1416 // Hosts run Linux: there is no other platform to guard against, and no use in marking every caller.
internal static class UnixFiles
{
    private const int ReadOnlyDirectory = 0x0 | 0x80000; // O_RDONLY | O_CLOEXEC
    private const int CurrentFolder = -100; // AT_FDCWD
    private const uint BlocksMask = 0x400; // STATX_BLOCKS
    private const int StatxBytes = 256;
    private const int StatxBlocksOffset = 48;

    /// <summary>Makes the content of a file durable. Moves what the kernel still holds of it, whoever wrote that.</summary>
    public static void SyncFile(string path) => Sync(path);

    /// <summary>Makes the names in a folder durable: a rename can be lost in a power cut until then.</summary>
    public static void SyncFolder(string path) => Sync(path);

    /// <summary>Renames durably, over what is there.</summary>
    public static void Publish(string from, string to)
    {
        File.Move(from, to, overwrite: true);
        SyncFolder(Path.GetDirectoryName(to)!);
    }

    /// <summary>The space that a file takes, which for a sparse file is less than its length.</summary>
    public static long AllocatedBytes(string path)
    {
        // statx, not stat: its structure is the same on every architecture.
        var buffer = new byte[StatxBytes];
        if (statx(CurrentFolder, PathBytes(path), 0, BlocksMask, buffer) != 0)
            throw Failure("statx", path);
        return BitConverter.ToInt64(buffer, StatxBlocksOffset) * 512;
    }

    public static void ChangeMode(string path, UnixFileMode mode) => File.SetUnixFileMode(path, mode);

    /// <summary>For a file that only its owner can read, made anew.</summary>
    public static FileStreamOptions PrivateFile() => new()
    {
        Mode = FileMode.Create,
        Access = FileAccess.Write,
        BufferSize = 0,
        UnixCreateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite,
    };

    /// <summary>Makes a folder that only its owner can enter. One that is there is left as it is.</summary>
    public static void CreatePrivateFolder(string path) =>
        Directory.CreateDirectory(path, UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute);

    public static void ChangeOwner(string path, UnixUser owner)
    {
        if (chown(PathBytes(path), owner.UserId, owner.GroupId) != 0)
            throw Failure("chown", path);
    }

    private static void Sync(string path)
    {
        var descriptor = open(PathBytes(path), ReadOnlyDirectory);
        if (descriptor < 0)
            throw Failure("open", path);
        try
        {
            if (fsync(descriptor) != 0)
                throw Failure("fsync", path);
        }
        finally
        {
            _ = close(descriptor);
        }
    }

    // The same exceptions as .NET's own calls: HResult holds errno.
    private static IOException Failure(string call, string path)
    {
        var error = Marshal.GetLastPInvokeError();
        var message = $"{call} of '{path}' failed: {new Win32Exception(error).Message}";
        return error == 2 ? new FileNotFoundException(message, path) : new IOException(message, error);
    }

    private static byte[] PathBytes(string path) => Encoding.UTF8.GetBytes(path + '\0');

    [DllImport("libc", SetLastError = true)]
    private static extern int open(byte[] path, int flags);

    [DllImport("libc", SetLastError = true)]
    private static extern int fsync(int descriptor);

    [DllImport("libc", SetLastError = true)]
    private static extern int close(int descriptor);

    [DllImport("libc", SetLastError = true)]
    private static extern int chown(byte[] path, uint owner, uint group);

    [DllImport("libc", SetLastError = true)]
    private static extern int statx(int folder, byte[] path, int flags, uint mask, byte[] buffer);
}
