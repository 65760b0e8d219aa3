using System.ComponentModel;
using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using Microsoft.Win32.SafeHandles;

namespace Instances.Library;

/// <summary>The system calls that .NET does not offer, and the file calls that it offers on Unix only.</summary>
/// <remarks>Root never follows a link that another user may have created: files in another user's folder are opened with O_NOFOLLOW and changed through their descriptors.</remarks>
#pragma warning disable CA1416 // Hosts run Linux: there is no other platform to guard against, and no use in marking every caller.
internal static class UnixFiles
{
    /// <summary>The mode of files that only the silo's user reads and writes.</summary>
    public const UnixFileMode PrivateMode = UnixFileMode.UserRead | UnixFileMode.UserWrite;

    private const int GetOpenFileLock = 36; // F_OFD_GETLK
    private const short WriteLock = 1; // F_WRLCK
    private const short NoLock = 2; // F_UNLCK

    /// <summary>From QEMU's block/file-posix.c: the offset of the locks for used permissions, and that of the write permission.</summary>
    private const long QemuWriteByte = 101;

    /// <summary>The mode of folders above files of machines: their users can pass through, but not list them.</summary>
    public const UnixFileMode PassageMode = PrivateFolderMode | UnixFileMode.GroupExecute | UnixFileMode.OtherExecute;

    public const UnixFileMode PrivateFolderMode = PrivateMode | UnixFileMode.UserExecute;

    /// <summary>All permissions of users other than the owner.</summary>
    public const UnixFileMode OthersMode =
        UnixFileMode.GroupRead | UnixFileMode.GroupWrite | UnixFileMode.GroupExecute | UnixFileMode.OtherRead | UnixFileMode.OtherWrite | UnixFileMode.OtherExecute;

    public const UnixFileMode WriteModes = UnixFileMode.UserWrite | UnixFileMode.GroupWrite | UnixFileMode.OtherWrite;

    private const int ReadOnly = 0;
    private const int ReadWrite = 2;
    private const int Append = 0x400;
    private const int NonBlocking = 0x800;
    private const int CloseOnExec = 0x80000;
    private const int PathOnly = 0x200000; // O_PATH
    private const uint CloseRangeCloseOnExec = 4;
    private const int CurrentFolder = -100; // AT_FDCWD
    private const int RemoveFolder = 0x200; // AT_REMOVEDIR
    private const int EmptyPath = 0x1000; // AT_EMPTY_PATH
    private const uint BasicStats = 0x7FF; // STATX_BASIC_STATS
    private const int StatxBytes = 256;
    private const int SeekData = 3; // SEEK_DATA
    private const int SeekHole = 4; // SEEK_HOLE
    private const nuint CloneFile = 0x40049409; // FICLONE
    private const int NoSuchFile = 2; // ENOENT
    private const int NothingThere = 6; // ENXIO
    private const int IsFolder = 21; // EISDIR
    private const int NotEmpty = 39; // ENOTEMPTY
    private const long OpenAt2 = 437; // SYS_openat2, on every architecture
    private const ulong OpenFlags = 0x0 | 0x100 | 0x800 | 0x80000; // O_RDONLY | O_NOCTTY | O_NONBLOCK | O_CLOEXEC
    private const ulong ResolveBeneathWithoutLinks = 0x02 | 0x04 | 0x08; // RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS | RESOLVE_BENEATH

    /// <summary>No program creates deeper folders here. A compromised program must not exhaust the silo's stack and descriptors.</summary>
    private const int MaxTreeDepth = 32;

    // These two differ between the architectures.
    private static readonly int Folder = RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 0x4000 : 0x10000;
    private static readonly int NoFollow = RuntimeInformation.ProcessArchitecture == Architecture.Arm64 ? 0x8000 : 0x20000;

    /// <summary>The mode of a sealed layer. A group reads it only if the silo is root: otherwise machines run as the silo's user.</summary>
    public static UnixFileMode SealedMode { get; } = Environment.IsPrivilegedProcess ? UnixFileMode.UserRead | UnixFileMode.GroupRead : UnixFileMode.UserRead;

    /// <summary>Makes the content of a file durable. Writes all its buffers in the kernel, whichever process wrote them.</summary>
    public static void SyncFile(string path) => Sync(path);

