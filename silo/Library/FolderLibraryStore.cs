using System.Text.Json;
using Instances.Library.Transfer;

namespace Instances.Library;

/// <summary>The library: layers, and beside them a manifest (<c>&lt;image&gt;.json</c>, <c>&lt;image&gt;.json.new</c> while it is written) for each image.</summary>
internal sealed partial class FolderLibraryStore(
    string folder, LayerStoreOptions options, QemuImg qemuImg, LayerTransfers transfers, ILogger<FolderLibraryStore> logger)
    : FolderLayerStore(folder, options, qemuImg, transfers), ILibraryStore
{
    private const int ManifestSchema = 1;

    private readonly ILogger<FolderLibraryStore> _logger = logger;

    public async Task WriteManifest(ImageManifest manifest)
    {
        var path = ManifestPathOf(manifest.Id);
        var unfinished = $"{path}.new";
        try
        {
            await File.WriteAllBytesAsync(unfinished, JsonSerializer.SerializeToUtf8Bytes(manifest, InstancesJson.Options));
            UnixFiles.ChangeMode(unfinished, UnixFiles.SealedMode);
            UnixFiles.SyncFile(unfinished);
            UnixFiles.Publish(unfinished, path);
        }
        catch (IOException exception) when (FileFaults.IsNoSpace(exception))
        {
            File.Delete(unfinished);
            throw FileFaults.NoSpaceLeft(Folder, exception);
        }
    }

    public Task DeleteManifest(ImageId image)
    {
        File.Delete($"{ManifestPathOf(image)}.new");
        File.Delete(ManifestPathOf(image));

        // Else the image could come back in a rebuild after a power cut, while its layers are gone.
        UnixFiles.SyncFolder(Folder);
        return Task.CompletedTask;
    }

    public async Task<IReadOnlyList<ImageManifest>> ReadManifests(CancellationToken cancellationToken)
    {
        var manifests = new List<ImageManifest>();
        foreach (var path in Directory.EnumerateFiles(Folder, "*.json").Order(StringComparer.Ordinal))
        {
            if (ImageId.TryParse(Path.GetFileNameWithoutExtension(path), null, out var image) && await ReadManifest(path, image, cancellationToken) is { } manifest)
                manifests.Add(manifest);
        }

        return manifests;
    }

    private string ManifestPathOf(ImageId image) => Path.Combine(Folder, $"{image}.json");

    private async Task<ImageManifest?> ReadManifest(string path, ImageId image, CancellationToken cancellationToken)
    {
        try
        {
            await using var file = File.OpenRead(path);
            using var json = await JsonDocument.ParseAsync(file, cancellationToken: cancellationToken);
            if (!json.RootElement.TryGetProperty("schema", out var schema) || schema.GetInt32() is < 1 or > ManifestSchema)
                throw new JsonException($"Its schema is not one of 1 to {ManifestSchema}.");

            var manifest = json.Deserialize<ImageManifest>(InstancesJson.Options);
            return manifest?.Id == image ? manifest : throw new JsonException("It is the manifest of another image.");
        }
        catch (FileNotFoundException)
        {
            return null; // Deleted since the folder was read.
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException or FormatException or IOException or UnauthorizedAccessException)
        {
            LogBrokenManifest(path, exception);
            return null;
        }
    }
}
