using Xunit;

namespace Instances.Library.Import;

public sealed class ImageHeadTests : IDisposable
{
    private const long DiskBytes = (5 << 20) + 512;

    private readonly string _path = Path.GetTempFileName();

    public void Dispose() => File.Delete(_path);

    /// <summary>The head and the whole file must give the same size. Otherwise an upload would be admitted with one size and counted with another.</summary>
    [Theory]
    [InlineData("qcow2", "compat=1.1", true)]
    [InlineData("qcow2", "compat=0.10", true)]
    [InlineData("vmdk", "subformat=monolithicSparse", true)]
    [InlineData("vmdk", "subformat=streamOptimized", true)]
    [InlineData("vdi", "static=off", true)]
    [InlineData("vpc", "subformat=dynamic", true)]
    [InlineData("vpc", "subformat=fixed", false)]
    [InlineData("vhdx", "subformat=dynamic", false)]
    public void VirtualSize_OfAnImage_IsThatOfItsDisk(string format, string options, bool isInTheHead)
    {
        Write(TestImages.Made("create", "-q", "-f", format, "-o", options, "$path", $"{DiskBytes}"));
        using var file = File.OpenHandle(_path);
        var whole = ImageInspector.Inspect(file, declared: null, long.MaxValue).VirtualSizeBytes;

        Assert.Equal(isInTheHead ? whole : null, ImageHead.VirtualSize(_path, declared: null, long.MaxValue));
        Assert.Equal(isInTheHead ? whole : null, ImageHead.VirtualSize(_path, declared: null, whole));
        Assert.Null(ImageHead.VirtualSize(_path, declared: null, whole - 1));
        Assert.Null(ImageHead.VirtualSize(_path, ImageFormat.Raw, long.MaxValue));
    }

    [Theory]
    [InlineData(0)]
    [InlineData(24)]
    [InlineData(511)]
    public void VirtualSize_OfAHeadThatHasNotComeWhole_IsNotKnown(int bytes)
    {
        Write(TestImages.Plain[..bytes]);

        Assert.Null(ImageHead.VirtualSize(_path, declared: null, long.MaxValue));
    }

    [Theory]
    [InlineData(0UL)]
    [InlineData(1UL << 63)]
    [InlineData(ulong.MaxValue)]
    public void VirtualSize_ThatIsImpossible_IsLeftToTheInspector(ulong size)
    {
        var bytes = (byte[])TestImages.Plain.Clone();
        System.Buffers.Binary.BinaryPrimitives.WriteUInt64BigEndian(bytes.AsSpan(24), size);
        Write(bytes);
        Assert.Null(ImageHead.VirtualSize(_path, declared: null, long.MaxValue));

        bytes = (byte[])TestImages.Made("create", "-q", "-f", "vmdk", "$path", "1M").Clone();
        System.Buffers.Binary.BinaryPrimitives.WriteUInt64LittleEndian(bytes.AsSpan(12), size);
        Write(bytes);
        Assert.Null(ImageHead.VirtualSize(_path, declared: null, long.MaxValue));
    }

    private void Write(byte[] bytes) => File.WriteAllBytes(_path, bytes);
}