    /// <summary>As <see cref="SyncFile"/>, without the times of the file: it does nothing if only those have changed.</summary>
    public static void SyncData(string path)
    {
        using var file = OpenUntrusted(path);
        if (fdatasync(file) != 0)
            throw Failure("fdatasync", path);
    }

    /// <summary>Makes the names in a folder durable: a rename can be lost in a power cut until then.</summary>
    public static void SyncFolder(string path) => Sync(path);

    /// <summary>Renames durably, and replaces an existing file.</summary>
    public static void Publish(string from, string to)
    {
        File.Move(from, to, overwrite: true);
        SyncFolder(Path.GetDirectoryName(to)!);
    }

    /// <summary>Makes a file durable, read-only and owned by root: a machine's user must not be able to change layers that other machines use.</summary>
    /// <param name="readers">The group whose members may read it. Used only if this process is root: only root can change the owner of a file.</param>
    /// <returns>Its space in bytes.</returns>
    public static long Seal(string path, uint readers)
    {
        using var file = OpenUntrusted(path);
        Protect(file, readers);
        if (fsync(file) != 0)
            throw Failure("fsync", path);
        SyncFolder(Path.GetDirectoryName(path)!);
        return AllocatedBytes(file);
    }

    /// <summary>Makes a file read-only and, if this process is root, root's and readable for a group.</summary>
    public static void Protect(SafeFileHandle file, uint readers)
    {
        // Change the owner first: the old owner could undo the change of the mode.
        if (Environment.IsPrivilegedProcess)
            ChangeOwner(file, UnixUser.Root with { GroupId = readers });
        File.SetUnixFileMode(file, SealedMode);
    }

    /// <summary>The space that a file takes, which for a sparse file is less than its length.</summary>
    public static long AllocatedBytes(string path) => Statistics(path).AllocatedBytes;

    /// <summary>As of a path.</summary>
    public static long AllocatedBytes(SafeFileHandle file) => StatisticsOf(Statx(file)).AllocatedBytes;

    /// <exception cref="FileNotFoundException">There is none.</exception>
    public static FileStatistics Statistics(string path)
    {
        // statx, not stat: its structure is the same on every architecture.
        var buffer = new byte[StatxBytes];
        return statx(CurrentFolder, PathBytes(path), 0, BasicStats, buffer) == 0 ? StatisticsOf(buffer) : throw Failure("statx", path);
    }

    /// <summary>Allocates space for a part of a file. The file grows to the end of the part.</summary>
    /// <returns>False if there is not enough.</returns>
    public static bool TryAllocate(SafeFileHandle file, long offset, long bytes) => posix_fallocate(file, offset, bytes) == 0;

    public static void ChangeMode(string path, UnixFileMode mode) => File.SetUnixFileMode(path, mode);

    /// <summary>Options for a new file that only its owner can read.</summary>
    public static FileStreamOptions PrivateFile() => new()
    {
        Mode = FileMode.Create,
        Access = FileAccess.Write,
        BufferSize = 0,
        UnixCreateMode = PrivateMode,
    };

    /// <summary>Creates a folder with a mode. An existing folder gets the mode and, if this process is root, the owner root. Missing parents get <see cref="PassageMode"/>.</summary>
    /// <param name="isConfigured">Whether the configuration names it: then it may be a link, because only the operator can have created that.</param>
    /// <exception cref="IOException">The path is a link, or not a folder.</exception>
    public static void OwnFolder(string path, UnixFileMode mode, bool isConfigured = false)
    {
        if (Path.GetDirectoryName(Path.TrimEndingDirectorySeparator(Path.GetFullPath(path))) is { } parent && !Directory.Exists(parent))
            OwnFolder(parent, PassageMode);
        Directory.CreateDirectory(path, mode);
        using var folder = Open(path, ReadOnly | Folder | CloseOnExec | (isConfigured ? 0 : NoFollow));
        if (Environment.IsPrivilegedProcess)
            ChangeOwner(folder, UnixUser.Root);
        try
        {
            // Needed for new folders too, because of the process' umask.
            File.SetUnixFileMode(folder, mode);
        }
        catch (UnauthorizedAccessException) when (!Environment.IsPrivilegedProcess)
        {
            // It is another user's folder, and that user is responsible for it.
        }
    }

