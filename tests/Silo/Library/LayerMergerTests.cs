using System.Buffers.Binary;
using System.Globalization;
using Instances.Faults;
using Xunit;

namespace Instances.Library;

/// <summary>Merges layers of real files into one with the same content.</summary>
public sealed class LayerMergerTests : IDisposable
{
    private const long Size = 32L << 20;
    private const long Unlimited = LibraryOptions.MaxBytesPerSecond;

    private readonly TestLibrary _library = new();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private FolderLibraryStore Store => _library.Store;

    public void Dispose() => _library.Dispose();

    [Theory]
    [InlineData(1)]
    [InlineData(2)]
    [InlineData(4)]
    public async Task Merge_MakesOneLayerOfTheSameContentAndChangesNoOther(int from)
    {
        var chain = await Chain(6);
        var merge = new LayerMerge(LayerId.New(), chain, from);
        var before = chain.Select(Digest).ToList();

        var bytes = await Store.Merge(merge, Unlimited, Token);

        Assert.Equal(Store.BytesOf(merge.Merged), bytes);
        Assert.True(bytes < merge.Parts.Sum(Store.BytesOf));
        Assert.True(Store.IsSealed(merge.Merged));
        Assert.Equal(before, chain.Select(Digest));
        TestLibrary.QemuImg("compare", "-f", "qcow2", "-F", "qcow2", Store.PathOf(merge.Top), Store.PathOf(merge.Merged));
        TestLibrary.QemuImg("check", "-f", "qcow2", Store.PathOf(merge.Merged));
        Assert.Contains($"\"backing-filename\": \"{merge.Below}.qcow2\"", TestLibrary.QemuImg("info", "--output=json", Store.PathOf(merge.Merged)), StringComparison.Ordinal);
        Assert.Empty(Directory.GetFiles(Store.Incoming));
        Assert.Equal(bytes, await Store.Merge(merge, Unlimited, Token));
    }

    [Fact]
    public async Task Merge_OfLayersThatWipeWhatLiesBelow_KeepsTheZeros()
    {
        var chain = await Chain(3);
        var wiped = await Layer(chain[^1], $"write -z 0 {Size}");
        var merge = new LayerMerge(LayerId.New(), [.. chain, wiped], 1);

        await Store.Merge(merge, Unlimited, Token);

        var zeros = await Layer(below: null);
        TestLibrary.QemuImg("compare", "-f", "qcow2", "-F", "qcow2", Store.PathOf(zeros), Store.PathOf(merge.Merged));
    }

    /// <summary>The comparison covers each byte: in data, in zeros, and where the merged layer has nothing.</summary>
    [Theory]
    [InlineData("write -P 9 8M 4k")]
    [InlineData("write -z 8M 4k")]
    [InlineData("write -P 9 40k 512")]
    [InlineData("write -P 255 2M 1M")] // As it is below already: but no layer says so.
    [InlineData("write -P 9 20M 64k")] // Where no other layer has anything.
    public async Task Comparison_OfALayerThatIsAnother_SeesIt(string write)
    {
        List<LayerId> chain = [await Layer(below: null, "write -P 255 0 4M")];
        chain.Add(await Layer(chain[^1], "write -P 1 8M 1M"));
        chain.Add(await Layer(chain[^1], "write -z 0 1M"));
        var merge = new LayerMerge(LayerId.New(), chain, 1);
        await Store.Merge(merge, Unlimited, Token);
        Assert.True(await IsMerged(merge));

        UnixFiles.ChangeMode(Store.PathOf(merge.Merged), UnixFileMode.UserRead | UnixFileMode.UserWrite);
        TestLibrary.Run("qemu-io", "-f", "qcow2", "-c", write, Store.PathOf(merge.Merged));

        Assert.False(await IsMerged(merge));
    }

