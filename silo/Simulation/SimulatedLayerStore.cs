using System.Collections.Concurrent;
using Instances.Hosts;
using Instances.Library;

namespace Instances.Simulation;

/// <summary>A layer store in memory that keeps the rules of the real one, for tests of thousands of machines. A transferred layer is
/// complete after the number of polls that a test sets.</summary>
internal sealed class SimulatedLayerStore(TimeProvider? clock = null) : ILibraryStore
{
    public const long LayerBytes = 196_608;

    private readonly TimeProvider time = clock ?? TimeProvider.System;

    private static readonly TimeSpan PollWait = TimeSpan.FromMilliseconds(20);

    private readonly ConcurrentDictionary<ImageId, ImageManifest> _manifests = new();

    private readonly ConcurrentDictionary<LayerId, long> _merged = new();
    private readonly ConcurrentDictionary<LayerId, int> _uses = new();
    private readonly ConcurrentDictionary<LayerId, int> _polls = new();
    private readonly ConcurrentDictionary<LayerId, LayerCheck> _checks = new();
    private int _lastUse;
    private Exception? _nextFailure;
    private Exception? _nextMergeFailure;
    private TaskCompletionSource? _mergeGate;

    public string Id { get; } = Guid.NewGuid().ToString("N");

    /// <summary>Whether each layer is sealed.</summary>
    public ConcurrentDictionary<LayerId, bool> Layers { get; } = new();

    public IReadOnlyCollection<ImageId> Manifests => [.. _manifests.Keys];

    /// <summary>The received bytes of uploads.</summary>
    public ConcurrentDictionary<LayerId, long> Received { get; } = new();

    public long FreeBytes { get; set; } = 1L << 40;

    public long CacheBytes { get; set; } = long.MaxValue;

    /// <summary>The layers that came from other stores, in order.</summary>
    public ConcurrentQueue<LayerId> Pulled { get; } = new();

    /// <summary>The number of polls until a layer has arrived.</summary>
    public int PollsOfAPull { get; set; } = 1;

    /// <summary>The next poll of transfers is answered with this.</summary>
    public void FailNextPull(Exception exception) => _nextFailure = exception;

