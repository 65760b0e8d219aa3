using System.Security.Cryptography;
using Instances.Faults;
using Xunit;

namespace Instances.Library.Transfer;

/// <summary>Layers that are moved between stores on the same machine: by link, by clone, by a sparse copy.</summary>
public sealed class LayerPullTests : IAsyncLifetime
{
    private const long Length = 64L << 20;

    private readonly string _disk = Directory.CreateTempSubdirectory("instances-transfer-").FullName;
    private readonly string _memory = Testing.MemoryFolder.Create("transfer-");
    private StoreNode _from = null!;

    private static CancellationToken Stop => TestContext.Current.CancellationToken;

    public async ValueTask InitializeAsync() => _from = await StoreNode.Start(Path.Combine(_disk, "from"));

    public async ValueTask DisposeAsync()
    {
        await _from.DisposeAsync();
        Directory.Delete(_disk, recursive: true);
        Directory.Delete(_memory, recursive: true);
    }

    [Fact]
    public async Task Pull_OnOneFileSystem_LinksTheFile()
    {
        await using var to = await StoreNode.Start(Path.Combine(_disk, "to"));
        var layer = await _from.AddLayer(Length, 0, 1 << 20);

        var done = await to.Pull(_from.Store, layer);

        Assert.Equal(0, Assert.Single(done.Layers).BytesMoved);
        Assert.Equal(_from.Store.BytesOf(layer), done.Layers[0].Bytes);
        Assert.Equal("2", TestLibrary.Run("stat", "-c", "%h", to.Store.PathOf(layer)).Trim());
        Assert.Equal(0, _from.Requests);
        AssertClean(to.Store, layer);
    }

    [Fact]
    public async Task Pull_ToAnotherFileSystem_CopiesTheDataAndKeepsTheHoles()
    {
        await using var to = await StoreNode.Start(Path.Combine(_memory, "to"));
        var layer = await _from.AddLayer(Length, 0, 12_288, 1 << 20, Length - 4096);
        var bytes = _from.Store.BytesOf(layer);

        var done = await to.Pull(_from.Store, layer);

        Assert.Equal(4 * 4096, bytes);
        Assert.Equal(new LayerTransfer(layer, bytes, bytes, Digest(_from.Store, layer)), Assert.Single(done.Layers));
        Assert.Equal(Digest(_from.Store, layer), Digest(to.Store, layer));
        Assert.Equal(0, _from.Requests);
        AssertClean(to.Store, layer);
    }

    /// <summary>Two mounts of one file system: a hard link between them is not possible, but a clone is, if the file system supports clones. This is tested on XFS, if
    /// mkfs.xfs is installed and loop devices can be mounted; otherwise on the file system of the temporary folder, where layers are copied if it has no clones.</summary>
    [Fact]
    public async Task Pull_BetweenMountsOfOneFileSystem_ClonesWhereItCanAndCopiesElsewhere()
    {
        var clones = MountXfs(Path.Combine(_disk, "xfs"));
        var (source, target) = (Path.Combine(_disk, "xfs", "from"), Path.Combine(_disk, "xfs", "to"));
        foreach (var folder in (string[])[source, target]) Directory.CreateDirectory(folder);
        TestLibrary.Run("mount", "--bind", target, target);
        try
        {
            await using var from = await StoreNode.Start(source);
            await using var to = await StoreNode.Start(target);
            var layer = await from.AddLayer(Length, 0, 1 << 20);

            var done = await to.Pull(from.Store, layer);

            if (clones) Assert.Equal(0, done.Layers[0].BytesMoved);
            Assert.Equal("1", TestLibrary.Run("stat", "-c", "%h", to.Store.PathOf(layer)).Trim());
            Assert.Equal(Digest(from.Store, layer), Digest(to.Store, layer));
            Assert.Equal(0, from.Requests);
            AssertClean(to.Store, layer);
            TestContext.Current.TestOutputHelper?.WriteLine(clones ? "cloned on XFS" : "NO XFS HERE: what is tested is the file system of the temporary folder");
        }
        finally
        {
            TestLibrary.Run("umount", target);
            if (clones) TestLibrary.Run("umount", Path.Combine(_disk, "xfs"));
        }
    }

