using System.Text.Json;
using Instances.Faults;
using Instances.Library.Transfer;

namespace Instances.Library;

/// <summary>The library: layers, and beside them a manifest (<c>&lt;image&gt;.json</c>, <c>&lt;image&gt;.json.new</c> while it is written) for each image, and the database that it
/// belongs to (<c>library.binding</c>).</summary>
internal sealed partial class FolderLibraryStore : FolderLayerStore, ILibraryStore
{
    private const int ManifestSchema = 1;
    private const string BindingName = "library.binding";

    private readonly ILogger<FolderLibraryStore> _logger;

    public FolderLibraryStore(string folder, LayerStoreOptions options, QemuImg qemuImg, LayerTransfers transfers, ILogger<FolderLibraryStore> logger)
        : base(folder, options, qemuImg, transfers, maxLinks: 1)
    {
        _logger = logger;
        EmptyCopies();
        CheckFiles.Clean();
        foreach (var unfinished in Directory.EnumerateFiles(Folder, "*.json.new").Append($"{BindingPath}.new")) File.Delete(unfinished);
        DeleteSources();
    }

    /// <summary>Deletes uploads whose layers are complete. The process before this one ended between the manifest of an image and the end of its upload.</summary>
    private void DeleteSources()
    {
        foreach (var path in Directory.EnumerateFiles(Incoming, "*.part").Concat(Directory.EnumerateFiles(Incoming, "*.image")))
        {
            if (LayerId.TryParse(Path.GetFileNameWithoutExtension(path), null, out var layer) && IsSealed(layer)) File.Delete(path);
        }
    }

    public long MergedBytes(LayerId layer) => Math.Max(BytesOf(layer), BytesOf(ConvertedPathOf(layer)));

    public Task WriteManifest(ImageManifest manifest) => WriteDurably(ManifestPathOf(manifest.Id), manifest);

    public Task DeleteManifest(ImageId image) => Task.Run(() =>
    {
        File.Delete($"{ManifestPathOf(image)}.new");
        File.Delete(ManifestPathOf(image));

        // Otherwise a rebuild after a power cut could restore the image although its layers are deleted.
        UnixFiles.SyncFolder(Folder);
    });

    public long ReceivedBytes(LayerId layer) => new FileInfo(PartPathOf(layer)) is { Exists: true } part ? part.Length : 0;

    public async Task<IReadOnlyList<ImageManifest>> ReadManifests(CancellationToken cancellationToken) => (await ScanManifests(cancellationToken)).Manifests;

    public async Task<ManifestScan> ScanManifests(CancellationToken cancellationToken)
    {
        var (manifests, unreadable) = (new List<ImageManifest>(), new List<UnreadableManifest>());
        foreach (var path in Directory.EnumerateFiles(Folder, "*.json").Order(StringComparer.Ordinal))
        {
            if (!ImageId.TryParse(Path.GetFileNameWithoutExtension(path), null, out var image)) continue;
            try
            {
                manifests.Add(await ReadManifest(path, image, cancellationToken));
            }
            catch (FileNotFoundException)
            {
                // Deleted since the folder was read.
            }
            catch (InvalidDataException exception)
            {
                unreadable.Add(new(image, exception.Message));
            }
        }

        return new(manifests, unreadable);
    }

    public async Task<ImageManifest?> FindManifest(ImageId image)
    {
        try
        {
            return await ReadManifest(ManifestPathOf(image), image, CancellationToken.None);
        }
        catch (Exception exception) when (exception is FileNotFoundException or InvalidDataException)
        {
            return null;
        }
    }

    public LibraryBinding? ReadBinding()
    {
        try
        {
            return JsonSerializer.Deserialize<LibraryBinding>(File.ReadAllBytes(BindingPath), InstancesJson.Options) ?? LibraryBinding.Unreadable;
        }
        catch (FileNotFoundException)
        {
            return null;
        }
        catch (Exception exception) when (exception is JsonException or IOException or UnauthorizedAccessException)
        {
            LogBrokenBinding(BindingPath, exception);
            return LibraryBinding.Unreadable;
        }
    }

    public Task WriteBinding(LibraryBinding binding) => WriteDurably(BindingPath, binding);

    private string BindingPath => Path.Combine(Folder, BindingName);

    private string ManifestPathOf(ImageId image) => Path.Combine(Folder, $"{image}.json");

    /// <summary>Waits for the disk, so it does not run on the calling grain's thread.</summary>
    private Task WriteDurably<T>(string path, T content) => Task.Run(async () =>
    {
        var unfinished = $"{path}.new";
        try
        {
            // A file that a crash has left is read-only.
            File.Delete(unfinished);
            await File.WriteAllBytesAsync(unfinished, JsonSerializer.SerializeToUtf8Bytes(content, InstancesJson.Options));
            UnixFiles.ChangeMode(unfinished, UnixFileMode.UserRead);
            UnixFiles.SyncFile(unfinished);
            KillPoints.Reach("manifest.unfinished");
            UnixFiles.Publish(unfinished, path);
        }
        catch (IOException exception) when (FileFaults.IsNoSpace(exception))
        {
            File.Delete(unfinished);
            throw FileFaults.NoSpaceLeft(Folder, exception);
        }
    });

    /// <exception cref="FileNotFoundException">There is none.</exception>
    /// <exception cref="InvalidDataException">It cannot be read. The message says why.</exception>
    private async Task<ImageManifest> ReadManifest(string path, ImageId image, CancellationToken cancellationToken)
    {
        try
        {
            await using var file = File.OpenRead(path);
            using var json = await JsonDocument.ParseAsync(file, cancellationToken: cancellationToken);
            if (!json.RootElement.TryGetProperty("schema", out var schema) || schema.GetInt32() is < 1 or > ManifestSchema)
                throw new JsonException($"Its schema is not one of 1 to {ManifestSchema}: a later release has written it.");

            var manifest = json.Deserialize<ImageManifest>(InstancesJson.Options);
            return manifest?.Id == image ? manifest : throw new JsonException("It is the manifest of another image.");
        }
        catch (Exception exception) when (exception is JsonException or InvalidOperationException or FormatException or UnauthorizedAccessException
            or IOException and not FileNotFoundException)
        {
            LogBrokenManifest(path, exception);
            throw new InvalidDataException(exception.Message, exception);
        }
    }
}
