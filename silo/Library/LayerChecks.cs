using System.Buffers;
using System.Security.Cryptography;
using System.Text.Json;

namespace Instances.Library;

/// <summary>The known hash and the last check of each layer, in a small file beside it (<c>&lt;layer&gt;.check</c>). So they are as durable as the layers, and independent of the database.</summary>
internal sealed class LayerChecks(FolderLayerStore store, TimeProvider time)
{
    private const int BlockBytes = 1 << 20;

    /// <summary>The scrub, compaction and promotions may read one layer at the same time.</summary>
    private readonly Lock _writing = new();
    private const string Extension = ".check";

    /// <summary>The digest of a file that cannot be read. A layer with it is never sound.</summary>
    private const string Unreadable = "unreadable";

    public IReadOnlyList<LayerCheck> List() => [.. store.List().Where(layer => layer.IsSealed).Select(layer => Read(layer.Id, layer.Bytes))];

    public LayerCheck Find(LayerId layer) => Read(layer, store.BytesOf(layer));

    public async Task<LayerCheck> Check(LayerId layer, string? expected, long bytesPerSecond, CancellationToken cancellationToken)
    {
        var before = Find(layer);
        var found = await Task.Run(() => Hash(layer, store.PathOf(layer), bytesPerSecond, cancellationToken), cancellationToken);
        var sha256 = expected ?? before.Sha256 ?? (found == Unreadable ? null : found);
        var check = before with { Bytes = store.BytesOf(layer), Sha256 = sha256, CheckedAt = time.GetUtcNow(), Found = found == sha256 ? null : found, IsDoubted = false };

        // If the layer was replaced by a copy meanwhile, this result is obsolete. If it became doubted meanwhile, it is read again.
        using var turn = _writing.EnterScope();
        if (Find(layer) is var known && (known.HealedAt != before.HealedAt || known.IsDoubted != before.IsDoubted)) return known;
        Write(check);
        return check;
    }

    public void Doubt(LayerId layer, string sha256)
    {
        using var turn = _writing.EnterScope();
        if (store.IsSealed(layer)) Write(Find(layer) with { Sha256 = sha256, CheckedAt = null, IsDoubted = true });
    }

    /// <summary>Replaces a layer by a copy with the expected hash, and records durably that the layer is sound. A copy with another hash is not used.</summary>
    /// <param name="copy">A sealed file in the same file system.</param>
    public async Task<bool> Replace(LayerId layer, string copy, string sha256, string from, CancellationToken cancellationToken)
    {
        // Read the copy: if it was linked or cloned, its bytes were not read during the transfer. A layer that was deleted meanwhile stays deleted.
        if (await Task.Run(() => Hash(layer, copy, long.MaxValue, cancellationToken), cancellationToken) != sha256 || !store.Contains(layer)) return false;

        // Mark the layer as doubted until the end: after a crash in between it is read before it is used.
        Write(Find(layer) with { CheckedAt = null, Found = null });
        UnixFiles.Publish(copy, store.PathOf(layer));
        KillPoints.Reach("scrub.replaced");
        var now = time.GetUtcNow();
        Write(new(layer, store.BytesOf(layer), sha256, CheckedAt: now, Found: null, HealedAt: now, HealedFrom: from));
        return true;
    }

    /// <summary>Removes the check files of deleted layers, which a crash may have left.</summary>
    public void Clean()
    {
        foreach (var path in Directory.EnumerateFiles(store.Folder, $"*{Extension}*"))
        {
            if (LayerId.TryParse(Path.GetFileName(path).Split('.')[0], null, out var layer) && !store.Contains(layer)) Delete(layer);
        }
    }

    public void Delete(LayerId layer)
    {
        File.Delete(PathOf(layer));
        File.Delete($"{PathOf(layer)}.new");
    }

    private async Task<string> Hash(LayerId layer, string path, long bytesPerSecond, CancellationToken cancellationToken)
    {
        var block = ArrayPool<byte>.Shared.Rent(BlockBytes);
        try
        {
            using var hash = IncrementalHash.CreateHash(HashAlgorithmName.SHA256);
            await using var file = File.OpenRead(path);
            var pace = new Pace(bytesPerSecond, time);
            var bytes = 0L;
            for (int read; (read = await file.ReadAsync(block.AsMemory(0, BlockBytes), cancellationToken)) > 0;)
            {
                hash.AppendData(block, 0, read);
                bytes += read;
                await pace.Keep(bytes, cancellationToken);
            }

            return Convert.ToHexStringLower(hash.GetHashAndReset());
        }
        catch (FileNotFoundException exception)
        {
            throw FileFaults.LayerMissing(layer, exception);
        }
        catch (IOException)
        {
            return Unreadable;
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(block);
        }
    }

    private LayerCheck Read(LayerId layer, long bytes)
    {
        try
        {
            var known = JsonSerializer.Deserialize<LayerCheck>(File.ReadAllBytes(PathOf(layer)), InstancesJson.Options);
            return known?.Layer == layer ? known with { Bytes = bytes } : new(layer, bytes);
        }
        catch (Exception exception) when (exception is JsonException or IOException or UnauthorizedAccessException)
        {
            // The file is missing or unreadable: nothing is known.
            return new(layer, bytes);
        }
    }

    private void Write(LayerCheck check)
    {
        using var turn = _writing.EnterScope();
        var unfinished = $"{PathOf(check.Layer)}.new";
        try
        {
            File.WriteAllBytes(unfinished, JsonSerializer.SerializeToUtf8Bytes(check, InstancesJson.Options));
            UnixFiles.SyncFile(unfinished);
            KillPoints.Reach("scrub.check-unfinished");
            UnixFiles.Publish(unfinished, PathOf(check.Layer));
            KillPoints.Reach("scrub.check-written");
        }
        catch (IOException exception) when (FileFaults.IsNoSpace(exception))
        {
            File.Delete(unfinished);
            throw FileFaults.NoSpaceLeft(store.Folder, exception);
        }

        // It was deleted meanwhile.
        if (!store.Contains(check.Layer)) Delete(check.Layer);
    }

    private string PathOf(LayerId layer) => Path.Combine(store.Folder, $"{layer}{Extension}");
}
