using Instances.Faults;
using Instances.Operations;
using Microsoft.Extensions.Options;
using Xunit;

namespace Instances.Library.Import;

/// <summary>A base layer is made of a chain of real files.</summary>
public sealed class PromotionTests : IDisposable
{
    private const long Size = 8L << 20;

    private readonly TestLibrary _library = new();
    private readonly ImageId _image = ImageId.New();
    private readonly ImageId _source = ImageId.New();

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    private FolderLibraryStore Store => _library.Store;

    public void Dispose() => _library.Dispose();

    [Fact]
    public async Task Flatten_MakesOneBaseOfEachDiskWithItsContent()
    {
        var plan = Plan(await Disk(4), await Disk(1));

        var manifest = await Flatten(plan);

        Assert.Equal((ImageKind.Master, _source, plan.Operation), (manifest.Kind, manifest.Promotion!.Source, manifest.Promotion.Operation));
        foreach (var (disk, made) in plan.Promotion!.Disks.Zip(manifest.Disks))
        {
            var layer = Assert.Single(made.Layers);
            Assert.Equal((null, _image, Store.BytesOf(layer.Id)), (layer.Parent, layer.Image, layer.Bytes));
            Assert.True(Store.IsSealed(layer.Id));
            TestLibrary.QemuImg("compare", "-f", "qcow2", "-F", "qcow2", Store.PathOf(disk.Layers[^1].Id), Store.PathOf(layer.Id));
            Assert.DoesNotContain("backing", TestLibrary.QemuImg("info", "--output=json", Store.PathOf(layer.Id)), StringComparison.Ordinal);
        }

        Assert.Empty(Directory.GetFiles(Store.Incoming));
        Assert.Equal(manifest.Disks[0].Layers[0].Id, Assert.Single(await Store.ReadManifests(Token)).Disks[0].Layers[0].Id);
    }

    [Fact]
    public async Task Flatten_AfterACrashThatLeftHalfOfIt_EndsTheSame()
    {
        var plan = Plan(await Disk(3), await Disk(2));
        var first = await Flatten(plan);
        await Store.DeleteManifest(_image);
        await Store.Delete(plan.Layers[1]);
        await File.WriteAllTextAsync(Store.ConvertedPathOf(plan.Layers[1]), "half a layer", Token);

        var second = await Flatten(plan);

        Assert.Equal(first.Disks.SelectMany(disk => disk.Layers), second.Disks.SelectMany(disk => disk.Layers));
        TestLibrary.QemuImg("compare", "-f", "qcow2", "-F", "qcow2", Store.PathOf(plan.Promotion!.Disks[1].Layers[^1].Id), Store.PathOf(plan.Layers[1]));
    }

    [Fact]
    public async Task Flatten_OfACorruptLayer_IsRefusedAndLeavesNothing()
    {
        var disk = await Disk(3);
        var plan = Plan(disk with { Layers = [.. disk.Layers.SkipLast(1), disk.Layers[^1] with { Sha256 = new string('0', 64) }] });

        Assert.Equal("layer-corrupt", (await Assert.ThrowsAsync<FaultException>(() => Flatten(plan))).Fault.Code);

        AssertOnlyTheSourceIsThere(plan);
    }

    [Fact]
    public async Task Flatten_OfALayerWhoseHeaderNamesAnotherFile_ReadsTheLayersOfTheRecord()
    {
        var disk = await Disk(3);
        var (path, expected) = (Store.PathOf(disk.Layers[^1].Id), Path.Combine(Store.Folder, "expected"));
        TestLibrary.QemuImg("convert", "-O", "raw", path, expected);
        UnixFiles.ChangeMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
        TestLibrary.QemuImg("rebase", "-q", "-u", "-f", "qcow2", "-b", "/etc/passwd", "-F", "raw", path);
        await Store.Seal(disk.Layers[^1].Id);

        var made = await Flatten(Plan(disk));

        TestLibrary.QemuImg("compare", "-f", "raw", "-F", "qcow2", expected, Store.PathOf(made.Disks[0].Layers[0].Id));
    }

