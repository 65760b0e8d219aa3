namespace Instances.Testing;

/// <summary>Folders in memory, so that tests do not wait for the disk. They need not survive a power cut.</summary>
internal static class MemoryFolder
{
    private const string Root = "/dev/shm";

    /// <summary>Makes a folder below one that has the name of the run's temporary folder, so that <c>test.sh</c> can delete both. Without /dev/shm it is a temporary folder.</summary>
    public static string Create(string prefix)
    {
        if (!Directory.Exists(Root)) return Directory.CreateTempSubdirectory(prefix).FullName;
        var run = Path.GetFileName(Path.TrimEndingDirectorySeparator(Path.GetTempPath()));
        return Directory.CreateDirectory(Path.Combine(Root, run, $"{prefix}{Guid.NewGuid():N}")).FullName;
    }
}
