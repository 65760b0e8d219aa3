using System.Text.Json;
using Instances.Faults;
using Microsoft.Extensions.Options;

namespace Instances.Library;

/// <summary>Layers and manifests in one folder.</summary>
/// <remarks>
/// <code>
/// &lt;layer&gt;.qcow2          a layer: sealed (0444), or the writable top of a machine (0640)
/// &lt;layer&gt;.new            a layer that is being made
/// &lt;image&gt;.json           a manifest
/// &lt;image&gt;.json.new       a manifest that is being written
/// incoming/&lt;layer&gt;.part  what arrived of an upload
/// incoming/&lt;layer&gt;.new   a base layer that an upload is converted to
/// </code>
/// Whatever ends in .part or .new is nobody's after a crash: <see cref="List"/> names it and <see cref="Delete"/> removes it.
/// </remarks>
internal sealed partial class FolderLayerStore : ILayerStore
{
    private const int ManifestSchema = 1;

    private const UnixFileMode TopMode = UnixFileMode.UserRead | UnixFileMode.UserWrite | UnixFileMode.GroupRead;
    private const UnixFileMode SealedMode = UnixFileMode.UserRead | UnixFileMode.GroupRead | UnixFileMode.OtherRead;

    private readonly QemuImg _qemuImg;
    private readonly ILogger<FolderLayerStore> _logger;

    public FolderLayerStore(IOptions<LayerStoreOptions> options, QemuImg qemuImg, ILogger<FolderLayerStore> logger)
    {
        _qemuImg = qemuImg;
        _logger = logger;
        Folder = Path.GetFullPath(options.Value.Folder);
        Incoming = Path.Combine(Folder, "incoming");
        MinimumFreeBytes = options.Value.MinimumFreeBytes;
        Directory.CreateDirectory(Folder);
        UnixFiles.CreatePrivateFolder(Incoming);
    }

    public string Folder { get; }

    /// <summary>Where uploads arrive: private, and on the file system of the layers.</summary>
    public string Incoming { get; }

    public long MinimumFreeBytes { get; }

    public long FreeBytes => new DriveInfo(Folder).AvailableFreeSpace;

    public string PathOf(LayerId layer) => Path.Combine(Folder, $"{layer}.qcow2");

    public string PartPathOf(LayerId layer) => Path.Combine(Incoming, $"{layer}.part");

    public string ConvertedPathOf(LayerId layer) => Path.Combine(Incoming, $"{layer}.new");

    public bool Contains(LayerId layer) => File.Exists(PathOf(layer));

    public async Task CreateLayer(LayerId layer, LayerId? parent, long virtualSizeBytes, CancellationToken cancellationToken)
    {
        if (Contains(layer))
            return;
        if (parent is { } below && !Contains(below))
            throw FileFaults.LayerMissing(below);

        var unfinished = Path.Combine(Folder, $"{layer}.new");
        try
        {
            await _qemuImg.Create(unfinished, parent is { } name ? $"{name}.qcow2" : null, virtualSizeBytes, cancellationToken);
            Guard(layer, () =>
            {
                UnixFiles.ChangeMode(unfinished, TopMode);
                UnixFiles.Publish(unfinished, PathOf(layer));
            });
        }
        catch
        {
            File.Delete(unfinished);
            throw;
        }
    }

    public Task<long> Seal(LayerId layer) => Task.FromResult(Guard(layer, () => SealFile(PathOf(layer))));

    public Task Delete(LayerId layer)
    {
        Guard(layer, () =>
        {
            File.Delete(PartPathOf(layer));
            File.Delete(ConvertedPathOf(layer));
            File.Delete(Path.Combine(Folder, $"{layer}.new"));
            File.Delete(PathOf(layer));
        });
        return Task.CompletedTask;
    }

    public IReadOnlyList<StoredLayer> List() =>
        [.. Directory.EnumerateFiles(Folder).Concat(Directory.EnumerateFiles(Incoming))
            .Where(path => Path.GetExtension(path) is ".qcow2" or ".part" or ".new")
            .Select(path => (Path: path, IsLayer: LayerId.TryParse(Path.GetFileNameWithoutExtension(path), null, out var id), Id: id))
            .Where(file => file.IsLayer)
            .GroupBy(file => file.Id, (id, files) => new StoredLayer(id, files.Sum(file => BytesOf(file.Path))))];

    public async Task WriteManifest(ImageManifest manifest)
    {
        var path = ManifestPathOf(manifest.Id);
        var unfinished = $"{path}.new";
        try
        {
            await File.WriteAllBytesAsync(unfinished, JsonSerializer.SerializeToUtf8Bytes(manifest, InstancesJson.Options));
            UnixFiles.ChangeMode(unfinished, SealedMode);
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

    /// <summary>Seals a base layer that was made in <see cref="Incoming"/>, and gives it its name.</summary>
    /// <returns>Its space in bytes.</returns>
    public long Publish(LayerId layer) => Guard(layer, () =>
    {
        var bytes = SealFile(ConvertedPathOf(layer));
        UnixFiles.Publish(ConvertedPathOf(layer), PathOf(layer));
        return bytes;
    });

    private string ManifestPathOf(ImageId image) => Path.Combine(Folder, $"{image}.json");

    // A machine's user must not be able to change what other machines stand on: the sealed layer is no longer its own.
    private long SealFile(string path)
    {
        UnixFiles.ChangeMode(path, SealedMode);
        if (Environment.IsPrivilegedProcess)
            UnixFiles.ChangeOwner(path, UnixUser.Root);
        UnixFiles.SyncFile(path);
        UnixFiles.SyncFolder(Path.GetDirectoryName(path)!);
        return UnixFiles.AllocatedBytes(path);
    }

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

    private static long BytesOf(string path)
    {
        try
        {
            return UnixFiles.AllocatedBytes(path);
        }
        catch (FileNotFoundException)
        {
            return 0; // Deleted, or given its final name, since the folder was read.
        }
    }

    private void Guard(LayerId layer, Action action) => Guard(layer, () =>
    {
        action();
        return true;
    });

    private T Guard<T>(LayerId layer, Func<T> action)
    {
        try
        {
            return action();
        }
        catch (IOException exception) when (FileFaults.Of(exception, layer, Folder) is { } fault)
        {
            throw fault;
        }
    }
}
