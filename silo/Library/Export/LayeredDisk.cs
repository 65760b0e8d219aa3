using Instances.Faults;
using Instances.VirtualMachines;

namespace Instances.Library.Export;

/// <summary>A disk as its machine would see it: all layers of its chain, open for reading.</summary>
internal sealed class LayeredDisk : IDisposable
{
    private readonly List<Qcow2Layer> _layers = [];

    private LayeredDisk(long virtualSizeBytes) => VirtualSizeBytes = virtualSizeBytes;

    public long VirtualSizeBytes { get; }

    /// <exception cref="FaultException">layer-missing; layer-unreadable.</exception>
    public static LayeredDisk Open(DiskChain chain, Func<LayerId, string> pathOf)
    {
        var disk = new LayeredDisk(chain.VirtualSizeBytes);
        try
        {
            // The top first: it is the first to be asked.
            foreach (var layer in chain.Layers.Reverse()) disk._layers.Add(Qcow2Layer.Open(layer, pathOf(layer)));
            return disk._layers[0].VirtualSizeBytes == chain.VirtualSizeBytes ? disk : throw ExportFaults.LayerUnreadable(chain.Layers[^1], "it has another size than its image says");
        }
        catch
        {
            disk.Dispose();
            throw;
        }
    }

    /// <summary>How far the disk is of one kind from an offset on: data that is written somewhere in the chain, or zeros.</summary>
    /// <param name="bytes">As far as it is looked.</param>
    public (bool IsData, long Bytes) Find(long offset, long bytes)
    {
        var run = Locate(offset, bytes, out var layer);
        return (layer is not null, run.Bytes);
    }

    /// <summary>Reads a part of the disk. Behind its end are zeros.</summary>
    /// <exception cref="FaultException">layer-unreadable.</exception>
    public async ValueTask Read(long offset, Memory<byte> buffer, CancellationToken cancellationToken)
    {
        while (buffer.Length > 0)
        {
            var run = Locate(offset, buffer.Length, out var layer);
            var part = buffer[..(int)run.Bytes];
            if (layer is null) part.Span.Clear();
            else await layer.Read(run.Place, part, cancellationToken);
            (offset, buffer) = (offset + run.Bytes, buffer[(int)run.Bytes..]);
        }
    }

    public void Dispose() => _layers.ForEach(layer => layer.Dispose());

    /// <param name="layer">The one that has the data; null for zeros.</param>
    private LayerRun Locate(long offset, long bytes, out Qcow2Layer? layer)
    {
        foreach (var candidate in _layers)
        {
            var run = candidate.Find(offset, bytes);
            bytes = run.Bytes;
            if (run.Kind is LayerRunKind.Absent) continue;
            layer = run.Kind is LayerRunKind.Data ? candidate : null;
            return run;
        }

        layer = null;
        return new(LayerRunKind.Zeros, 0, bytes);
    }
}