    public static void GiveFolder(string path, UnixUser owner)
    {
        using var folder = Open(path, ReadOnly | Folder | NoFollow | CloseOnExec);
        ChangeOwner(folder, owner);
    }

    public static void ChangeOwner(SafeFileHandle file, UnixUser owner)
    {
        if (fchown(file, owner.UserId, owner.GroupId) != 0)
            throw Failure("fchown", "an open file");
    }

    /// <summary>Gives a file to a user.</summary>
    /// <param name="maxLinks">How many hard links it may have. Another user may have created a second one.</param>
    /// <exception cref="IOException">It is a link, no regular file, or has more names.</exception>
    public static void Give(string path, UnixUser owner, UnixFileMode mode, uint maxLinks = uint.MaxValue)
    {
        using var file = OpenUntrusted(path);
        if (FactsOf(file) is not { IsRegular: true } facts || facts.Links > maxLinks)
            throw new IOException($"'{path}' is not a regular file with one name, and was not changed. Find out where it comes from, and delete it.");
        ChangeOwner(file, owner);
        File.SetUnixFileMode(file, mode);
    }

    /// <summary>Deletes a file, or a folder with its content. Follows no link, even if others change the folders meanwhile.</summary>
    /// <exception cref="IOException">It cannot be deleted, or another process keeps adding files.</exception>
    public static void DeleteTree(string path)
    {
        using var parent = OpenFolder(Path.GetDirectoryName(path)!);
        Delete(parent, Path.GetFileName(path), MaxTreeDepth);
    }

    /// <summary>A folder as a handle: <c>/proc/self/fd/N/name</c> is a short path to what is in it, however deep it lies.</summary>
    public static SafeFileHandle OpenFolder(string path) => Open(path, ReadOnly | Folder | CloseOnExec);

    /// <summary>A socket, to connect to it as <c>/proc/self/fd/N</c>. A link that a less trusted user has created is not followed.</summary>
    public static SafeFileHandle OpenSocket(SafeFileHandle folder, string name)
    {
        var descriptor = openat(folder, PathBytes(name), PathOnly | NoFollow | CloseOnExec);
        if (descriptor < 0)
            throw Failure("openat", name);
        var socket = new SafeFileHandle(descriptor, ownsHandle: true);
        if ((BitConverter.ToUInt16(Statx(socket), 28) & 0xF000) == 0xC000)
            return socket;
        socket.Dispose();
        throw new IOException($"'{name}' is not a socket.");
    }

    /// <summary>Opens a file that a less trusted user may have created: a link is not followed, and a pipe does not block.</summary>
    public static SafeFileHandle OpenUntrusted(string path) => Open(path, ReadOnly | NoFollow | NonBlocking | CloseOnExec);

    /// <summary>Opens a file in a folder of another user. It must have only one name, because the user may have created a hard link to another file.</summary>
    /// <exception cref="IOException">It has more names, or is not a regular file.</exception>
    public static SafeFileHandle OpenForeign(string path, bool forAppend = false)
    {
        var file = Open(path, (forAppend ? ReadWrite | Append : ReadOnly) | NoFollow | NonBlocking | CloseOnExec);
        if (FactsOf(file) is { IsRegular: true, Links: 1 })
            return file;
        file.Dispose();
        throw new IOException($"'{path}' is not a regular file with one name.");
    }

    /// <summary>Prevents the programs that this process starts from inheriting its open descriptors.</summary>
    /// <returns>False if the kernel is older than 5.11.</returns>
    public static bool KeepDescriptorsFromChildren() => close_range(3, uint.MaxValue, CloseRangeCloseOnExec) == 0;

    /// <summary>Sets the umask of this process and its programs.</summary>
    public static void SetMask(UnixFileMode mask) => _ = umask((uint)mask);

    /// <summary>Creates a hard link to a file.</summary>
    /// <returns>0, or the error: another file system, a file system without hard links, too many of them, or a name that exists.</returns>
    public static int Link(string path, string name) => link(PathBytes(path), PathBytes(name)) == 0 ? 0 : Marshal.GetLastPInvokeError();

    /// <summary>Makes a file share the content of another one, if the file system can (<c>FICLONE</c>).</summary>
    /// <returns>0, or the error: another file system, or one that cannot.</returns>
    public static int Clone(SafeFileHandle from, SafeFileHandle to) => ioctl(to, CloneFile, Descriptor(from)) == 0 ? 0 : Marshal.GetLastPInvokeError();

