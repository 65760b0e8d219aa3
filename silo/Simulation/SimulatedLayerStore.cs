using System.Collections.Concurrent;
using Instances.Library;

namespace Instances.Simulation;

/// <summary>A layer store in memory that keeps the rules of the real one, for tests of thousands of machines.</summary>
internal sealed class SimulatedLayerStore : ILayerStore
{
    private const long LayerBytes = 196_608;

    private readonly ConcurrentDictionary<ImageId, ImageManifest> _manifests = new();

    /// <summary>Whether each layer is sealed.</summary>
    public ConcurrentDictionary<LayerId, bool> Layers { get; } = new();

    public IReadOnlyCollection<ImageId> Manifests => [.. _manifests.Keys];

    public long FreeBytes { get; set; } = 1L << 40;

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
        return Task.CompletedTask;
    }

    public IReadOnlyList<StoredLayer> List() => [.. Layers.Keys.Select(layer => new StoredLayer(layer, LayerBytes))];

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