    [Fact]
    public async Task Comparison_OfALayerThatLacksAPart_SeesIt()
    {
        List<LayerId> chain = [await Layer(below: null, "write -P 255 0 4M")];
        chain.Add(await Layer(chain[^1], "write -P 1 8M 1M"));
        chain.Add(await Layer(chain[^1], "write -P 2 16M 1M"));
        var merge = new LayerMerge(await Layer(chain[0], "write -P 1 8M 1M"), chain, 1);

        Assert.False(await IsMerged(merge));
    }

    /// <summary>A guest that trims its disk creates zeros without space. They take no space in the merged layer either.</summary>
    [Fact]
    public async Task Merge_OfLayersThatDiscardWhatTheBaseHas_IsNotLargerThanTheyAre()
    {
        List<LayerId> chain = [await Layer(below: null, "write -P 255 0 24M")];
        chain.Add(await Layer(chain[^1], "discard 0 20M"));
        chain.Add(await Layer(chain[^1], "write -P 1 22M 64k"));
        var merge = new LayerMerge(LayerId.New(), chain, 1);

        var bytes = await Store.Merge(merge, Unlimited, Token);

        Assert.True(bytes <= merge.Parts.Sum(Store.BytesOf), $"{bytes} of {merge.Parts.Sum(Store.BytesOf)}");
        TestLibrary.QemuImg("compare", "-f", "qcow2", "-F", "qcow2", Store.PathOf(merge.Top), Store.PathOf(merge.Merged));
    }

    /// <summary>File names in headers, which a compromised QEMU may have written, are not followed.</summary>
    [Theory]
    [InlineData("/etc/passwd", "raw")]
    [InlineData("json:{\"driver\":\"raw\",\"file\":{\"driver\":\"file\",\"filename\":\"/etc/passwd\"}}", "raw")]
    public async Task Merge_OfALayerWhoseHeaderNamesAnotherFile_HasWhatItsRecordNames(string backing, string format)
    {
        var chain = await Chain(4);
        var merge = new LayerMerge(LayerId.New(), chain, 1);
        var flat = Path.Combine(Store.Incoming, "flat");
        TestLibrary.QemuImg("convert", "-f", "qcow2", "-O", "raw", Store.PathOf(merge.Top), flat);
        UnixFiles.ChangeMode(Store.PathOf(chain[2]), UnixFileMode.UserRead | UnixFileMode.UserWrite);
        TestLibrary.QemuImg("rebase", "-q", "-u", "-f", "qcow2", "-b", backing, "-F", format, Store.PathOf(chain[2]));
        UnixFiles.ChangeMode(Store.PathOf(chain[2]), UnixFileMode.UserRead);

        await Store.Merge(merge, Unlimited, Token);

        TestLibrary.QemuImg("compare", "-f", "raw", "-F", "qcow2", flat, Store.PathOf(merge.Merged));
        File.Delete(flat);
    }

    /// <summary>Several chains with the same content: a layer above one of them may be rebased onto another.</summary>
    [Fact]
    public async Task Merge_OverTheChainOfAnotherImage_HasTheContentOfItsOwn()
    {
        var chain = await Chain(8);
        var lower = new LayerMerge(LayerId.New(), [.. chain.Take(6)], 1);
        await Store.Merge(lower, Unlimited, Token);
        LayerManifest[] instead = [.. new[] { chain[0], lower.Merged }.Select(layer => new LayerManifest(layer, Parent: null, Bytes: 1, ImageId.New()))];
        foreach (var from in new[] { 6, 7 })
        {
            if (from == 7) instead = [.. instead, new(await Merged(6, [.. chain.Take(7)], instead), Parent: null, Bytes: 1, ImageId.New())];
            var merge = new LayerMerge(LayerId.New(), chain, from, instead);

            await Store.Merge(merge, Unlimited, Token);

            TestLibrary.QemuImg("compare", "-f", "qcow2", "-F", "qcow2", Store.PathOf(merge.Top), Store.PathOf(merge.Merged));
            Assert.Contains($"\"backing-filename\": \"{instead[^1].Id}.qcow2\"", TestLibrary.QemuImg("info", "--output=json", Store.PathOf(merge.Merged)), StringComparison.Ordinal);
        }

        async Task<LayerId> Merged(int from, IReadOnlyList<LayerId> of, IReadOnlyList<LayerManifest> over)
        {
            var merge = new LayerMerge(LayerId.New(), of, from, over);
            await Store.Merge(merge, Unlimited, Token);
            return merge.Merged;
        }
    }