    /// <summary>The next extent of a sparse file, at or after an offset.</summary>
    /// <returns>Its offset and length, or null if only a hole follows.</returns>
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
    /// <exception cref="IOException">There is no such file, or its path contains a link.</exception>
    public static SafeFileHandle OpenBeneath(string folder, string path)
    {
        using var root = OpenFolder(folder);
        ulong[] how = [OpenFlags, 0, ResolveBeneathWithoutLinks];
        var descriptor = syscall(OpenAt2, (int)Descriptor(root), PathBytes(path), how, (nuint)(how.Length * sizeof(ulong)));
        return descriptor >= 0 ? new SafeFileHandle((nint)descriptor, ownsHandle: true) : throw Failure("openat2", path);
    }

    /// <summary>The file system's information about an open file.</summary>
    public static FileFacts FactsOf(SafeFileHandle file)
    {
        var buffer = Statx(file);
        return new(
            IsRegular: (BitConverter.ToUInt16(buffer, 28) & 0xF000) == 0x8000,
            Links: BitConverter.ToUInt32(buffer, 16),
            Inode: BitConverter.ToUInt64(buffer, 32),
            Bytes: BitConverter.ToInt64(buffer, 40),
            Changed: (BitConverter.ToInt64(buffer, 96), BitConverter.ToUInt32(buffer, 104)),
            Modified: (BitConverter.ToInt64(buffer, 112), BitConverter.ToUInt32(buffer, 120)));
    }

    /// <summary>Whether a QEMU program may write to an open file. QEMU marks that with a lock on one byte, which belongs to the open file and not to the process.</summary>
    public static bool IsWrittenByQemu(SafeFileHandle file)
    {
        var probe = new FileLock { Type = WriteLock, Start = QemuWriteByte, Length = 1 };
        return fcntl(file, GetOpenFileLock, ref probe) == 0 && probe.Type != NoLock;
    }

    /// <summary>Reads a file to its end, to check its disk.</summary>
    /// <exception cref="IOException">The disk failed.</exception>
    public static async Task ReadWhole(string path, CancellationToken cancellationToken)
    {
        using var file = File.OpenHandle(path, options: FileOptions.Asynchronous | FileOptions.SequentialScan);
        var buffer = new byte[1 << 20];
        for (long read, offset = 0; (read = await RandomAccess.ReadAsync(file, buffer, offset, cancellationToken)) > 0; offset += read)
        {
        }
    }

    private static void Delete(SafeFileHandle parent, string name, int depthLeft)
    {
        if (unlinkat(parent, PathBytes(name), 0) == 0)
            return;
        switch (Marshal.GetLastPInvokeError())
        {
            case NoSuchFile:
                return;
            case IsFolder:
                break;
            default:
                throw Failure("unlinkat", name);
        }

        if (depthLeft == 0)
            throw new IOException($"'{name}' is deeper than {MaxTreeDepth} folders and was not deleted. Delete it manually.");
        var descriptor = openat(parent, PathBytes(name), ReadOnly | Folder | NoFollow | CloseOnExec);
        if (descriptor < 0)
            throw Failure("openat", name);
        using (var folder = new SafeFileHandle(descriptor, ownsHandle: true))
        {
            // Bound the attempts, because its owner could keep filling it.
            if (Environment.IsPrivilegedProcess)
                ChangeOwner(folder, UnixUser.Root);
            File.SetUnixFileMode(folder, PrivateFolderMode);
            foreach (var entry in Directory.EnumerateFileSystemEntries(PathTo(folder)))
                Delete(folder, Path.GetFileName(entry), depthLeft - 1);
        }

        if (unlinkat(parent, PathBytes(name), RemoveFolder) != 0 && Marshal.GetLastPInvokeError() is not NoSuchFile)
            throw Failure("unlinkat", name);
    }

    private static string PathTo(SafeFileHandle file) => string.Create(CultureInfo.InvariantCulture, $"/proc/self/fd/{Descriptor(file)}");

    private static nint Descriptor(SafeFileHandle file) => file.DangerousGetHandle();

