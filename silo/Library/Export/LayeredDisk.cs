using Instances.Faults;
using Instances.VirtualMachines;

namespace Instances.Library.Export;

/// <summary>A disk as its machine would see it: all layers of its chain, open for reading.</summary>
internal sealed class LayeredDisk : IDisposable
{
    /// <summary>The most entries of L1 tables that all layers have together: 256 MiB of memory, a hundred layers of a disk of 80 TiB.</summary>
    private const long MaxTables = 32L << 20;

    private readonly List<Qcow2Layer> _layers = [];

    private LayeredDisk()
    {
    }

    public long VirtualSizeBytes => _layers[0].VirtualSizeBytes;

    /// <summary>How far one of the layers reaches.</summary>
    public long LargestBytes => _layers.Max(layer => layer.VirtualSizeBytes);

    /// <summary>How much was read of the layers' files so far, tables too.</summary>
    public long BytesRead => _layers.Sum(layer => layer.BytesRead);

    /// <exception cref="FaultException">layer-missing; layer-unreadable, also if the top has another size than the chain.</exception>
    public static LayeredDisk Open(DiskChain chain, Func<LayerId, string> pathOf)
    {
        var disk = OpenLayers(chain.Layers, pathOf);
        if (disk.VirtualSizeBytes == chain.VirtualSizeBytes) return disk;
        disk.Dispose();
        throw ExportFaults.LayerUnreadable(chain.Layers[^1], "it has another size than its image says");
    }

    /// <param name="chain">From the base to the top, which says how large the disk is.</param>
    /// <exception cref="FaultException">layer-missing; layer-unreadable.</exception>
    public static LayeredDisk OpenLayers(IReadOnlyList<LayerId> chain, Func<LayerId, string> pathOf)
    {
        var disk = new LayeredDisk();
        try
        {
            // The top first: it is the first to be asked.
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

    /// <summary>How far the disk is of one kind from an offset on: data that is written somewhere in the chain, or none, which is zeros.</summary>
    /// <param name="bytes">As far as it is looked.</param>
    public (bool IsData, long Bytes) Find(long offset, long bytes)
    {
        var run = Locate(offset, bytes, out _);
        return (run.Kind is LayerRunKind.Data, run.Bytes);
    }

    /// <summary>What the layers say of the disk from an offset on; <see cref="LayerRunKind.Absent"/> where none of them says anything.</summary>
    /// <param name="bytes">As far as it is looked.</param>
    public (LayerRunKind Kind, long Bytes) Trace(long offset, long bytes)
    {
        var run = Locate(offset, bytes, out _);
        return (run.Kind, run.Bytes);
    }

    /// <summary>Reads a part of the disk. Behind its end are zeros.</summary>
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

    /// <summary>For who goes through the disk once, and once only since it was opened.</summary>
    /// <exception cref="FaultException">layer-unreadable: the tables of a layer name what it has over and over, so that a small file looks like a large one.</exception>
    public void RequireReadOnce()
    {
        if (_layers.Find(layer => layer.IsReadAgain) is { } layer) throw layer.Unreadable("its tables name the same places over and over");
    }

    public void Dispose() => _layers.ForEach(layer => layer.Dispose());

    public FaultException Unreadable(string what) => ExportFaults.LayerUnreadable(_layers[0].Id, what);

    /// <param name="above">How many layers lie above the one that says it; all of them where none does.</param>
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