    /// <summary>Disks that were made larger between layers, and whose ends lie within a cluster.</summary>
    [Theory]
    [InlineData(10, 20, 40)]
    [InlineData(10, 10, 600)]
    [InlineData(3, 300, 700)]
    public async Task Merge_OfLayersOfSeveralSizes_HasTheContentOfTheLast(int baseMiB, int middleMiB, int topMiB)
    {
        List<LayerId> chain = [await Layer(below: null, "write -P 255 0 2M", size: (baseMiB << 20) + 512)];
        chain.Add(await Layer(chain[0], $"write -P 1 {(baseMiB << 20) - 1024} 1536", size: (baseMiB << 20) + 512));
        chain.Add(await Layer(chain[1], $"write -P 2 {(middleMiB << 20) - 4096} 4096", size: (long)middleMiB << 20));
        chain.Add(await Layer(chain[2], $"write -P 3 {((long)topMiB << 20) - 512} 1024", size: ((long)topMiB << 20) + 512));
        foreach (var from in new[] { 1, 2 })
        {
            var merge = new LayerMerge(LayerId.New(), chain, from);

            var bytes = await Store.Merge(merge, Unlimited, Token);

            TestLibrary.QemuImg("compare", "-f", "qcow2", "-F", "qcow2", Store.PathOf(merge.Top), Store.PathOf(merge.Merged));
            TestLibrary.QemuImg("check", "-f", "qcow2", Store.PathOf(merge.Merged));
            Assert.InRange(bytes, 1, 1 << 20);
        }
    }

    /// <summary>Small writes, zeros and discards all over, on both sides of where tables end.</summary>
    [Fact]
    public async Task Merge_OfAnyLayers_HasTheirContent()
    {
        const long Bytes = 600L << 20;
        for (var seed = 0; seed < 6; seed++)
        {
            var random = new Random(seed);
            List<LayerId> chain = [await Layer(below: null, "write -P 255 254M 4M", size: Bytes)];
            while (chain.Count < 6) chain.Add(await Layer(chain[^1], [.. Enumerable.Range(0, 60).Select(_ => Write())], Bytes));
            var merge = new LayerMerge(LayerId.New(), chain, random.Next(1, 4));

            var bytes = await Store.Merge(merge, Unlimited, Token);

            TestLibrary.QemuImg("compare", "-f", "qcow2", "-F", "qcow2", Store.PathOf(merge.Top), Store.PathOf(merge.Merged));
            TestLibrary.QemuImg("check", "-f", "qcow2", Store.PathOf(merge.Merged));
            Assert.True(bytes <= merge.Parts.Sum(Store.BytesOf), $"seed {seed}: {bytes} of {merge.Parts.Sum(Store.BytesOf)}");

            string Write()
            {
                var place = ((random.Next(3) switch { 0 => 0L, 1 => 254L << 20, _ => 510L << 20 }) + random.Next(4 << 20)) & -512L;
                var length = 512L * random.Next(1, random.Next(2) == 0 ? 16 : 2048);
                return string.Create(CultureInfo.InvariantCulture, $"{(random.Next(6) switch { 0 => "write -z", 1 => "discard", 2 => "write -z -u", _ => $"write -P {random.Next(0, 4)}" })} {place} {length}");
            }
        }
    }

    [Fact]
    public async Task Merge_OverWhatAMergeBeforeHasLeft_BeginsAnew()
    {
        var merge = new LayerMerge(LayerId.New(), await Chain(4), 1);
        await File.WriteAllTextAsync(Store.ConvertedPathOf(merge.Merged), "half a layer", Token);
        Assert.Contains(Store.List(), layer => layer.Id == merge.Merged && layer.IsPartial);

        await Store.Merge(merge, Unlimited, Token);

        TestLibrary.QemuImg("compare", "-f", "qcow2", "-F", "qcow2", Store.PathOf(merge.Top), Store.PathOf(merge.Merged));
    }

