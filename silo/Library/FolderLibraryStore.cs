using System.Text.Json;
using Instances.Faults;
using Instances.Library.Transfer;

namespace Instances.Library;

/// <summary>The library: layers, and beside them a manifest (<c>&lt;image&gt;.json</c>, <c>&lt;image&gt;.json.new</c> while it is written) for each image, what
/// <see cref="LayerChecks"/> keeps, and the database that it belongs to (<c>library.binding</c>). Copies of corrupt layers come into a store of their own (<c>incoming/copies</c>), which holds nothing
/// else and is emptied at start: each is there for as long as its layer waits for it.</summary>
internal sealed partial class FolderLibraryStore : FolderLayerStore, ILibraryStore
{
    private const int ManifestSchema = 1;
    private const string CopiesName = "copies";
    private const string BindingName = "library.binding";

    private const long MinHealingBytesPerSecond = 64 << 10;
    private const long MinHashedBytesPerSecond = 256L << 20;

    private readonly LayerTransfers _transfers;
    private readonly FolderLayerStore _copies;
    private readonly LayerChecks _checks;
    private readonly ILogger<FolderLibraryStore> _logger;

    public FolderLibraryStore(string folder, LayerStoreOptions options, QemuImg qemuImg, LayerTransfers transfers, ILogger<FolderLibraryStore> logger)
        : base(folder, options, qemuImg, transfers, maxLinks: 1)
    {
        (_checks, _logger) = (new(this, transfers.Time), logger);
        var copies = Path.Combine(Incoming, CopiesName);
        UnixFiles.DeleteTree(copies);
        (_transfers, _copies) = (transfers, new(copies, options, qemuImg, transfers));
        _checks.Clean();
        foreach (var unfinished in Directory.EnumerateFiles(Folder, "*.json.new").Append($"{BindingPath}.new")) File.Delete(unfinished);
    }

    /// <summary>How long a copy of a corrupt layer may take to come, besides what its bytes and its length allow.</summary>
    public TimeSpan HealingPatience { get; init; } = TimeSpan.FromMinutes(1);

    public IReadOnlyList<LayerCheck> Checks() => _checks.List();

    public LayerCheck? FindCheck(LayerId layer) => IsSealed(layer) ? _checks.Find(layer) : null;

    public Task<LayerCheck> Check(LayerId layer, string? expected, long bytesPerSecond, CancellationToken cancellationToken) =>
        _checks.Check(layer, expected, bytesPerSecond, cancellationToken);

    public async Task<bool> Heal(LayerId layer, string from, Func<Task<LayerOffer>> offer, CancellationToken cancellationToken)
    {
        if (_checks.Find(layer).Sha256 is not { } sha256) return false;

        // A host that shares this folder has no other copy. Who says that it is another file needs not send it.
        if (await offer() is var first && (first.Store == Id || (first.Sha256 is { } said && said != sha256))) return false;
        LayerOffer? next = first;
        await _copies.Delete(layer);
        try
        {
            var begun = _transfers.Time.GetTimestamp();
            while (await _copies.Pull([layer], _ => Renew()) is { IsDone: false } progress)
            {
                cancellationToken.ThrowIfCancellationRequested();
                if (_transfers.Time.GetElapsedTime(begun) > HealingBound(progress.Layers[0].BytesMoved, first.LengthBytes))
                    throw TransferFaults.Failed(layer, "it comes too slowly.");
            }

            KillPoints.Reach("scrub.pulled");
            return await _checks.Replace(layer, _copies.PathOf(layer), sha256, from, cancellationToken);
        }
        catch (FaultException exception) when (exception.Fault.Code == TransferFaults.CorruptCode)
        {
            return false;
        }
        finally
        {
            // What one source has sent is no beginning for the next one.
            await _transfers.End(_copies, layer);
            await _copies.Delete(layer);
        }

        async Task<IReadOnlyList<LayerOffer>> Renew()
        {
            var offered = next ?? await offer();
            next = null;
            return [offered with { Sha256 = sha256 }];
        }
    }

    public long MergedBytes(LayerId layer) => Math.Max(BytesOf(layer), BytesOf(ConvertedPathOf(layer)));

    public override Task Delete(LayerId layer)
    {
        _checks.Delete(layer);
        KillPoints.Reach("collection.check-deleted");
        return base.Delete(layer);
    }

    public Task WriteManifest(ImageManifest manifest) => WriteDurably(ManifestPathOf(manifest.Id), manifest);

    public Task DeleteManifest(ImageId image)
    {
        File.Delete($"{ManifestPathOf(image)}.new");
        File.Delete(ManifestPathOf(image));

        // Else the image could come back in a rebuild after a power cut, while its layers are gone.
        UnixFiles.SyncFolder(Folder);
        return Task.CompletedTask;
    }

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

    /// <summary>Holes come without bytes, and are hashed like the rest.</summary>
    private TimeSpan HealingBound(long movedBytes, long lengthBytes) =>
        HealingPatience + TimeSpan.FromSeconds((movedBytes / (double)MinHealingBytesPerSecond) + (lengthBytes / (double)MinHashedBytesPerSecond));

    private string BindingPath => Path.Combine(Folder, BindingName);

    private string ManifestPathOf(ImageId image) => Path.Combine(Folder, $"{image}.json");

    private async Task WriteDurably<T>(string path, T content)
    {
        var unfinished = $"{path}.new";
        try
        {
            // One that a crash has left is read-only.
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
    }

    /// <exception cref="FileNotFoundException">There is none.</exception>
    /// <exception cref="InvalidDataException">It cannot be read, and why.</exception>
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
