using System.Globalization;
using System.Runtime.InteropServices;
using System.Text;
using Instances.Library;
using Microsoft.Win32.SafeHandles;

namespace Instances.Hosting;

/// <summary>The folder of all data of a process. One process uses it at a time, and its host name never changes.</summary>
internal sealed class DataFolder : IDisposable
{
    private const string LockName = "lock";
    private const string HostNameName = "host.name";

    /// <summary>The name of every host in releases that did not keep the name in the data folder.</summary>
    private const string FormerHostName = "local";

    private const int ReadWrite = 0x2 | 0x40 | 0x80000; // O_RDWR | O_CREAT | O_CLOEXEC: no child process inherits the lock.
    private const int OwnerOnly = 0x180; // 0600
    private const int ExclusiveWithoutWaiting = 0x2 | 0x4; // LOCK_EX | LOCK_NB
    private const int WouldBlock = 11; // EWOULDBLOCK

    private readonly SafeFileHandle _lock;

    private DataFolder(string path, bool isNew, SafeFileHandle @lock) => (Path, IsNew, _lock) = (path, isNew, @lock);

    public string Path { get; }

    /// <summary>Whether no release has stored data in it yet.</summary>
    private bool IsNew { get; }

    /// <summary>Locks the folder for this process. The system releases the lock when the process ends in any way.</summary>
    /// <exception cref="StartException">Another process uses it, or it cannot be written.</exception>
    public static DataFolder Take(string path)
    {
        try
        {
            var isNew = !Directory.Exists(path) || !Directory.EnumerateFileSystemEntries(path).Any(entry => System.IO.Path.GetFileName(entry) is "instances.db" or "layers" or "machines");
            // The users of machines must be able to pass through it.
            if (!Directory.Exists(path)) UnixFiles.OwnFolder(path, UnixFiles.PassageMode);
            var file = Lock(path, System.IO.Path.Combine(path, LockName));
            SignLock(file);
            return new(path, isNew, file);
        }
        catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
        {
            throw new StartException($"The data folder {path} cannot be used: {exception.Message}", exception);
        }
    }

    /// <summary>The host's name: the folder's, else the configured one, else the machine's host name. The folder keeps it from then on.</summary>
    /// <param name="configured">Null if nothing is configured.</param>
    /// <exception cref="StartException">The folder belongs to a host of another name.</exception>
    public string KeepHostName(string? configured)
    {
        var file = System.IO.Path.Combine(Path, HostNameName);
        var kept = File.Exists(file) ? File.ReadAllText(file).Trim() : null;
        if (kept is { Length: > 0 })
        {
            return configured is null || configured == kept ? kept : throw new StartException(
                $"The data folder {Path} belongs to the host '{kept}', and Host:Name is '{configured}'. Records refer to hosts by their names: remove Host:Name, or use another data folder. "
                + $"To rename a host that has no machines, delete {file}.");
        }

        if (kept is not null && configured is null && !IsNew)
            throw new StartException($"The file {file} is empty: its content was lost in a power cut. Set Host:Name to the name that 'GET hosts' shows for this host. The file keeps it from then on.");

        var name = configured ?? (IsNew ? HostNameOf(Environment.MachineName) : FormerHostName);
        try
        {
            // After a crash or a power cut the file is missing or complete.
            File.WriteAllText($"{file}.new", $"{name}\n");
            UnixFiles.SyncFile($"{file}.new");
            UnixFiles.Publish($"{file}.new", file);
        }
        catch (IOException exception) when (FileFaults.IsNoSpace(exception))
        {
            // A folder in use gets the same name at the next start. The name of a new folder could change by then.
            if (IsNew) throw new StartException($"The data folder {Path} cannot be used: its disk is full.", exception);
        }

        return name;
    }

    public void Dispose() => _lock.Dispose();

    /// <summary>The first label of a machine's name, as a valid host name of this product.</summary>
    internal static string HostNameOf(string machine)
    {
        var label = new string([.. machine.Split('.')[0].Select(letter => char.IsAsciiLetterOrDigit(letter) ? letter : '-').Take(63)]).Trim('-');
        return label.Length > 0 ? label : FormerHostName;
    }

    private static SafeFileHandle Lock(string folder, string path)
    {
        var descriptor = open(Encoding.UTF8.GetBytes(path + '\0'), ReadWrite, OwnerOnly);
        if (descriptor < 0) throw new IOException($"{path} cannot be opened: {Marshal.GetLastPInvokeErrorMessage()}.");
        var file = new SafeFileHandle(descriptor, ownsHandle: true);
        if (flock(file, ExclusiveWithoutWaiting) == 0) return file;
        var error = Marshal.GetLastPInvokeError();
        var holder = error == WouldBlock ? ReadHolder(file) : null;
        file.Dispose();
        if (error != WouldBlock) throw new IOException($"{path} cannot be locked: {Marshal.GetPInvokeErrorMessage(error)}.");
        throw new StartException(
            $"The data folder {folder} is in use by another process{(holder is null ? "" : $" (pid {holder})")}. Stop that process first, or choose another folder with --data.");
    }

    /// <summary>Writes the process id over the old one, and then cuts the rest off. On a full disk, a file that is emptied first may not get its block back.</summary>
    private static void SignLock(SafeFileHandle file)
    {
        try
        {
            var holder = Encoding.ASCII.GetBytes(string.Create(CultureInfo.InvariantCulture, $"{Environment.ProcessId}\n"));
            RandomAccess.Write(file, holder, 0);
            RandomAccess.SetLength(file, holder.Length);
        }
        catch (IOException)
        {
            // The lock does not need the number. A second process cannot name the holder then.
        }
    }

    private static string? ReadHolder(SafeFileHandle file)
    {
        var bytes = new byte[32];
        var text = Encoding.ASCII.GetString(bytes, 0, RandomAccess.Read(file, bytes, 0)).Trim();
        return text.Length > 0 && text.All(char.IsAsciiDigit) ? text : null;
    }

    [DllImport("libc", SetLastError = true)]
    private static extern int open(byte[] path, int flags, int mode);

    [DllImport("libc", SetLastError = true)]
    private static extern int flock(SafeFileHandle file, int operation);
}
