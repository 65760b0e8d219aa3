using System.Buffers;
using System.Runtime.CompilerServices;

namespace Instances.Library.Export;

/// <summary>A disk as a file of some format. The file is created while it is written, and not stored before. The same disk with the same identity gives the same bytes each time.</summary>
internal abstract class DiskFile(LayeredDisk disk) : IDisposable
{
    protected const int SectorBytes = 512;

    /// <summary>Small enough for a processor's caches, because each chunk is processed several times.</summary>
    protected const int ChunkBytes = 256 << 10;
    protected const int UnitsOfChunk = ChunkBytes / AllocationMap.UnitBytes;

    /// <summary>The length of the file; null if it is known only at the end.</summary>
    public abstract long? Bytes { get; }

    protected LayeredDisk Disk => disk;

    /// <summary>Determines where the disk has data. The disk's layers are closed with the file, or if this fails.</summary>
    /// <param name="id">The identity for formats that have one.</param>
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

    /// <exception cref="Faults.FaultException">layer-unreadable: the written bytes are not a complete file.</exception>
    public abstract Task Write(Stream target, CancellationToken cancellationToken);

    public void Dispose() => disk.Dispose();

    /// <summary>Reads parts of the disk, of <see cref="ChunkBytes"/> at most: the next one is read while the previous one is processed.</summary>
    /// <returns>Each is valid until the next one is requested.</returns>
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
            // If the caller ends early, wait for a read that still fills a buffer.
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