    /// <returns>False if this machine cannot: then the folder is an ordinary one.</returns>
    private static bool MountXfs(string folder)
    {
        Directory.CreateDirectory(folder);
        if (!File.Exists("/usr/sbin/mkfs.xfs") && !File.Exists("/sbin/mkfs.xfs")) return false;
        var image = $"{folder}.img";
        using (var file = File.OpenHandle(image, FileMode.Create, FileAccess.Write)) RandomAccess.SetLength(file, 512L << 20);
        TestLibrary.Run("mkfs.xfs", "-q", image);
        using var mount = System.Diagnostics.Process.Start("mount", ["-o", "loop", image, folder]);
        mount.WaitForExit();
        return mount.ExitCode == 0;
    }

    [Fact]
    public async Task Pull_OfWhatIsThere_AsksNobody()
    {
        var layer = await _from.AddLayer(Length, 0);

        var done = await _from.Store.Pull([layer], _ => throw new InvalidOperationException("Nothing is missing."));

        Assert.True(done.IsDone);
        Assert.Equal((0, 0), (done.BytesTotal, done.Layers[0].BytesMoved));
    }

    [Fact]
    public async Task Pull_OfAnEmptyLayer_GivesItsLengthAndHolesAlone()
    {
        await using var to = await StoreNode.Start(Path.Combine(_memory, "to"));
        var layer = await _from.AddLayer(Length);

        var done = await to.Pull(_from.Store, layer);

        Assert.Equal((0, Digest(_from.Store, layer)), (done.Layers[0].BytesMoved, done.Layers[0].Sha256));
        Assert.Equal(Length, new FileInfo(to.Store.PathOf(layer)).Length);
    }

    [Fact]
    public async Task Pull_WhoseCopyHasAnotherDigest_IsRefusedAndLeavesNothing()
    {
        await using var to = await StoreNode.Start(Path.Combine(_memory, "to"));
        var layer = await _from.AddLayer(Length, 0);

        var fault = await Assert.ThrowsAsync<FaultException>(() => to.Pull(wanted => _from.Store.Offer(wanted) with { Sha256 = new('0', 64) }, layer));

        Assert.Equal("layer-corrupt", fault.Fault.Code);
        Assert.Empty(to.Store.List());
    }

    [Fact]
    public async Task Offer_OfAWritableTop_IsRefused()
    {
        var top = LayerId.New();
        await _from.Store.CreateLayer(top, parent: null, 1 << 20, Stop);

        Assert.Equal("layer-missing", Assert.Throws<FaultException>(() => _from.Store.Offer(top)).Fault.Code);
    }

    [Fact]
    public async Task Pull_OntoAFullDisk_IsRefusedBeforeItBegins()
    {
        TestLibrary.Run("mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", Directory.CreateDirectory(Path.Combine(_memory, "small")).FullName);
        try
        {
            await using var to = await StoreNode.Start(Path.Combine(_memory, "small", "to"));
            var layer = await _from.AddLayer(Length, [.. Enumerable.Range(0, 32).Select(page => page * 8192L)]);

            var fault = await Assert.ThrowsAsync<FaultException>(() => to.Pull(_from.Store, layer));

            Assert.Equal(("no-space", FaultKind.Capacity), (fault.Fault.Code, fault.Fault.Kind));
            Assert.Empty(to.Store.List());
        }
        finally
        {
            TestLibrary.Run("umount", Path.Combine(_memory, "small"));
        }
    }

    [Fact]
    public async Task Id_OfOneFolder_IsTheSameForAllWhoSeeIt()
    {
        Directory.CreateSymbolicLink(Path.Combine(_disk, "mounted"), Path.Combine(_disk, "from"));
        await using var same = await StoreNode.Start(Path.Combine(_disk, "mounted"));
        await using var other = await StoreNode.Start(Path.Combine(_disk, "to"));

        Assert.Equal(_from.Store.Id, same.Store.Id);
        Assert.NotEqual(_from.Store.Id, other.Store.Id);
    }

    internal static string Digest(FolderLayerStore store, LayerId layer) => Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(store.PathOf(layer))));

    internal static Task<IReadOnlyList<LayerOffer>> Offers(params LayerOffer[] offers) => Task.FromResult<IReadOnlyList<LayerOffer>>(offers);

    /// <summary>The layer is sealed, and nothing but it is left.</summary>
    internal static void AssertClean(FolderLayerStore store, LayerId layer)
    {
        Assert.Equal((layer, true, false), Assert.Single(store.List()) is var stored ? (stored.Id, stored.IsSealed, stored.IsPartial) : default);
        Assert.Equal(UnixFiles.SealedMode, File.GetUnixFileMode(store.PathOf(layer)));
        Assert.Empty(Directory.GetFiles(store.Incoming));
    }
}
