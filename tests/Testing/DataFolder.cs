using System.Diagnostics;

namespace Instances.Testing;

/// <summary>The data folder of a test. QEMU processes outlive their server, but end with this folder.</summary>
internal sealed class DataFolder : IAsyncDisposable
{
    /// <summary>Not the private mode of temporary folders, because QEMU's users must be able to pass through.</summary>
    private const UnixFileMode Mode = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.UserExecute
        | UnixFileMode.GroupRead | UnixFileMode.GroupExecute | UnixFileMode.OtherRead | UnixFileMode.OtherExecute;

    /// <param name="parent">Null for the folder of temporary files.</param>
    public DataFolder(string? parent = null)
    {
        Path = parent is null ? Directory.CreateTempSubdirectory("e2e-").FullName : Directory.CreateDirectory(System.IO.Path.Combine(parent, "e2e")).FullName;
        File.SetUnixFileMode(Path, Mode);
    }

    public string Path { get; }

    public GuestProcesses Guests => new(Path);

    public static implicit operator string(DataFolder folder) => folder.Path;

    /// <summary>Ends the guests, and deletes the folder.</summary>
    public async ValueTask DisposeAsync()
    {
        await EndGuests();
        Directory.Delete(Path, recursive: true);
    }

    public async Task EndGuests()
    {
        foreach (var guest in Guests.Ids())
        {
            using var process = Process.GetProcessById(guest);
            process.Kill();
            await process.WaitForExitAsync();
        }
    }
}