    private static SafeFileHandle Open(string path, int flags)
    {
        var descriptor = open(PathBytes(path), flags);
        return descriptor >= 0 ? new SafeFileHandle(descriptor, ownsHandle: true) : throw Failure("open", path);
    }

    private static void Sync(string path)
    {
        using var file = Open(path, ReadOnly | CloseOnExec);
        if (fsync(file) != 0)
            throw Failure("fsync", path);
    }

    private static byte[] Statx(SafeFileHandle file)
    {
        var buffer = new byte[StatxBytes];
        return statx((int)Descriptor(file), [0], EmptyPath, BasicStats, buffer) == 0 ? buffer : throw Failure("statx", "an open file");
    }

    private static FileStatistics StatisticsOf(byte[] statx) => new(
        BitConverter.ToUInt32(statx, 20), BitConverter.ToUInt32(statx, 24), (UnixFileMode)(BitConverter.ToUInt16(statx, 28) & 0xFFF), BitConverter.ToInt64(statx, 48) * 512);

    // The same exceptions as .NET's own calls: HResult holds errno.
    private static IOException Failure(string call, string path)
    {
        var error = Marshal.GetLastPInvokeError();
        var message = $"{call} of '{path}' failed: {new Win32Exception(error).Message}";
        return error == NoSuchFile ? new FileNotFoundException(message, path) : new IOException(message, error);
    }

    private static byte[] PathBytes(string path) => Encoding.UTF8.GetBytes(path + '\0');

#pragma warning disable IDE1006, SYSLIB1054 // The names are the C library's; generated marshalling would need unsafe code.
    [DllImport("libc", SetLastError = true)]
    private static extern int open(byte[] path, int flags);

    [DllImport("libc", SetLastError = true)]
    private static extern int openat(SafeFileHandle folder, byte[] name, int flags);

    [DllImport("libc", SetLastError = true)]
    private static extern int unlinkat(SafeFileHandle folder, byte[] name, int flags);

    [DllImport("libc", SetLastError = true)]
    private static extern long syscall(long number, int folder, byte[] path, ulong[] how, nuint howBytes);

    [DllImport("libc", SetLastError = true)]
    private static extern int fcntl(SafeFileHandle file, int command, ref FileLock fileLock);

    [DllImport("libc", SetLastError = true)]
    private static extern int fsync(SafeFileHandle file);

    [DllImport("libc", SetLastError = true)]
    private static extern int fdatasync(SafeFileHandle file);

    [DllImport("libc", SetLastError = true)]
    private static extern int fchown(SafeFileHandle file, uint owner, uint group);

    [DllImport("libc")]
    private static extern int posix_fallocate(SafeFileHandle file, long offset, long bytes);

    [DllImport("libc", SetLastError = true)]
    private static extern int link(byte[] path, byte[] name);

    [DllImport("libc", SetLastError = true)]
    private static extern int ioctl(SafeFileHandle file, nuint request, nint argument);

    [DllImport("libc", SetLastError = true)]
    private static extern long lseek(SafeFileHandle file, long offset, int whence);

    [DllImport("libc", SetLastError = true)]
    private static extern int statx(int folder, byte[] path, int flags, uint mask, byte[] buffer);

    [DllImport("libc", SetLastError = true)]
    private static extern int close_range(uint first, uint last, uint flags);

    [DllImport("libc")]
    private static extern uint umask(uint mask);
#pragma warning restore IDE1006, SYSLIB1054

    /// <summary><c>struct flock</c> on 64 bits.</summary>
    [StructLayout(LayoutKind.Sequential)]
    private struct FileLock
    {
        public short Type;
        public short Whence;
        public long Start;
        public long Length;
        public int Process;
    }
}

/// <summary>The owner, the permissions and the space of a file.</summary>
internal readonly record struct FileStatistics(uint User, uint Group, UnixFileMode Mode, long AllocatedBytes);

/// <summary>The file system's information about a file. If two are equal, the file was not written in between.</summary>
/// <param name="Links">How many names it has.</param>
/// <param name="Changed">Seconds and nanoseconds of its last change, of its names and rights too.</param>
/// <param name="Modified">Seconds and nanoseconds of its last write.</param>
internal readonly record struct FileFacts(bool IsRegular, uint Links, ulong Inode, long Bytes, (long Seconds, uint Nanoseconds) Changed, (long Seconds, uint Nanoseconds) Modified);