    [Fact]
    public async Task Merge_IsNotFasterThanItsRate()
    {
        var chain = await Chain(1);
        foreach (var part in new[] { 0, 1 }) chain.Add(await Layer(chain[^1], string.Create(CultureInfo.InvariantCulture, $"write -P 7 {part * 2}M 2M")));
        var merge = new LayerMerge(LayerId.New(), chain, 1);

        var clock = System.Diagnostics.Stopwatch.StartNew();
        await Store.Merge(merge, 8 << 20, Token);

        // The merge reads and writes 4 MiB, then reads them twice to compare: 16 MiB in all.
        Assert.True(clock.Elapsed > TimeSpan.FromSeconds(1.5), $"{clock.Elapsed}");
    }

    /// <summary>The layers below are neither read nor needed: their size makes no difference.</summary>
    [Fact]
    public async Task Merge_OverABaseThatCannotBeRead_IsMade()
    {
        var chain = await Chain(4);
        UnixFiles.ChangeMode(Store.PathOf(chain[0]), UnixFileMode.UserRead | UnixFileMode.UserWrite);
        var firstTables = (await File.ReadAllBytesAsync(Store.PathOf(chain[0]), Token))[..(4 * 65536)];
        await File.WriteAllBytesAsync(Store.PathOf(chain[0]), [.. firstTables, .. Enumerable.Repeat((byte)0xAA, 16 << 20)], Token);
        UnixFiles.ChangeMode(Store.PathOf(chain[0]), UnixFileMode.UserRead);

        Assert.True(await Store.Merge(new(LayerId.New(), chain, 1), Unlimited, Token) > 0);
    }

    /// <summary>A guest that has taken over its QEMU can write any header: here a size whose tables no program would read.</summary>
    [Fact]
    public async Task Merge_OfALayerThatSaysItIsEndless_IsRefused()
    {
        var chain = await Chain(3);
        Rewrite(Store.PathOf(chain[2]), file =>
        {
            file[79] = 0; // No subclusters.
            BinaryPrimitives.WriteInt32BigEndian(file[20..], 21);
            BinaryPrimitives.WriteInt64BigEndian(file[24..], 1L << 60);
            BinaryPrimitives.WriteInt32BigEndian(file[36..], 1 << 21);
            BinaryPrimitives.WriteInt64BigEndian(file[40..], 2 << 20);
        }, bytes: 20 << 20);

        Assert.Equal("layer-unreadable", (await Assert.ThrowsAsync<FaultException>(() => Store.Merge(new(LayerId.New(), chain, 1), Unlimited, Token))).Fault.Code);
        Assert.Empty(Directory.GetFiles(Store.Incoming));
    }

    /// <summary>Tables that name one cluster repeatedly make a small file look large.</summary>
    [Fact]
    public async Task Merge_OfALayerWhoseTablesNameOneClusterForAll_IsRefused()
    {
        const long Bytes = 16L << 30;
        List<LayerId> chain = [await Layer(below: null, [], Bytes)];
        chain.Add(await Layer(chain[0], ["write -P 1 0 64k"], Bytes));
        chain.Add(await Layer(chain[1], ["write -P 1 0 64k"], Bytes));
        Rewrite(Store.PathOf(chain[2]), NameOneClusterForAll);

        Assert.Equal("layer-unreadable", (await Assert.ThrowsAsync<FaultException>(() => Store.Merge(new(LayerId.New(), chain, 1), Unlimited, Token))).Fault.Code);
        Assert.Empty(Directory.GetFiles(Store.Incoming));
    }

