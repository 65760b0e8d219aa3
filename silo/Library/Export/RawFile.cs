namespace Instances.Library.Export;

/// <summary>The disk's bytes as they are, zeros too.</summary>
internal sealed class RawFile(LayeredDisk disk) : DiskFile(disk)
{
    public override long? Bytes => Disk.VirtualSizeBytes;

    public override async Task Write(Stream target, CancellationToken cancellationToken)
    {
        await foreach (var (_, data) in Read(Chunks(), cancellationToken)) await target.WriteAsync(data, cancellationToken);
    }

    private IEnumerable<(long Offset, int Bytes)> Chunks()
    {
        for (var offset = 0L; offset < Disk.VirtualSizeBytes; offset += ChunkBytes) yield return (offset, (int)Math.Min(ChunkBytes, Disk.VirtualSizeBytes - offset));
    }
}
