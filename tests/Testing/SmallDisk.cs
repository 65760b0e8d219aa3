using System.Diagnostics;

namespace Instances.Testing;

/// <summary>A small file system in memory that can be filled up. Needs root.</summary>
internal sealed class SmallDisk : IDisposable
{
    private SmallDisk(string path) => Path = path;

    public string Path { get; }

    private string Filler => System.IO.Path.Combine(Path, "filler");

    /// <returns>Null if this process may not mount one.</returns>
    public static SmallDisk? TryMake(int mebibytes = 192)
    {
        if (!Environment.IsPrivilegedProcess) return null;
        var path = Directory.CreateTempSubdirectory("instances-chaos-disk-").FullName;
        if (Run("mount", "-t", "tmpfs", "-o", $"size={mebibytes}m,mode=755", "tmpfs", path)) return new(path);
        Directory.Delete(path);
        return null;
    }

    public void Fill()
    {
        using var file = new FileStream(Filler, FileMode.Create, FileAccess.Write, FileShare.None, bufferSize: 0);
        var block = new byte[64 << 10];
        try
        {
            while (true) file.Write(block);
        }
        catch (IOException)
        {
            // Full.
        }
    }

    public void Free() => File.Delete(Filler);

    public void Dispose()
    {
        Run("umount", "--lazy", Path);
        Directory.Delete(Path);
    }

    private static bool Run(params string[] command)
    {
        using var process = Process.Start(new ProcessStartInfo(command[0], command[1..]) { RedirectStandardError = true })!;
        process.WaitForExit();
        return process.ExitCode == 0;
    }
}
