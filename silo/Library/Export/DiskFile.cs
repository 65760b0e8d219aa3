using System.Buffers;
using System.Runtime.CompilerServices;

namespace Instances.Library.Export;

/// <summary>A disk as a file of some format, which is made while it is written: nothing of it lies anywhere before. The same disk with the same identity gives the same bytes each time.</summary>
internal abstract class DiskFile(LayeredDisk disk) : IDisposable
{
    protected const int SectorBytes = 512;

    /// <summary>Small enough for the caches of a processor, through which each passes several times.</summary>
    protected const int ChunkBytes = 256 << 10;
    protected const int UnitsOfChunk = ChunkBytes / AllocationMap.UnitBytes;

    /// <summary>How long the file is; null if that shows only when it is made.</summary>
    public abstract long? Bytes { get; }

    protected LayeredDisk Disk => disk;

    /// <summary>Looks where the disk has data. Its layers are closed with the file, or where there comes to be none.</summary>
    /// <param name="id">Stands in files that have an identity.</param>
    /// <exception cref="Faults.FaultException">layer-unreadable; export-format-unsupported.</exception>
    public static DiskFile Of(LayeredDisk disk, ExportFormat format, Guid id, CancellationToken cancellationToken)
    {
        try
        {
            return format switch
            {
                ExportFormat.Raw => new RawFile(disk),
                ExportFormat.Qcow2 => new Qcow2File(disk, AllocationMap.Of(disk, cancellationToken)),
                ExportFormat.Vmdk => new VmdkFile(disk, AllocationMap.Of(disk, cancellationToken), id),
                ExportFormat.Vhdx => new VhdxFile(disk, AllocationMap.Of(disk, cancellationToken), id),
            };
        }
        catch
        {
            disk.Dispose();
            throw;
        }
    }

    /// <exception cref="Faults.FaultException">layer-unreadable: what was written is no whole file.</exception>
    public abstract Task Write(Stream target, CancellationToken cancellationToken);

    public void Dispose() => disk.Dispose();

    /// <summary>Reads parts of the disk, of <see cref="ChunkBytes"/> at most: the next one while the one before is worked on.</summary>
    /// <returns>Each is good until the next one is asked for.</returns>
    protected async IAsyncEnumerable<(long Offset, ReadOnlyMemory<byte> Data)> Read(IEnumerable<(long Offset, int Bytes)> parts, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        byte[][] buffers = [ArrayPool<byte>.Shared.Rent(ChunkBytes), ArrayPool<byte>.Shared.Rent(ChunkBytes)];
        using var part = parts.GetEnumerator();
        var turn = 0;
        var next = Begin();
        try
        {
            while (next is not null)
            {
                var read = await next;
                next = Begin();
                yield return read;
            }
        }
        finally
        {
            // Whoever ends early leaves no read behind that still fills a buffer.
            if (next is not null) await ((Task)next).ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing);
            Array.ForEach(buffers, buffer => ArrayPool<byte>.Shared.Return(buffer));
        }

        Task<(long, ReadOnlyMemory<byte>)>? Begin() => part.MoveNext() ? Load(part.Current.Offset, buffers[turn ^= 1].AsMemory(0, part.Current.Bytes)) : null;

        async Task<(long, ReadOnlyMemory<byte>)> Load(long offset, Memory<byte> buffer)
        {
            await disk.Read(offset, buffer, cancellationToken);
            return (offset, buffer);
        }
    }

    protected static long DivideUp(long number, long by) => (number + by - 1) / by;
}