    /// <summary>A top with a huge size, above a layer that ends early: after its end there are only zeros, which need not be stored.</summary>
    [Fact]
    public async Task Merge_OfALayerThatSaysItIsHuge_IsDoneAtOnce()
    {
        List<LayerId> chain = [await Layer(below: null)];
        chain.Add(await Layer(chain[0], "write -P 1 0 64k"));
        chain.Add(await Layer(chain[1], "write -P 2 1M 64k"));
        Rewrite(Store.PathOf(chain[2]), file =>
        {
            var l1 = (int)BinaryPrimitives.ReadInt64BigEndian(file[40..]);
            file[l1..(l1 + 8)].CopyTo(file[(16 << 20)..]);
            BinaryPrimitives.WriteInt64BigEndian(file[24..], 1L << 50);
            BinaryPrimitives.WriteInt32BigEndian(file[36..], 1 << 22);
            BinaryPrimitives.WriteInt64BigEndian(file[40..], 16 << 20);
        }, bytes: 48 << 20);
        var merge = new LayerMerge(LayerId.New(), chain, 1);

        await Store.Merge(merge, Unlimited, Token).WaitAsync(Testing.Bounds.Wait, Token);
    }

    [Fact]
    public async Task Merge_OfALayerThatIsNotThere_IsRefused()
    {
        var merge = new LayerMerge(LayerId.New(), [.. await Chain(3), LayerId.New()], 1);

        Assert.Equal("layer-missing", (await Assert.ThrowsAsync<FaultException>(() => Store.Merge(merge, Unlimited, Token))).Fault.Code);
    }

    [Fact]
    public async Task Merge_OfALayerThatSomebodyWritesTo_IsRefused()
    {
        var chain = await Chain(3);
        var top = LayerId.New();
        await Store.CreateLayer(top, chain[^1], Size, Token);

        Assert.Equal("layer-missing", (await Assert.ThrowsAsync<FaultException>(() => Store.Merge(new(LayerId.New(), [.. chain, top], 1), Unlimited, Token))).Fault.Code);
    }

