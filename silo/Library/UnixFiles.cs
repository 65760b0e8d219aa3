using System.ComponentModel;
using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace Instances.Library;

/// <summary>Linux' file system calls, those that .NET does not offer and those that it offers on Unix only.</summary>
#pragma warning disable CA1416 // Hosts run Linux: there is no other platform to guard against, and no use in marking every caller.
internal static class UnixFiles
{
    /// <summary>Of what nobody writes to any more.</summary>
    public const UnixFileMode SealedMode = UnixFileMode.UserRead | UnixFileMode.GroupRead | UnixFileMode.OtherRead;

    private const int ReadOnlyDirectory = 0x0 | 0x80000; // O_RDONLY | O_CLOEXEC
    private const int CurrentFolder = -100; // AT_FDCWD
    private const uint BlocksMask = 0x400; // STATX_BLOCKS
    private const int StatxBytes = 256;
    private const int StatxBlocksOffset = 48;
    private const int SeekData = 3; // SEEK_DATA
    private const int SeekHole = 4; // SEEK_HOLE
    private const nuint CloneFile = 0x40049409; // FICLONE
    private const int NothingThere = 6; // ENXIO
    private const long OpenAt2 = 437; // SYS_openat2, on every architecture
    private const ulong OpenFlags = 0x0 | 0x100 | 0x800 | 0x80000; // O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC
    private const ulong ResolveBeneathWithoutLinks = 0x02 | 0x04 | 0x08; // RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH
    private const int EmptyPath = 0x1000; // AT_EMPTY_PATH
    private const uint BasicStats = 0x7FF; // STATX_BASIC_STATS

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

    /// <summary>Makes a file durable, read-only and root's: a machine's user must not be able to change what other machines stand on.</summary>
    /// <returns>Its space in bytes.</returns>
    public static long Seal(string path)
    {
        ChangeMode(path, SealedMode);
        if (Environment.IsPrivilegedProcess)
            ChangeOwner(path, UnixUser.Root);
        SyncFile(path);
        SyncFolder(Path.GetDirectoryName(path)!);
        return AllocatedBytes(path);
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

    /// <summary>As of a path.</summary>
    public static long AllocatedBytes(SafeFileHandle file)
    {
        var buffer = new byte[StatxBytes];
        if (statx((int)Descriptor(file), [0], EmptyPath, BlocksMask, buffer) != 0)
            throw Failure("statx", "an open file");
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

    /// <summary>Gives a file a second name.</summary>
    /// <returns>0, or the error: another file system, a file system without links, too many of them, or a name that is taken.</returns>
    public static int Link(string path, string name) => link(PathBytes(path), PathBytes(name)) == 0 ? 0 : Marshal.GetLastPInvokeError();

    /// <summary>Makes a file share the content of another one, where the file system can (<c>FICLONE</c>).</summary>
    /// <returns>0, or the error: another file system, or one that cannot.</returns>
    public static int Clone(SafeFileHandle from, SafeFileHandle to) => ioctl(to, CloneFile, Descriptor(from)) == 0 ? 0 : Marshal.GetLastPInvokeError();

    /// <summary>Where the next data of a sparse file lies, at or behind an offset.</summary>
    /// <returns>Its offset and length, or null where only a hole follows.</returns>
    public static (long Offset, long Length)? NextData(SafeFileHandle file, long offset)
    {
        var start = lseek(file, offset, SeekData);
        if (start < 0)
            return Marshal.GetLastPInvokeError() == NothingThere ? null : throw Failure("lseek", "a layer");
        var end = lseek(file, start, SeekHole);
        return end < 0 ? throw Failure("lseek", "a layer") : (start, end - start);
    }

    /// <summary>Opens a file below a folder for reading, without following a link in any part of the path and without waiting for a writer of a FIFO
    /// (<c>openat2</c>, Linux 5.6).</summary>
    /// <exception cref="IOException">There is none, or it is reached otherwise.</exception>
    public static SafeFileHandle OpenBeneath(string folder, string path)
    {
        var root = open(PathBytes(folder), ReadOnlyDirectory);
        if (root < 0)
            throw Failure("open", folder);
        try
        {
            ulong[] how = [OpenFlags, 0, ResolveBeneathWithoutLinks];
            var descriptor = syscall(OpenAt2, root, PathBytes(path), how, (nuint)(how.Length * sizeof(ulong)));
            return descriptor >= 0 ? new SafeFileHandle((nint)descriptor, ownsHandle: true) : throw Failure("openat2", path);
        }
        finally
        {
            _ = close(root);
        }
    }

    /// <summary>What the file system says of an open file.</summary>
    public static FileFacts FactsOf(SafeFileHandle file)
    {
        var buffer = new byte[StatxBytes];
        if (statx((int)Descriptor(file), [0], EmptyPath, BasicStats, buffer) != 0)
            throw Failure("statx", "an open file");
        return new(
            IsRegular: (BitConverter.ToUInt16(buffer, 28) & 0xF000) == 0x8000,
            Links: BitConverter.ToUInt32(buffer, 16),
            Inode: BitConverter.ToUInt64(buffer, 32),
            Bytes: BitConverter.ToInt64(buffer, 40),
            Changed: (BitConverter.ToInt64(buffer, 96), BitConverter.ToUInt32(buffer, 104)),
            Modified: (BitConverter.ToInt64(buffer, 112), BitConverter.ToUInt32(buffer, 120)));
    }

    private static nint Descriptor(SafeFileHandle file) => file.DangerousGetHandle();

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
    private static extern long syscall(long number, int folder, byte[] path, ulong[] how, nuint howBytes);

    [DllImport("libc", SetLastError = true)]
    private static extern int fsync(int descriptor);

    [DllImport("libc", SetLastError = true)]
    private static extern int close(int descriptor);

    [DllImport("libc", SetLastError = true)]
    private static extern int chown(byte[] path, uint owner, uint group);

    [DllImport("libc", SetLastError = true)]
    private static extern int link(byte[] path, byte[] name);

    [DllImport("libc", SetLastError = true)]
    private static extern int ioctl(SafeFileHandle file, nuint request, nint argument);

    [DllImport("libc", SetLastError = true)]
    private static extern long lseek(SafeFileHandle file, long offset, int whence);

    [DllImport("libc", SetLastError = true)]
    private static extern int statx(int folder, byte[] path, int flags, uint mask, byte[] buffer);
}

/// <summary>What the file system says of a file. Two that are equal are of a file that nobody wrote to in between.</summary>
/// <param name="Links">How many names it has.</param>
/// <param name="Changed">Seconds and nanoseconds of its last change, of its names and rights too.</param>
/// <param name="Modified">Seconds and nanoseconds of its last write.</param>
internal readonly record struct FileFacts(bool IsRegular, uint Links, ulong Inode, long Bytes, (long Seconds, uint Nanoseconds) Changed, (long Seconds, uint Nanoseconds) Modified);
