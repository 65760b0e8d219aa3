using System.Diagnostics;

namespace Instances.Testing;

/// <summary>A file system whose disk writes at a set rate: ext4 on a loop device that the kernel's block throttle slows down. Needs root and control groups of version 1.</summary>
internal sealed class SlowDisk : IDisposable
{
    private const string Throttle = "/sys/fs/cgroup/blkio/blkio.throttle.write_bps_device";

    private readonly string _image;
    private readonly string _device;

    private SlowDisk(string path, string image, string device) => (Path, _image, _device) = (path, image, device);

    public string Path { get; }

    /// <param name="bytes">Size of the file system. Only what is written takes space.</param>
    /// <returns>Null if this process may not create one.</returns>
    public static SlowDisk? TryMake(long bytes, long bytesPerSecond)
    {
        if (!Environment.IsPrivilegedProcess || !File.Exists(Throttle)) return null;
        var path = Directory.CreateTempSubdirectory("slow-disk-").FullName;
        var image = path + ".image";
        using (var file = File.Create(image)) file.SetLength(bytes);
        if (Run("mkfs.ext4", "-q", "-F", image) is null || Run("mount", "-o", "loop", image, path) is null || Run("stat", "--format=%Hd:%Ld", path) is not { } device)
        {
            Run("umount", path);
            File.Delete(image);
            Directory.Delete(path);
            return null;
        }

        File.WriteAllText(Throttle, $"{device.Trim()} {bytesPerSecond}");
        return new(path, image, device.Trim());
    }

    public void Dispose()
    {
        File.WriteAllText(Throttle, $"{_device} 0");
        Run("umount", Path);
        Directory.Delete(Path);
        File.Delete(_image);
    }

    private static string? Run(string program, params string[] arguments)
    {
        using var process = Process.Start(new ProcessStartInfo(program, arguments) { RedirectStandardError = true, RedirectStandardOutput = true })!;
        var output = process.StandardOutput.ReadToEnd();
        process.WaitForExit();
        return process.ExitCode == 0 ? output : null;
    }
}