    public long ReceivedBytes(LayerId layer) => Received.GetValueOrDefault(layer);

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
        Received.TryRemove(layer, out _);
        _uses.TryRemove(layer, out _);
        return Task.CompletedTask;
    }

    public IReadOnlyList<StoredLayer> List() =>
        [.. Layers.Select(layer => new StoredLayer(layer.Key, LayerBytes, layer.Value, IsPartial: false, DateTimeOffset.FromUnixTimeSeconds(_uses.GetValueOrDefault(layer.Key))))];

    public ConcurrentDictionary<HostId, bool> Hosts { get; } = new();

    public void AddUser(HostId host) => Hosts[host] = true;

    public bool RemoveUser(HostId host) => Hosts.TryRemove(host, out _);

    public IReadOnlyList<HostId> Users() => [.. Hosts.Keys];

    public void Touch(LayerId layer) => _uses[layer] = Interlocked.Increment(ref _lastUse);

    public LayerOffer Offer(LayerId layer) => Layers.GetValueOrDefault(layer)
        ? new(layer, LayerBytes, LayerBytes, Sha256: null, PathOf(layer), new($"http://simulated/{layer}"), Ticket: "")
        : throw FileFaults.LayerMissing(layer);

    public async Task<TransferProgress> Pull(IReadOnlyList<LayerId> layers, Func<IReadOnlyList<LayerId>, Task<IReadOnlyList<LayerOffer>>> offer)
    {
        if (Interlocked.Exchange(ref _nextFailure, null) is { } failure) throw failure;
        var missing = layers.Where(layer => !Contains(layer)).ToHashSet();
        foreach (var offered in missing.Count > 0 ? await offer([.. missing]) : [])
        {
            if (_polls.AddOrUpdate(offered.Id, 1, (_, polls) => polls + 1) < PollsOfAPull || !Layers.TryAdd(offered.Id, true)) continue;
            _polls.TryRemove(offered.Id, out _);
            Pulled.Enqueue(offered.Id);
        }

        var isDone = layers.All(Contains);
        if (!isDone) await Task.Delay(PollWait);
        return new(
            missing.Sum(Arrived), missing.Count * LayerBytes, BytesPerSecond: 0, isDone,
            [.. layers.Select(layer => new LayerTransfer(layer, Contains(layer) ? LayerBytes : 0, missing.Contains(layer) ? Arrived(layer) : 0, Sha256: null))]);

        long Arrived(LayerId layer) => Contains(layer) ? LayerBytes : LayerBytes * _polls.GetValueOrDefault(layer) / PollsOfAPull;
    }

    /// <summary>The hash of a layer's file, if it is not <see cref="Sound"/>.</summary>
    public ConcurrentDictionary<LayerId, string> Digests { get; } = new();

    /// <summary>The hashes of the hosts' separate copies of a layer.</summary>
    public ConcurrentDictionary<LayerId, string> Copies { get; } = new();

    public const string Sound = "5dfa";

    public IReadOnlyList<LayerCheck> Checks() =>
        [.. Layers.Where(layer => layer.Value).Select(layer => FindCheck(layer.Key)).OfType<LayerCheck>()];

    public Task<LayerCheck> Check(LayerId layer, string? expected, long bytesPerSecond, CancellationToken cancellationToken)
    {
        if (!Layers.ContainsKey(layer)) throw FileFaults.LayerMissing(layer);
        var found = Digests.GetValueOrDefault(layer, Sound);
        var sha256 = expected ?? _checks.GetValueOrDefault(layer)?.Sha256 ?? found;
        var before = _checks.GetValueOrDefault(layer) ?? new(layer, LayerBytes);
        return Task.FromResult(_checks[layer] = before with { Sha256 = sha256, CheckedAt = time.GetUtcNow(), Found = found == sha256 ? null : found, IsDoubted = false });
    }

    public LayerCheck? FindCheck(LayerId layer) => Layers.GetValueOrDefault(layer) ? _checks.GetValueOrDefault(layer) ?? new(layer, LayerBytes) : null;

    public void Doubt(LayerId layer, string sha256)
    {
        if (FindCheck(layer) is { } check) _checks[layer] = check with { Sha256 = sha256, CheckedAt = null, IsDoubted = true };
    }

    /// <summary>The copy has the hash of its offer. For a host, whose offers have none, it has the hash in <see cref="Copies"/>.</summary>
    public async Task<bool> Heal(LayerId layer, string from, Func<Task<LayerOffer>> offer, CancellationToken cancellationToken)
    {
        if (((await offer()).Sha256 ?? Copies.GetValueOrDefault(layer)) is not { } copy || copy != _checks[layer].Sha256) return false;
        Digests[layer] = copy;
        var check = await Check(layer, copy, long.MaxValue, cancellationToken);
        _checks[layer] = check with { HealedAt = time.GetUtcNow(), HealedFrom = from };
        return !check.IsCorrupt;
    }

    /// <summary>The next merge fails with this.</summary>
    public void FailNextMerge(Exception exception) => _nextMergeFailure = exception;

    /// <summary>Merges wait until they are released, before their layers exist.</summary>
    public void HoldMerges() => _mergeGate = new(TaskCreationOptions.RunContinuationsAsynchronously);

    public void ReleaseMerges() => _mergeGate?.TrySetResult();

    public async Task<long> Merge(LayerMerge merge, long bytesPerSecond, CancellationToken cancellationToken)
    {
        foreach (var layer in merge.Needed.Where(layer => !Contains(layer))) throw FileFaults.LayerMissing(layer);
        if (_mergeGate is { } gate) await gate.Task.WaitAsync(cancellationToken);
        if (Interlocked.Exchange(ref _nextMergeFailure, null) is { } failure) throw failure;
        Layers[merge.Merged] = true;
        return _merged[merge.Merged] = merge.Parts.Sum(part => _merged.GetValueOrDefault(part, LayerBytes));
    }

    public long MergedBytes(LayerId layer) => _merged.GetValueOrDefault(layer);

    public Task WriteManifest(ImageManifest manifest)
    {
        _manifests[manifest.Id] = manifest;
        return Task.CompletedTask;
    }

    /// <summary>The exception of deletions of manifests; null if they succeed.</summary>
    public Exception? ManifestFailure { get; set; }

    public Task DeleteManifest(ImageId image)
    {
        if (ManifestFailure is { } failure) return Task.FromException(failure);
        _manifests.TryRemove(image, out _);
        return Task.CompletedTask;
    }

    /// <summary>Images whose manifest files are broken.</summary>
    public ConcurrentDictionary<ImageId, string> UnreadableManifests { get; } = new();

    public LibraryBinding? Binding { get; set; }

    public LibraryBinding? ReadBinding() => Binding;

    /// <summary>While it is set, writing a binding fails with this.</summary>
    public Exception? BindingFailure { get; set; }

    public Task WriteBinding(LibraryBinding binding)
    {
        if (BindingFailure is { } failure) throw failure;
        Binding = binding;
        return Task.CompletedTask;
    }

    public Task<ImageManifest?> FindManifest(ImageId image) => Task.FromResult(_manifests.GetValueOrDefault(image));

    public Task<ManifestScan> ScanManifests(CancellationToken cancellationToken) =>
        Task.FromResult(new ManifestScan([.. _manifests.Values], [.. UnreadableManifests.Select(manifest => new UnreadableManifest(manifest.Key, manifest.Value))]));

    public Task<IReadOnlyList<ImageManifest>> ReadManifests(CancellationToken cancellationToken) =>
        Task.FromResult<IReadOnlyList<ImageManifest>>([.. _manifests.Values]);
}