    [Fact]
    public async Task Flatten_OfAMissingLayer_IsRefusedAndLeavesNothing()
    {
        var disk = await Disk(3);
        var plan = Plan(disk with { Layers = [.. disk.Layers, new(LayerId.New(), disk.Layers[^1].Id, 1, _source)] });

        Assert.Equal("layer-missing", (await Assert.ThrowsAsync<FaultException>(() => Flatten(plan))).Fault.Code);

        Assert.Empty(Directory.GetFiles(Store.Incoming));
        Assert.Empty(await Store.ReadManifests(Token));
    }

    [Theory]
    [InlineData(ImportStage.Checking)]
    [InlineData(ImportStage.Converting)]
    [InlineData(ImportStage.Publishing)]
    public async Task Flatten_ThatIsCancelled_LeavesNothing(ImportStage at)
    {
        var plan = Plan(await Disk(3), await Disk(2));

        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => Flatten(plan, cancelAt: at));

        AssertOnlyTheSourceIsThere(plan);
    }

    /// <summary>A device that cannot be synced stands for a disk that fails.</summary>
    [Fact]
    public async Task Flatten_OnADiskThatFails_SaysSoAndLeavesNothing()
    {
        var plan = Plan(await Disk(2));
        Task<bool> Report(ImportStage stage, long bytes)
        {
            if (stage is not ImportStage.Publishing) return Task.FromResult(true);
            File.Delete(Store.ConvertedPathOf(plan.Layer));
            File.CreateSymbolicLink(Store.ConvertedPathOf(plan.Layer), "/dev/full");
            return Task.FromResult(true);
        }

        var failure = await Assert.ThrowsAsync<FaultException>(() => Converter().Flatten(_image, plan, Report, Token));

        Assert.Equal("disk-failed", failure.Fault.Code);
        AssertOnlyTheSourceIsThere(plan);
    }

    /// <summary>As a restart in order does it.</summary>
    [Fact]
    public async Task Flatten_WhenItsProcessEnds_KeepsWhatIsMadeForTheNextOne()
    {
        var plan = Plan(await Disk(2));
        using var stop = CancellationTokenSource.CreateLinkedTokenSource(Token);
        await Assert.ThrowsAnyAsync<OperationCanceledException>(() => Converter().Flatten(_image, plan, async (stage, _) =>
        {
            if (stage is ImportStage.Publishing) await stop.CancelAsync();
            return true;
        }, stop.Token));

        Assert.True(File.Exists(Store.ConvertedPathOf(plan.Layer)));
        await Flatten(plan);
        Assert.True(Store.IsSealed(plan.Layer));
    }

    private void AssertOnlyTheSourceIsThere(UploadPlan plan)
    {
        Assert.Empty(Directory.GetFiles(Store.Incoming));
        Assert.Equal(plan.Promotion!.Disks.SelectMany(disk => disk.Layers).Select(layer => layer.Id).ToHashSet(), Store.List().Select(layer => layer.Id).ToHashSet());
        Assert.Empty(Directory.GetFiles(Store.Folder, "*.json"));
    }

    private Task<ImageManifest> Flatten(UploadPlan plan, ImportStage? cancelAt = null) =>
        Converter().Flatten(_image, plan, (stage, _) => Task.FromResult(stage != cancelAt), Token);

    private ImageConverter Converter()
    {
        var options = Options.Create(new ImportOptions());
        var decompressor = new Decompressor(Store, _library.Confinement, options, Options.Create(new LibraryOptions()));
        return new(Store, _library.Tools, _library.Confinement, decompressor, options, TimeProvider.System);
    }

    private UploadPlan Plan(params DiskManifest[] disks)
    {
        LayerId[] layers = [.. disks.Select(_ => LayerId.New())];
        return new(OperationId.New(), layers[0], new("gold", Format: null), new(_source, disks, layers));
    }

    private async Task<DiskManifest> Disk(int depth)
    {
        List<LayerManifest> layers = [];
        for (var index = 0; index < depth; index++)
        {
            var layer = LayerId.New();
            await Store.CreateLayer(layer, layers.Count == 0 ? null : layers[^1].Id, Size, Token);
            TestLibrary.Run("qemu-io", "-f", "qcow2", "-c", $"write -P {index + 1} {index * 700}k 1M", "-c", $"write -z {index * 100}k 64k", Store.PathOf(layer));
            layers.Add(new(layer, layers.Count == 0 ? null : layers[^1].Id, await Store.Seal(layer), _source));
        }

        return new(layers, Size);
    }
}
