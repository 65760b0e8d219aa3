using System.Runtime.InteropServices;
using System.Text;

namespace Instances.Library.Import;

/// <summary>A file that hostile images name. The kernel reports every open of it: no program may open it.</summary>
internal sealed class Canary : IDisposable
{
    public const string Content = "The canary sings: 5d1f0c7e.";

    private const uint OpenEvent = 0x20; // IN_OPEN
    private const uint AccessEvent = 0x01; // IN_ACCESS
    private const int NonBlocking = 0x800; // IN_NONBLOCK
    private const int EventBytes = 4096;

    private readonly int _watch;

    private Canary()
    {
        // Readable for all users, so that permissions cannot be the reason why it is not read.
        File.SetUnixFileMode(Folder, (UnixFileMode)0b111_101_101);
        File.WriteAllText(Path, string.Concat(Enumerable.Repeat(Content, 4096)));
        _watch = inotify_init1(NonBlocking);
        if (_watch < 0 || inotify_add_watch(_watch, Encoding.UTF8.GetBytes(Path + '\0'), OpenEvent | AccessEvent) < 0)
            throw new InvalidOperationException($"inotify does not work: error {Marshal.GetLastPInvokeError()}.");
    }

    public static string Folder { get; } = Directory.CreateTempSubdirectory("instances-canary-").FullName;

    public static string Path { get; } = System.IO.Path.Combine(Folder, "canary");

    public static Canary Watch() => new();

    /// <summary>Whether a program has opened or read it since the last call.</summary>
    public bool WasOpened() => read(_watch, new byte[EventBytes], EventBytes) > 0;

    public void Dispose() => _ = close(_watch);

    [DllImport("libc", SetLastError = true)]
    private static extern int inotify_init1(int flags);

    [DllImport("libc", SetLastError = true)]
    private static extern int inotify_add_watch(int descriptor, byte[] path, uint mask);

    [DllImport("libc", SetLastError = true)]
    private static extern nint read(int descriptor, byte[] buffer, nint bytes);

    [DllImport("libc", SetLastError = true)]
    private static extern int close(int descriptor);
}