    [Fact]
    public async Task Merge_ThatIsStopped_LeavesNothing()
    {
        var chain = await Chain(1);
        chain.Add(await Layer(chain[^1], "write -P 7 0 16M"));
        chain.Add(await Layer(chain[^1], "write -P 8 8M 16M"));
        using var stop = new CancellationTokenSource();
        var work = Store.Merge(new(LayerId.New(), chain, 1), 1 << 20, stop.Token);
        await Task.Delay(300, Token);

        await stop.CancelAsync();

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => work);
        Assert.Empty(Directory.GetFiles(Store.Incoming));
        Assert.Equal(chain.ToHashSet(), Store.List().Select(layer => layer.Id).ToHashSet());
    }

    /// <summary>Its file is tiny, but its tables name more data than the disk has room for.</summary>
    [Fact]
    public async Task Merge_OfALayerThatHasMoreThanItTakes_LeavesATwentiethFree()
    {
        using var small = new TestLibrary(tmpfsBytes: 200 << 20);
        const long Bytes = 256L << 20;
        List<LayerId> chain = [await Layer(below: null, [], Bytes, small.Store)];
        foreach (var _ in new[] { 1, 2 }) chain.Add(await Layer(chain[^1], ["write -P 1 0 64k"], Bytes, small.Store));
        Rewrite(small.Store.PathOf(chain[2]), NameOneClusterForAll);
        using (var file = new FileStream(small.Store.PathOf(chain[2]), FileMode.Open)) file.SetLength(1L << 40);
        var (least, watched) = (long.MaxValue, new CancellationTokenSource());
        var watch = Task.Run(async () =>
        {
            for (; !watched.IsCancellationRequested; await Task.Yield()) least = Math.Min(least, small.Store.FreeBytes);
        }, Token);

        var fault = (await Assert.ThrowsAsync<FaultException>(() => small.Store.Merge(new(LayerId.New(), chain, 1), Unlimited, Token))).Fault;

        await watched.CancelAsync();
        await watch;
        Assert.Equal("no-space", fault.Code);
        Assert.True(least > 0, "all of the disk was taken");
        Assert.Empty(Directory.GetFiles(small.Store.Incoming));
    }

    [Fact]
    public async Task Merge_OnAFullDisk_FailsCleanly()
    {
        using var small = new TestLibrary(tmpfsBytes: 40 << 20);
        var chain = await Chain(1, small.Store);
        foreach (var part in new[] { 0, 8, 16 }) chain.Add(await Layer(chain[^1], string.Create(CultureInfo.InvariantCulture, $"write -P 7 {part}M 8M"), small.Store));

        var fault = (await Assert.ThrowsAsync<FaultException>(() => small.Store.Merge(new(LayerId.New(), chain, 1), Unlimited, Token))).Fault;

        Assert.Equal("no-space", fault.Code);
        Assert.Empty(Directory.GetFiles(small.Store.Incoming));
        Assert.Equal(chain.ToHashSet(), small.Store.List().Select(layer => layer.Id).ToHashSet());
    }

    /// <summary>A base, and layers over it that overwrite parts of each other, with zeros among them.</summary>
    private async Task<List<LayerId>> Chain(int length, FolderLibraryStore? store = null)
    {
        List<LayerId> chain = [await Layer(below: null, "write -P 255 0 4M", store)];
        var random = new Random(5);
        while (chain.Count < length)
        {
            var at = random.Next(0, 24) * (1 << 20);
            chain.Add(await Layer(chain[^1], string.Create(CultureInfo.InvariantCulture, $"write -P {chain.Count} {at} {random.Next(1, 2000) * 1024}"), store));
            if (chain.Count < length) chain.Add(await Layer(chain[^1], string.Create(CultureInfo.InvariantCulture, $"write -z {at + 65536} 256k"), store));
        }

        return chain;
    }

    private async Task<bool> IsMerged(LayerMerge merge)
    {
        using var parts = Export.LayeredDisk.OpenLayers([.. merge.Parts], Store.PathOf);
        using var merged = Export.LayeredDisk.OpenLayers([merge.Merged], Store.PathOf);
        return await LayerComparison.IsMerged(parts, merged, Size, Pace.Unlimited, Token);
    }

    private Task<LayerId> Layer(LayerId? below, string? write = null, FolderLibraryStore? store = null, long size = Size) => Layer(below, write is null ? [] : [write], size, store);

    private async Task<LayerId> Layer(LayerId? below, IReadOnlyList<string> writes, long size, FolderLibraryStore? store = null)
    {
        store ??= Store;
        var layer = LayerId.New();
        await store.CreateLayer(layer, below, size, Token);
        if (writes.Count > 0) TestLibrary.Run("qemu-io", ["-f", "qcow2", "-d", "unmap", .. writes.SelectMany(write => new[] { "-c", write }), store.PathOf(layer)]);
        await store.Seal(layer);
        return layer;
    }

    /// <summary>All tables are one, of which each entry names the same cluster.</summary>
    private static void NameOneClusterForAll(Span<byte> file)
    {
        var l1 = file[(int)BinaryPrimitives.ReadInt64BigEndian(file[40..])..];
        for (var table = 1; table < BinaryPrimitives.ReadInt32BigEndian(file[36..]); table++) l1[..8].CopyTo(l1[(table * 8)..]);
        var l2 = file[(int)(BinaryPrimitives.ReadInt64BigEndian(l1) & 0x00FF_FFFF_FFFF_FE00)..];
        for (var entry = 1; entry < 4096; entry++) l2[..16].CopyTo(l2[(entry * 16)..]);
    }

    /// <param name="bytes">How large the file is at least.</param>
    private static void Rewrite(string path, Change change, int bytes = 0)
    {
        var file = File.ReadAllBytes(path);
        Array.Resize(ref file, Math.Max(bytes, file.Length));
        change(file);
        UnixFiles.ChangeMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        File.WriteAllBytes(path, file);
        UnixFiles.ChangeMode(path, UnixFiles.SealedMode);
    }

    private delegate void Change(Span<byte> file);

    private string Digest(LayerId layer) => Convert.ToHexString(System.Security.Cryptography.SHA256.HashData(File.ReadAllBytes(Store.PathOf(layer))));
}
