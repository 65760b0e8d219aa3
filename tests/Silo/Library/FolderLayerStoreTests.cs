using Instances.Faults;
using Instances.Operations;
using Xunit;

namespace Instances.Library;

public sealed class FolderLayerStoreTests : IDisposable
{
    private const long Size = 8L << 20;

    private readonly TestLibrary _library = new();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private FolderLibraryStore Store => _library.Store;

    public void Dispose() => _library.Dispose();

    [Fact]
    public async Task CreateLayer_OverAParent_NamesItRelatively()
    {
        var (parent, child) = (LayerId.New(), LayerId.New());
        await Store.CreateLayer(parent, null, Size, Token);

        await Store.CreateLayer(child, parent, Size, Token);

        var info = TestLibrary.QemuImg("info", "-f", "qcow2", Store.PathOf(child));
        Assert.Contains($"backing file: {parent}.qcow2 ", info, StringComparison.Ordinal);
        Assert.Contains("backing file format: qcow2", info, StringComparison.Ordinal);
        Assert.Contains("extended l2: true", info, StringComparison.Ordinal);
        Assert.Contains("virtual size: 8 MiB", info, StringComparison.Ordinal);
        Assert.DoesNotContain("backing file", TestLibrary.QemuImg("info", "-f", "qcow2", Store.PathOf(parent)), StringComparison.Ordinal);
        Assert.Equal(2, Directory.GetFiles(Store.Folder).Length);
    }

    [Fact]
    public async Task CreateLayer_ThatIsThere_IsLeftAlone()
    {
        var layer = LayerId.New();
        await Store.CreateLayer(layer, null, Size, Token);
        TestLibrary.Run("qemu-io", "-f", "qcow2", "-c", "write -P 7 0 64k", Store.PathOf(layer));
        var before = await File.ReadAllBytesAsync(Store.PathOf(layer), Token);

        await Store.CreateLayer(layer, null, Size, Token);

        Assert.Equal(before, await File.ReadAllBytesAsync(Store.PathOf(layer), Token));
    }

    // A crash between the making and the naming leaves a file of another name.
    [Fact]
    public async Task CreateLayer_AfterACrashInTheMiddle_StartsAgain()
    {
        var layer = LayerId.New();
        await File.WriteAllTextAsync(Path.Combine(Store.Folder, $"{layer}.new"), "half", Token);
        Assert.False(Store.Contains(layer));
        Assert.Equal(layer, Assert.Single(Store.List()).Id);

        await Store.CreateLayer(layer, null, Size, Token);

        Assert.True(Store.Contains(layer));
        Assert.Single(Directory.GetFiles(Store.Folder));
    }

    [Fact]
    public async Task CreateLayer_WithoutItsParent_IsRefused()
    {
        var refusal = await Assert.ThrowsAsync<FaultException>(() => Store.CreateLayer(LayerId.New(), LayerId.New(), Size, Token));

        Assert.Equal("layer-missing", refusal.Fault.Code);
        Assert.Empty(Store.List());
    }

