using System.Collections.Concurrent;
using Instances.Library;

namespace Instances.Simulation;

/// <summary>A layer store in memory that keeps the rules of the real one, for tests of thousands of machines. What is pulled is there at once.</summary>
internal sealed class SimulatedLayerStore : ILibraryStore
{
    private const long LayerBytes = 196_608;

    private readonly ConcurrentDictionary<ImageId, ImageManifest> _manifests = new();

    private readonly ConcurrentDictionary<LayerId, int> _uses = new();
    private int _lastUse;

    public string Id { get; } = Guid.NewGuid().ToString("N");

    /// <summary>Whether each layer is sealed.</summary>
    public ConcurrentDictionary<LayerId, bool> Layers { get; } = new();

    public IReadOnlyCollection<ImageId> Manifests => [.. _manifests.Keys];

    public long FreeBytes { get; set; } = 1L << 40;

    public long CacheBytes { get; set; } = long.MaxValue;

    /// <summary>The layers that came from other stores, in order.</summary>
    public ConcurrentQueue<LayerId> Pulled { get; } = new();

    public string PathOf(LayerId layer) => $"/simulated/{layer}.qcow2";

    public bool Contains(LayerId layer) => Layers.ContainsKey(layer);

    public Task CreateLayer(LayerId layer, LayerId? parent, long virtualSizeBytes, CancellationToken cancellationToken)
    {
        Layers.TryAdd(layer, false);
        return Task.CompletedTask;
    }

    public Task<long> Seal(LayerId layer)
    {
        Layers[layer] = true;
        return Task.FromResult(LayerBytes);
    }

    public Task Delete(LayerId layer)
    {
        Layers.TryRemove(layer, out _);
        _uses.TryRemove(layer, out _);
        return Task.CompletedTask;
    }

    public IReadOnlyList<StoredLayer> List() =>
        [.. Layers.Select(layer => new StoredLayer(layer.Key, LayerBytes, layer.Value, IsPartial: false, DateTimeOffset.FromUnixTimeSeconds(_uses.GetValueOrDefault(layer.Key))))];

    public void Touch(LayerId layer) => _uses[layer] = Interlocked.Increment(ref _lastUse);

    public LayerOffer Offer(LayerId layer) => Layers.GetValueOrDefault(layer)
        ? new(layer, LayerBytes, LayerBytes, Sha256: null, PathOf(layer), Address: null, Ticket: "")
        : throw FileFaults.LayerMissing(layer);

    public async Task<TransferProgress> Pull(IReadOnlyList<LayerId> layers, Func<IReadOnlyList<LayerId>, Task<IReadOnlyList<LayerOffer>>> offer)
    {
        var missing = layers.Where(layer => !Contains(layer)).ToHashSet();
        var moved = 0L;
        foreach (var offered in missing.Count > 0 ? await offer([.. missing]) : [])
        {
            if (!Layers.TryAdd(offered.Id, true)) continue;
            Pulled.Enqueue(offered.Id);
            moved += offered.Bytes;
        }

        return new(moved, moved, BytesPerSecond: 0, IsDone: true, [.. layers.Select(layer => new LayerTransfer(layer, LayerBytes, missing.Contains(layer) ? LayerBytes : 0, Sha256: null))]);
    }

    public Task WriteManifest(ImageManifest manifest)
    {
        _manifests[manifest.Id] = manifest;
        return Task.CompletedTask;
    }

    public Task DeleteManifest(ImageId image)
    {
        _manifests.TryRemove(image, out _);
        return Task.CompletedTask;
    }

    public Task<IReadOnlyList<ImageManifest>> ReadManifests(CancellationToken cancellationToken) =>
        Task.FromResult<IReadOnlyList<ImageManifest>>([.. _manifests.Values]);
}
