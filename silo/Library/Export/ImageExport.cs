using System.Net.Mime;

namespace Instances.Library.Export;

/// <summary>An image that is being exported: its layers are open, so that the export can be completed even if the image is deleted.</summary>
internal sealed class ImageExport : IDisposable
{
    private readonly IReadOnlyList<(string Name, DiskFile File)> _disks;
    private readonly DiskArchive? _archive;
    private readonly ExportCompressor? _compressor;
    private readonly long _virtualBytes;

    private ImageExport(IReadOnlyList<(string, DiskFile)> disks, DiskArchive? archive, string name, long? bytes, ExportCompressor? compressor, long virtualBytes)
    {
        (_disks, _archive, _compressor, _virtualBytes) = (disks, archive, compressor, virtualBytes);
        var isCompressed = compressor is not null;
        FileName = (archive is null ? disks[0].Item1 : $"{name}.tar") + (isCompressed ? ".zst" : "");
        ContentType = isCompressed ? "application/zstd" : archive is not null ? "application/x-tar" : MediaTypeNames.Application.Octet;
        Bytes = isCompressed ? null : bytes;
    }

    public string FileName { get; }

    public string ContentType { get; }

    /// <summary>How many bytes will be written; null if that is known only at the end.</summary>
    public long? Bytes { get; }

    /// <summary>Determines where the disks have data, and so the length of the export.</summary>
    /// <param name="disks">Closed with the export, or if this fails.</param>
    /// <param name="compressor">Null for none.</param>
    /// <exception cref="Faults.FaultException">layer-unreadable; export-format-unsupported.</exception>
    public static async Task<ImageExport> Prepare(
        ImageView image, IReadOnlyList<LayeredDisk> disks, ExportFormat format, ExportCompressor? compressor, CancellationToken cancellationToken)
    {
        var files = new List<(string Name, DiskFile File)>();
        try
        {
            if (format is ExportFormat.Vmdk && disks.Count > 1)
                throw ExportFaults.FormatUnsupported("The image has several disks, and the length of a compressed VMDK file is known too late to put it into an archive.");
            var name = ExportName.Of(image.Name, image.Id);
            var extension = format.ToString().ToLowerInvariant();
            for (var index = 0; index < disks.Count; index++)
            {
                var id = image.Disks[index].Layers[^1].Id.Value;
                files.Add((disks.Count == 1 ? $"{name}.{extension}" : $"{name}-disk{index}.{extension}", await Task.Run(() => DiskFile.Of(disks[index], format, id, cancellationToken), cancellationToken)));
            }

            var archive = files.Count > 1 ? new DiskArchive(files, image.CreatedAt) : null;
            var bytes = archive is null ? files[0].File.Bytes : await archive.Measure(cancellationToken);
            return new(files, archive, name, bytes, compressor, disks.Sum(disk => disk.VirtualSizeBytes));
        }
        catch
        {
            foreach (var disk in disks) disk.Dispose();
            throw;
        }
    }

    /// <summary>Creates the export while it is written. After a failure the written bytes are not a complete file.</summary>
    /// <exception cref="Faults.FaultException">layer-unreadable; zstd-missing, before the first byte; export-failed.</exception>
    public Task Write(Stream target, CancellationToken cancellationToken) => _compressor is null ? WritePlain(target, cancellationToken) : _compressor.Compress(WritePlain, target, _virtualBytes, cancellationToken);

    public void Dispose()
    {
        foreach (var (_, file) in _disks) file.Dispose();
    }

    private Task WritePlain(Stream target, CancellationToken cancellationToken) =>
        _archive is null ? _disks[0].File.Write(target, cancellationToken) : _archive.Write(target, cancellationToken);
}
