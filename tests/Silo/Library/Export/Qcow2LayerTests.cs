using CsCheck;
using Instances.Faults;
using Xunit;

namespace Instances.Library.Export;

/// <summary>Layers that a guest may have written after taking over its QEMU: whatever they contain, they are read or refused, and no other file is touched.</summary>
public sealed class Qcow2LayerTests : IDisposable
{
    private const int Size = 4 << 20;

    private readonly TestLibrary _library = new();
    private readonly TestChain _chain;

    public Qcow2LayerTests() => _chain = new(_library.Store);

    private static CancellationToken Token => TestContext.Current.CancellationToken;

    public void Dispose() => _library.Dispose();

    [Theory]
    [InlineData(0, 0)] // no magic
    [InlineData(7, 4)] // a later version
    [InlineData(79, 2)] // marked as corrupt
    [InlineData(79, 4)] // with its data in another file
    [InlineData(72, 128)] // with an unknown feature
    [InlineData(35, 2)] // encrypted
    [InlineData(23, 8), InlineData(23, 22), InlineData(23, 255)] // clusters of an impossible size
    [InlineData(24, 255), InlineData(28, 255)] // a size that is negative, or larger than its table reaches
    [InlineData(39, 0)] // no table
    [InlineData(40, 1), InlineData(47, 255)] // a table outside the file, or in its middle
    public async Task Open_FileThatIsNoLayer_IsRefused(int place, byte value)
    {
        await _chain.Add(Size, "write -P 1 0 4M");
        var mutant = Path.Combine(_library.Store.Folder, "mutant");
        await File.WriteAllBytesAsync(mutant, Import.TestImages.Patched(await File.ReadAllBytesAsync(_chain.TopPath, Token), place, value), Token);

        var exception = Assert.Throws<FaultException>(() => Qcow2Layer.Open(_chain.Disk.Layers[0], mutant));

        Assert.Equal("layer-unreadable", exception.Fault.Code);
    }

    [Fact]
    public async Task Read_CompressedCluster_IsRefused()
    {
        var (source, layer) = (LayerId.New(), LayerId.New());
        TestLibrary.QemuImg("create", "-q", "-f", "qcow2", _library.Store.PathOf(source), "1M");
        TestLibrary.Run("qemu-io", "-f", "qcow2", "-c", "write -P 1 0 1M", _library.Store.PathOf(source));
        TestLibrary.QemuImg("convert", "-c", "-f", "qcow2", "-O", "qcow2", _library.Store.PathOf(source), _library.Store.PathOf(layer));
        using var disk = LayeredDisk.Open(new([layer], 1 << 20), _library.Store.PathOf);

        var exception = await Assert.ThrowsAsync<FaultException>(async () => await disk.Read(0, new byte[4096], Token));

        Assert.Equal("layer-unreadable", exception.Fault.Code);
    }

    [Fact]
    public async Task Open_DiskOfAnotherSize_IsRefused()
    {
        await _chain.Add(Size);

        var exception = Assert.Throws<FaultException>(() => LayeredDisk.Open(_chain.Disk with { VirtualSizeBytes = Size * 2 }, _library.Store.PathOf));

        Assert.Equal("layer-unreadable", exception.Fault.Code);
    }

    /// <summary>The name of a backing file is never followed: without its parent only the top is read.</summary>
    [Fact]
    public async Task Read_TopWithoutItsBase_DoesNotOpenIt()
    {
        await _chain.Add(Size, "write -P 1 0 4M");
        await _chain.Add(Size, "write -P 2 0 64k");
        using var top = LayeredDisk.Open(new([_chain.Disk.Layers[1]], Size), _library.Store.PathOf);

        Assert.Equal((true, 65536), top.Find(0, Size));
        Assert.Equal((false, Size - 65536), top.Find(65536, Size));
    }

    [Fact]
    public async Task Read_AnyMutationOfALayer_EndsWithBytesOrAFault()
    {
        await _chain.Add(Size, "write -P 1 0 1M", "write -z 2M 1M");
        await _chain.Add(Size, "write -P 2 1M 100k", "write -P 3 3M 3k");
        var (whole, path) = (await File.ReadAllBytesAsync(_chain.TopPath, Token), Path.Combine(_library.Store.Folder, "mutant"));
        var mutation =
            from place in Gen.OneOf(Gen.Int[0, 112], Gen.Int[65536 * 3, (65536 * 5) - 1], Gen.Int[0, whole.Length - 1])
            from value in Gen.Byte
            select (Place: place, Value: value);

        await Gen.Select(mutation.Array[1, 6], Gen.OneOf(Gen.Const(whole.Length), Gen.Int[0, whole.Length])).SampleAsync(async (mutations, length) =>
        {
            var mutant = (byte[])whole.Clone();
            foreach (var (place, value) in mutations) mutant[place] = value;
            await File.WriteAllBytesAsync(path, mutant[..length], Token);
            try
            {
                using var disk = LayeredDisk.Open(_chain.Disk, layer => layer == _chain.Disk.Layers[1] ? path : _library.Store.PathOf(layer));
                using var file = DiskFile.Of(disk, ExportFormat.Qcow2, Guid.Empty, Token);
                await file.Write(Stream.Null, Token);
            }
            catch (FaultException exception) when (exception.Fault.Code == "layer-unreadable")
            {
                // Refused.
            }
        }, iter: 400, threads: 1);
    }
}