    [Fact]
    public async Task Seal_Layer_IsRootsAndReadByTheGroupOfMachines()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "Only root gives files away.");
        var layer = LayerId.New();
        await Store.CreateLayer(layer, null, Size, Token);
        TestLibrary.Run("chown", "nobody", Store.PathOf(layer));

        await Store.Seal(layer);

        Assert.Equal("0 69999 440", TestLibrary.Run("stat", "-c", "%u %g %a", Store.PathOf(layer)).Trim());
    }

    [Fact]
    public async Task Open_StoreOfAnEarlierRelease_TakesRightsBack()
    {
        var (layer, top) = (LayerId.New(), LayerId.New());
        await Store.CreateLayer(layer, null, Size, Token);
        await Store.Seal(layer);
        await Store.CreateLayer(top, layer, Size, Token);
        TestLibrary.Run("chmod", "0444", Store.PathOf(layer));
        TestLibrary.Run("chmod", "0644", Store.PathOf(top));
        TestLibrary.Run("chmod", "0755", Store.Folder);
        if (Environment.IsPrivilegedProcess) TestLibrary.Run("chown", "nobody", Store.Incoming);
        File.CreateSymbolicLink(Store.PartPathOf(top), "/etc/passwd");
        var manifest = Path.Combine(Store.Folder, $"{ImageId.New()}.json");
        await File.WriteAllTextAsync(manifest, "{}", Token);
        TestLibrary.Run("chmod", "0444", manifest);

        var store = _library.Open();

        Assert.Equal(UnixFiles.SealedMode, File.GetUnixFileMode(store.PathOf(layer)));
        Assert.True(store.IsSealed(layer));
        Assert.Equal(UnixFiles.PrivateMode, File.GetUnixFileMode(store.PathOf(top)));
        Assert.Equal(UnixFileMode.UserRead, File.GetUnixFileMode(manifest));
        Assert.Equal(UnixFiles.PassageMode, File.GetUnixFileMode(store.Folder));
        Assert.Equal(UnixFiles.PrivateFolderMode, File.GetUnixFileMode(store.Incoming));
        Assert.Empty(Directory.EnumerateFiles(store.Incoming));
        if (Environment.IsPrivilegedProcess) Assert.Equal(0u, UnixFiles.Statistics(store.Incoming).User);
    }

    [Fact]
    public async Task Seal_Layer_IsReadOnlyUnchangedAndItsSpaceIsTold()
    {
        var layer = LayerId.New();
        await Store.CreateLayer(layer, null, Size, Token);
        TestLibrary.Run("qemu-io", "-f", "qcow2", "-c", "write -P 7 0 1M", Store.PathOf(layer));
        var before = await File.ReadAllBytesAsync(Store.PathOf(layer), Token);

        var bytes = await Store.Seal(layer);

        Assert.Equal(long.Parse(TestLibrary.Run("stat", "-c", "%b", Store.PathOf(layer)), null) * 512, bytes);
        Assert.InRange(bytes, 1 << 20, Size);
        Assert.Equal(before, await File.ReadAllBytesAsync(Store.PathOf(layer), Token));
        Assert.Equal(bytes, await Store.Seal(layer));
        Assert.Equal(bytes, Assert.Single(Store.List()).Bytes);
    }

    [Fact]
    public async Task Seal_MissingLayer_IsAFault() =>
        Assert.Equal("layer-missing", (await Assert.ThrowsAsync<FaultException>(() => Store.Seal(LayerId.New()))).Fault.Code);

    [Fact]
    public async Task Delete_Layer_TakesAllThatArrivedOfIt()
    {
        var layer = LayerId.New();
        await Store.CreateLayer(layer, null, Size, Token);
        await File.WriteAllTextAsync(Store.PartPathOf(layer), "part", Token);
        await File.WriteAllTextAsync(Store.ConvertedPathOf(layer), "new", Token);
        Assert.Equal(layer, Assert.Single(Store.List()).Id);

        await Store.Delete(layer);
        await Store.Delete(layer);

        Assert.Empty(Store.List());
        Assert.Empty(Directory.GetFiles(Store.Folder, "*", SearchOption.AllDirectories));
    }

    [Fact]
    public void List_FilesOfOthers_AreNotLayers()
    {
        File.WriteAllText(Path.Combine(Store.Folder, "notes.qcow2"), "x");
        File.WriteAllText(Path.Combine(Store.Folder, $"{ImageId.New()}.json"), "{}");

        Assert.Empty(Store.List());
    }

    [Fact]
    public async Task Manifests_Written_AreReadBackWhole()
    {
        var manifest = Manifest("debian");
        await Store.WriteManifest(manifest with { Name = "before" });

        await Store.WriteManifest(manifest);

        var read = Assert.Single(await Store.ReadManifests(Token));
        Assert.Equal(System.Text.Json.JsonSerializer.Serialize(manifest, InstancesJson.Options), System.Text.Json.JsonSerializer.Serialize(read, InstancesJson.Options));
        Assert.Single(Directory.GetFiles(Store.Folder));

        await Store.DeleteManifest(manifest.Id);
        await Store.DeleteManifest(manifest.Id);
        Assert.Empty(await Store.ReadManifests(Token));
    }

    [Theory]
    [InlineData("")]
    [InlineData("{")]
    [InlineData("null")]
    [InlineData("[]")]
    [InlineData("{}")]
    [InlineData("""{"schema":"one"}""")]
    [InlineData("""{"schema":2,"id":"$id","name":"x","kind":"master","disks":[],"createdAt":"2026-01-01T00:00:00Z"}""")]
    [InlineData("""{"schema":1,"id":"00000000-0000-0000-0000-000000000001","name":"x","kind":"master","disks":[],"createdAt":"2026-01-01T00:00:00Z"}""")]
    [InlineData("""{"schema":1,"id":"$id","name":"x","kind":"grandmaster","disks":[],"createdAt":"2026-01-01T00:00:00Z"}""")]
    public async Task Manifests_Broken_AreSkippedAndLogged(string text)
    {
        var id = ImageId.New();
        var good = Manifest("good");
        await Store.WriteManifest(good);
        await File.WriteAllTextAsync(Path.Combine(Store.Folder, $"{id}.json"), text.Replace("$id", id.ToString(), StringComparison.Ordinal), Token);

        Assert.Equal(good.Id, Assert.Single(await Store.ReadManifests(Token)).Id);
        Assert.Contains(id.ToString(), Assert.Single(_library.Log), StringComparison.Ordinal);
        var scan = await Store.ScanManifests(Token);
        Assert.Equal(good.Id, Assert.Single(scan.Manifests).Id);
        Assert.Equal(id, Assert.Single(scan.Unreadable).Image);
        Assert.NotEmpty(scan.Unreadable[0].Reason);
        Assert.Null(await Store.FindManifest(id));
        Assert.Equal(good.Id, (await Store.FindManifest(good.Id))!.Id);
        Assert.Null(await Store.FindManifest(ImageId.New()));
    }

    [Fact]
    public async Task Manifests_ThatACrashLeftUnfinished_AreRemovedByTheNextStartAndInNobodysWay()
    {
        var manifest = Manifest("debian");
        var unfinished = Path.Combine(Store.Folder, $"{manifest.Id}.json.new");
        await File.WriteAllTextAsync(unfinished, "half", Token);
        UnixFiles.ChangeMode(unfinished, UnixFiles.SealedMode);

        await Store.WriteManifest(manifest);

        Assert.Equal(manifest.Id, (await Store.FindManifest(manifest.Id))!.Id);
        await File.WriteAllTextAsync(unfinished, "half", Token);
        _library.Open();
        Assert.False(File.Exists(unfinished));
        Assert.Single(await Store.ReadManifests(Token));
    }

    [Fact]
    public async Task Binding_Written_IsReadBackAndSaysSoWhereItCannotBeRead()
    {
        Assert.Null(Store.ReadBinding());
        var binding = new LibraryBinding(Guid.NewGuid(), 7);
        await Store.WriteBinding(binding with { Number = 6 });

        await Store.WriteBinding(binding);

        Assert.Equal(binding, Store.ReadBinding());
        Assert.Empty(_library.Log);
        File.Delete(Path.Combine(Store.Folder, "library.binding"));
        await File.WriteAllTextAsync(Path.Combine(Store.Folder, "library.binding"), "{", Token);
        Assert.Equal(LibraryBinding.Unreadable, Store.ReadBinding());
        Assert.Single(_library.Log);
    }

    // A file system of 2 MiB stands for a full disk.
    [Fact]
    public async Task Store_OnAFullDisk_SaysSoAndLeavesNothing()
    {
        Assert.SkipUnless(Environment.IsPrivilegedProcess, "Only root mounts file systems.");
        using var library = new TestLibrary(tmpfsBytes: 2 << 20);
        var store = library.Store;
        await File.WriteAllBytesAsync(Path.Combine(store.Folder, "filler"), new byte[(2 << 20) - 16_384], Token);

        var layer = await Assert.ThrowsAsync<FaultException>(() => store.CreateLayer(LayerId.New(), null, Size, Token));
        Assert.Equal("no-space", layer.Fault.Code);
        Assert.Equal(FaultKind.Capacity, layer.Fault.Kind);

        var manifest = await Assert.ThrowsAsync<FaultException>(() => store.WriteManifest(Manifest(new string('x', 100_000))));
        Assert.Equal("no-space", manifest.Fault.Code);
        Assert.Empty(await store.ReadManifests(Token));
        Assert.InRange(store.FreeBytes, 0, 32_768);
        Assert.All(Directory.GetFiles(store.Folder), file => Assert.Equal("filler", Path.GetFileName(file)));
    }

    private static ImageManifest Manifest(string name)
    {
        var id = ImageId.New();
        var at = new DateTimeOffset(2026, 1, 2, 3, 4, 5, TimeSpan.Zero);
        return new(
            id, name, ImageKind.Master, null, null, [new([new(LayerId.New(), null, 5, id)], Size)], at, new(OperationId.New(), at, ImageFormat.Raw, "00", 7));
    }
}
