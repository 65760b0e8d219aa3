using Instances.Faults;
using Microsoft.Extensions.Options;

namespace Instances.Library.Export;

/// <summary>Exports images from the library's layers, a bounded number at a time.</summary>
/// <remarks>
/// An export does not prevent a deletion. It first opens the layers, and then checks the image. A deletion first marks the image, and then removes layers. So either the export sees
/// that the image is deleted, or it has all layers open, and an open file keeps its content.
/// </remarks>
internal sealed class ImageExporter(FolderLibraryStore store, IGrainFactory grains, ExportCompressor compressor, IOptions<ExportOptions> options)
{
    /// <summary>How often an export is restarted because a compaction has replaced layers of the image in between.</summary>
    private const int MaxAttempts = 3;

    private readonly SemaphoreSlim _places = new(options.Value.MaxExports, options.Value.MaxExports);

    /// <exception cref="FaultException">too-many-exports.</exception>
    public IDisposable TakePlace() => _places.Wait(0, CancellationToken.None) ? new Place(_places) : throw ExportFaults.TooMany(options.Value.MaxExports);

    /// <exception cref="FaultException">image-not-found; image-not-ready; image-corrupt; layer-missing; layer-unreadable; export-format-unsupported.</exception>
    public async Task<ImageExport> Open(ImageId id, ExportFormat format, ExportCompression? compression, CancellationToken cancellationToken)
    {
        var image = await grains.Image(id).AcceptExport();
        for (var attempt = 1; ; attempt++)
        {
            IReadOnlyList<LayeredDisk> disks;
            try
            {
                disks = OpenDisks(image);
            }
            catch (FaultException)
            {
                var known = image;
                image = await grains.Image(id).AcceptExport();
                if (attempt == MaxAttempts || LayersOf(image).SequenceEqual(LayersOf(known))) throw;
                continue;
            }

            try
            {
                await grains.Image(id).AcceptExport();
            }
            catch
            {
                foreach (var disk in disks) disk.Dispose();
                throw;
            }

            return await ImageExport.Prepare(image, disks, format, compression is ExportCompression.Zstd ? compressor : null, cancellationToken);
        }
    }

    private List<LayeredDisk> OpenDisks(ImageView image)
    {
        var disks = new List<LayeredDisk>();
        try
        {
            foreach (var disk in image.Disks) disks.Add(LayeredDisk.Open(disk.ToChain(), store.PathOf));
            return disks;
        }
        catch
        {
            disks.ForEach(disk => disk.Dispose());
            throw;
        }
    }

    private static IEnumerable<LayerId> LayersOf(ImageView image) => image.Disks.SelectMany(disk => disk.Layers).Select(layer => layer.Id);
}
