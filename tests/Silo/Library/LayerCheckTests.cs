using System.Security.Cryptography;
using Instances.Faults;
using Xunit;

namespace Instances.Library;

/// <summary>A library knows the hashes of its layers, detects a changed one, and replaces it by a good copy.</summary>
public sealed class LayerCheckTests : IDisposable
{
    private const long Size = 1L << 20;

    private readonly TestLibrary _library = new();
    private readonly TestLibrary _host = new();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private FolderLibraryStore Store => _library.Store;

    public void Dispose()
    {
        _library.Dispose();
        _host.Dispose();
    }

    [Fact]
    public async Task Check_OfALayerThatWasNeverRead_TakesItsDigestAsTheOneThatItHasToHave()
    {
        var layer = await Sealed();
        Assert.Equal([new LayerCheck(layer, Store.BytesOf(layer))], Store.Checks());

        var check = await Check(layer);

        Assert.Equal((DigestOf(Store, layer), null, false), (check.Sha256, check.Found, check.IsCorrupt));
        Assert.NotNull(check.CheckedAt);
        Assert.Equal([check], Store.Checks());
        Assert.Equal([check], Reopened().Checks());
    }

    [Fact]
    public async Task Check_OfALayerInWhichAByteHasFlipped_FindsItAndKeepsTheDigest()
    {
        var layer = await Sealed();
        var sha256 = (await Check(layer)).Sha256;
        Flip(layer);

        var check = await Check(layer);

        Assert.Equal((sha256, DigestOf(Store, layer), true), (check.Sha256, check.Found, check.IsCorrupt));
        Assert.True((await Check(layer)).IsCorrupt);
    }

    [Fact]
    public async Task Check_OfALayerThatCameWithADigest_FindsThatItIsAnother()
    {
        var layer = await Sealed();

        var check = await Store.Check(layer, "00", long.MaxValue, Token);

        Assert.Equal(("00", true), (check.Sha256, check.IsCorrupt));
    }

    [Fact]
    public async Task Check_OfALayerThatIsNotThere_SaysSo()
    {
        var exception = await Assert.ThrowsAsync<FaultException>(() => Check(LayerId.New()));

        Assert.Equal("layer-missing", exception.Fault.Code);
        Assert.Empty(Directory.GetFiles(Store.Folder));
    }

    [Theory]
    [InlineData(true)]
    [InlineData(false)]
    public async Task Checks_OfALayerWhoseCheckCannotBeRead_KnowNothingOfIt(bool isLoop)
    {
        var layer = await Sealed();
        var path = Path.Combine(Store.Folder, $"{layer}.check");
        if (isLoop) File.CreateSymbolicLink(path, path);
        else Directory.CreateDirectory(path);

        Assert.Equal([new LayerCheck(layer, Store.BytesOf(layer))], Store.Checks());
    }

    [Fact]
    public async Task Checks_OfATopThatAMachineWritesTo_LeaveItOut()
    {
        await Store.CreateLayer(LayerId.New(), null, Size, Token);

        Assert.Empty(Store.Checks());
    }

    [Fact]
    public async Task Delete_OfALayer_LeavesNothingOfWhatWasKnown()
    {
        var layer = await Sealed();
        await Check(layer);

        await Store.Delete(layer);

        Assert.Empty(Directory.GetFiles(Store.Folder));
    }

    [Fact]
    public async Task Heal_FromAGoodCopy_PutsItInThePlaceOfTheCorruptLayer()
    {
        var layer = await Sealed();
        Copy(layer);
        var sha256 = (await Check(layer)).Sha256;
        Flip(layer);
        await Check(layer);

        Assert.True(await Heal(layer));

        Assert.Equal(sha256, DigestOf(Store, layer));
        Assert.Equal((false, "host-2"), Assert.Single(Store.Checks()) is var check ? (check.IsCorrupt, check.HealedFrom) : default);
        AssertNothingIsLeft(Store);

        // The expected hash is kept, whatever is read afterwards.
        Assert.Equal(check.HealedAt, (await Check(layer)).HealedAt);
    }

    [Fact]
    public async Task Heal_FromACopyThatIsNoBetter_LeavesTheLayerAsItIs()
    {
        var layer = await Sealed();
        await Check(layer);
        Flip(layer);
        Copy(layer);
        await Check(layer);
        var before = DigestOf(Store, layer);

        Assert.False(await Heal(layer));

        Assert.Equal(before, DigestOf(Store, layer));
        Assert.Equal((true, null), Assert.Single(Store.Checks()) is var check ? (check.IsCorrupt, check.HealedFrom) : default);
        AssertNothingIsLeft(Store);
    }

    [Fact]
    public async Task Heal_FromAHostThatSharesTheFolder_FindsNoOtherCopy()
    {
        var layer = await Sealed();
        await Check(layer);
        Flip(layer);
        await Check(layer);

        Assert.False(await Store.Heal(layer, "host-1", () => Task.FromResult(Store.Offer(layer)), Token));

        Assert.True(Store.Contains(layer));
    }

    [Fact]
    public async Task Heal_FromAHostWhoseCopyIsAnotherByItsOwnAccount_DoesNotReadIt()
    {
        var layer = await Sealed();
        Copy(layer);
        await Check(layer);
        Flip(layer);
        await Check(layer);
        var offers = 0;

        Assert.False(await Store.Heal(layer, "host-2", () =>
        {
            offers++;
            return Task.FromResult(_host.Store.Offer(layer) with { Sha256 = "00" });
        }, Token));

        Assert.Equal(1, offers);
    }

