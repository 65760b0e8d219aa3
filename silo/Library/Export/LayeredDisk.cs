using Instances.Faults;
using Instances.VirtualMachines;

namespace Instances.Library.Export;

/// <summary>A disk as its machine would see it: all layers of its chain, open for reading.</summary>
internal sealed class LayeredDisk : IDisposable
{
    /// <summary>The most entries of all layers' L1 tables together: 256 MiB of memory, or a hundred layers of a disk of 80 TiB.</summary>
    private const long MaxTables = 32L << 20;

    private readonly List<Qcow2Layer> _layers = [];

    private LayeredDisk()
    {
    }

    public long VirtualSizeBytes => _layers[0].VirtualSizeBytes;

    /// <summary>The largest disk size of the layers.</summary>
    public long LargestBytes => _layers.Max(layer => layer.VirtualSizeBytes);

    /// <summary>How much was read of the layers' files so far, including tables.</summary>
    public long BytesRead => _layers.Sum(layer => layer.BytesRead);

    /// <exception cref="FaultException">layer-missing; layer-unreadable, also if the top has another size than the chain.</exception>
    public static LayeredDisk Open(DiskChain chain, Func<LayerId, string> pathOf)
    {
        var disk = OpenLayers(chain.Layers, pathOf);
        if (disk.VirtualSizeBytes == chain.VirtualSizeBytes) return disk;
        disk.Dispose();
        throw ExportFaults.LayerUnreadable(chain.Layers[^1], "it has another size than its image says");
    }

    /// <param name="chain">From the base to the top, whose size is the disk's size.</param>
    /// <exception cref="FaultException">layer-missing; layer-unreadable.</exception>
    public static LayeredDisk OpenLayers(IReadOnlyList<LayerId> chain, Func<LayerId, string> pathOf)
    {
        var disk = new LayeredDisk();
        try
        {
            // The top first, because reads ask it first.
            var tables = 0L;
            foreach (var layer in chain.Reverse())
            {
                disk._layers.Add(Qcow2Layer.Open(layer, pathOf(layer)));
                if ((tables += disk._layers[^1].Tables) > MaxTables) throw disk._layers[^1].Unreadable("the tables of its chain take more memory than they may");
            }

            return disk;
        }
        catch
        {
            disk.Dispose();
            throw;
        }
    }

    /// <summary>The length of the run at an offset that is either data of a layer in the chain, or zeros.</summary>
    /// <param name="bytes">The most bytes to examine.</param>
    public (bool IsData, long Bytes) Find(long offset, long bytes)
    {
        var run = Locate(offset, bytes, out _);
        return (run.Kind is LayerRunKind.Data, run.Bytes);
    }

    /// <summary>The run of the layers at an offset; <see cref="LayerRunKind.Absent"/> if no layer has it.</summary>
    /// <param name="bytes">The most bytes to examine.</param>
    public (LayerRunKind Kind, long Bytes) Trace(long offset, long bytes)
    {
        var run = Locate(offset, bytes, out _);
        return (run.Kind, run.Bytes);
    }

    /// <summary>Reads a part of the disk. After its end are zeros.</summary>
    /// <exception cref="FaultException">layer-unreadable.</exception>
    public async ValueTask Read(long offset, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        while (buffer.Length > 0)
        {
            var run = Locate(offset, buffer.Length, out var above);
            var part = buffer[..(int)run.Bytes];
            if (run.Kind is LayerRunKind.Data) await _layers[above].Read(run.Place, part, cancellationToken);
            else part.Span.Clear();
            (offset, buffer) = (offset + run.Bytes, buffer[(int)run.Bytes..]);
        }
    }

    /// <summary>Checks the tables after exactly one pass over the disk.</summary>
    /// <exception cref="FaultException">layer-unreadable: the tables of a layer name the same places repeatedly, so that a small file looks like a large one.</exception>
    public void RequireReadOnce()
    {
        if (_layers.Find(layer => layer.IsReadAgain) is { } layer) throw layer.Unreadable("its tables name the same places repeatedly");
    }

    public void Dispose() => _layers.ForEach(layer => layer.Dispose());

    public FaultException Unreadable(string what) => ExportFaults.LayerUnreadable(_layers[0].Id, what);

    /// <param name="above">The number of layers above the one that has the run; all of them if none has it.</param>
    private LayerRun Locate(long offset, long bytes, out int above)
    {
        for (above = 0; above < _layers.Count; above++)
        {
            var run = _layers[above].Find(offset, bytes);
            if (run.Kind is not LayerRunKind.Absent) return run;
            bytes = run.Bytes;
        }

        return new(LayerRunKind.Absent, 0, bytes);
    }
}
