using Xunit;

namespace Instances.Library;

/// <summary>File operations of root in folders of another user.</summary>
public sealed class UnixFilesTests : IDisposable
{
    private readonly string _folder = Directory.CreateTempSubdirectory("instances-unix-files-").FullName;
    private readonly string _victim;

    public UnixFilesTests()
    {
        _victim = At("victim");
        File.WriteAllText(_victim, "content");
        File.SetUnixFileMode(_victim, UnixFiles.PrivateMode);
    }

    private static UnixUser Other => new(70_001, 70_001);

    public void Dispose() => Directory.Delete(_folder, recursive: true);

    [Fact]
    public void Give_Link_LeavesItsTarget()
    {
        if (!Environment.IsPrivilegedProcess) Assert.Skip("Only root can give files away.");
        var before = UnixFiles.Statistics(_victim);
        File.CreateSymbolicLink(At("link"), _victim);
        Assert.ThrowsAny<IOException>(() => UnixFiles.Give(At("link"), Other, UnixFileMode.OtherRead));
        UnixFiles.Link(_victim, At("second"));
        Assert.ThrowsAny<IOException>(() => UnixFiles.Give(At("second"), Other, UnixFileMode.OtherRead, maxLinks: 1));
        Assert.Equal(before, UnixFiles.Statistics(_victim));
    }

    [Fact]
    public void OpenForeign_LinkOrSecondName_IsRefused()
    {
        File.CreateSymbolicLink(At("link"), _victim);
        UnixFiles.Link(_victim, At("second"));
        Assert.ThrowsAny<IOException>(() => UnixFiles.OpenForeign(At("link")));
        Assert.ThrowsAny<IOException>(() => UnixFiles.OpenForeign(At("second"), forAppend: true));
        File.Delete(At("second"));
        UnixFiles.OpenForeign(_victim).Dispose();
    }

    [Fact]
    public void Seal_Link_LeavesItsTarget()
    {
        var before = UnixFiles.Statistics(_victim);
        File.CreateSymbolicLink(At("layer"), _victim);
        Assert.ThrowsAny<IOException>(() => UnixFiles.Seal(At("layer"), 7));
        Assert.Equal(before, UnixFiles.Statistics(_victim));
    }

    /// <summary>The users of machines pass through all of them.</summary>
    [Fact]
    public void OwnFolder_BelowMissingOnes_CanBeReached()
    {
        UnixFiles.OwnFolder(At("srv/instances/data"), UnixFiles.PrivateFolderMode);
        Assert.Equal(UnixFiles.PassageMode, File.GetUnixFileMode(At("srv")));
        Assert.Equal(UnixFiles.PassageMode, File.GetUnixFileMode(At("srv/instances")));
        Assert.Equal(UnixFiles.PrivateFolderMode, File.GetUnixFileMode(At("srv/instances/data")));
    }

    [Fact]
    public void OwnFolder_Link_IsRefused()
    {
        Directory.CreateDirectory(At("elsewhere"), UnixFiles.PassageMode);
        Directory.CreateSymbolicLink(At("link"), At("elsewhere"));
        Assert.ThrowsAny<IOException>(() => UnixFiles.OwnFolder(At("link"), UnixFiles.PrivateFolderMode));
        Assert.Equal(UnixFiles.PassageMode, File.GetUnixFileMode(At("elsewhere")));
    }

    [Fact]
    public void DeleteTree_WithLinks_DeletesNothingOutside()
    {
        Directory.CreateDirectory(At("tree/below"));
        File.WriteAllText(At("tree/below/file"), "");
        Directory.CreateDirectory(At("outside"));
        File.WriteAllText(At("outside/file"), "");
        Directory.CreateSymbolicLink(At("tree/below/folder"), At("outside"));
        File.CreateSymbolicLink(At("tree/link"), _victim);
        Directory.CreateSymbolicLink(At("whole"), At("outside"));

        UnixFiles.DeleteTree(At("tree"));
        UnixFiles.DeleteTree(At("whole"));
        UnixFiles.DeleteTree(At("never-there"));
        Assert.False(Path.Exists(At("tree")));
        Assert.False(Path.Exists(At("whole")));
        Assert.True(File.Exists(At("outside/file")));
        Assert.True(File.Exists(_victim));
    }

    // A user could nest folders so deeply that they exhaust the stack of the process that deletes them.
    [Fact]
    public void DeleteTree_TooDeep_IsRefused()
    {
        Directory.CreateDirectory(At("deep/" + string.Join('/', Enumerable.Repeat("a", 100))));
        Assert.Throws<IOException>(() => UnixFiles.DeleteTree(At("deep")));
    }

    // A race with a swap of a folder for a link: in any order, nothing outside is deleted.
    [Fact]
    public async Task DeleteTree_WhileFoldersAreSwappedForLinks_DeletesNothingOutside()
    {
        Directory.CreateDirectory(At("outside"));
        File.WriteAllText(At("outside/file"), "");
        using var end = new CancellationTokenSource();
        var swapping = Task.Run(() =>
        {
            while (!end.IsCancellationRequested)
            {
                try
                {
                    Directory.CreateDirectory(At("tree/below"));
                    Directory.Move(At("tree/below"), At("away"));
                    Directory.Delete(At("away"));
                    Directory.CreateSymbolicLink(At("tree/below"), At("outside"));
                    File.Delete(At("tree/below"));
                }
                catch (Exception exception) when (exception is IOException or UnauthorizedAccessException)
                {
                    // Deleted meanwhile.
                }
            }
        }, CancellationToken.None);
        for (var round = 0; round < 100; round++)
        {
            try
            {
                UnixFiles.DeleteTree(At("tree"));
            }
            catch (IOException)
            {
                // Filled meanwhile.
            }
        }

        await end.CancelAsync();
        await swapping;
        Assert.True(File.Exists(At("outside/file")));
    }

    private string At(string path) => Path.Combine(_folder, path);
}