    [Fact]
    public async Task Check_OfACorruptLayerThatIsHealedMeanwhile_DoesNotCallTheCopyCorrupt()
    {
        var layer = await Sealed();
        Copy(layer);
        await Check(layer);
        Flip(layer);
        await Check(layer);
        var reading = Store.Check(layer, expected: null, bytesPerSecond: new FileInfo(Store.PathOf(layer)).Length / 2, Token);

        Assert.True(await Heal(layer));
        await reading;

        Assert.False(Assert.Single(Store.Checks()).IsCorrupt);
    }

    [Fact]
    public async Task FindCheck_OfALayer_IsAsAmongAll()
    {
        var (layer, top) = (await Sealed(), LayerId.New());
        await Store.CreateLayer(top, null, Size, Token);

        Assert.Equal(Assert.Single(Store.Checks()), Store.FindCheck(layer));
        Assert.Equal(await Check(layer), Store.FindCheck(layer));
        Assert.Null(Store.FindCheck(top));
        Assert.Null(Store.FindCheck(LayerId.New()));
    }

    [Fact]
    public async Task Heal_WhereNobodyHasACopy_LeavesTheLayerAsItIs()
    {
        var layer = await Sealed();
        await Check(layer);
        Flip(layer);
        await Check(layer);

        var exception = await Assert.ThrowsAsync<FaultException>(() => Heal(layer));

        Assert.Equal("layer-missing", exception.Fault.Code);
        Assert.True(Assert.Single(Store.Checks()).IsCorrupt);
    }

    // Killed during the transfer of a copy, or before it replaced the layer.
    [Fact]
    public async Task Start_WithACopyThatHasNotTakenItsLayersPlace_RemovesIt()
    {
        var layer = await Sealed();
        await Check(layer);
        Flip(layer);
        await Check(layer);
        var before = DigestOf(Store, layer);
        var copies = Path.Combine(Store.Incoming, "copies");
        Directory.CreateDirectory(Path.Combine(copies, "incoming"));
        await File.WriteAllTextAsync(Path.Combine(copies, $"{layer}.qcow2"), "the copy", Token);
        await File.WriteAllTextAsync(Path.Combine(copies, "incoming", $"{layer}.part"), "a part of it", Token);

        var store = Reopened();

        Assert.Equal(before, DigestOf(store, layer));
        Assert.True(Assert.Single(store.Checks()).IsCorrupt);
        AssertNothingIsLeft(store);
    }

    /// <summary>Killed between the manifest of an imported image and the end of its upload.</summary>
    [Fact]
    public async Task Start_WithUploads_RemovesThoseWhoseLayersAreComplete()
    {
        var (complete, awaited) = (await Sealed(), LayerId.New());
        foreach (var path in (string[])[Store.PartPathOf(complete), Store.ExpandedPathOf(complete), Store.PartPathOf(awaited)]) await File.WriteAllTextAsync(path, "bytes", Token);

        Assert.Equal([Store.PartPathOf(awaited)], Directory.GetFiles(Reopened().Incoming));
    }

    // Killed while a layer was read that was deleted meanwhile.
    [Fact]
    public async Task Start_WithWhatIsKnownOfALayerThatIsGone_RemovesIt()
    {
        var layer = await Sealed();
        await Check(layer);
        File.Delete(Store.PathOf(layer));

        Assert.Empty(Directory.GetFiles(Reopened().Folder));
    }

    private Task<LayerCheck> Check(LayerId layer) => Store.Check(layer, expected: null, long.MaxValue, Token);

    private Task<bool> Heal(LayerId layer) => Store.Heal(layer, "host-2", () => Task.FromResult(_host.Store.Offer(layer)), Token);

    private async Task<LayerId> Sealed()
    {
        var layer = LayerId.New();
        await Store.CreateLayer(layer, null, Size, Token);
        TestLibrary.Run("qemu-io", "-f", "qcow2", "-c", "write -P 7 0 64k", Store.PathOf(layer));
        await Store.Seal(layer);
        return layer;
    }

    private void Copy(LayerId layer)
    {
        File.Copy(Store.PathOf(layer), _host.Store.PathOf(layer));
        File.SetUnixFileMode(_host.Store.PathOf(layer), UnixFiles.SealedMode);
    }

    /// <summary>Simulates a failing disk, which changes the file regardless of its mode.</summary>
    private void Flip(LayerId layer)
    {
        var path = Store.PathOf(layer);
        var bytes = File.ReadAllBytes(path);
        bytes[^1] ^= 1;
        File.Delete(path);
        File.WriteAllBytes(path, bytes);
        File.SetUnixFileMode(path, UnixFiles.SealedMode);
    }

    private static void AssertNothingIsLeft(FolderLibraryStore store) => Assert.Empty(Directory.GetFiles(store.Incoming, "*", SearchOption.AllDirectories));

    private FolderLibraryStore Reopened() => _library.Open();

    private static string DigestOf(FolderLibraryStore store, LayerId layer) => Convert.ToHexStringLower(SHA256.HashData(File.ReadAllBytes(store.PathOf(layer))));
}
