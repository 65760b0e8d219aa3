using Instances.Faults;
using Instances.Hosts;

namespace Instances.Library;

/// <summary>A host's layers, in a flat folder (<c>&lt;id&gt;.qcow2</c>). Its only state in memory is the running transfers: everything else is in the files.</summary>
/// <remarks>
/// Durable means: the file is synchronized, renamed if it was partial, and its folder synchronized. Throws <see cref="FaultException"/>:
/// <c>no-space</c> on a full disk, <c>layer-missing</c> for a missing layer.
/// </remarks>
public interface ILayerStore
{
    /// <summary>The identity of the folder: the same in all processes that see it, wherever it is mounted.</summary>
    string Id { get; }

    string PathOf(LayerId layer);

    bool Contains(LayerId layer);

    /// <summary>Creates an empty writable layer over a parent, or a blank one without a parent. Does nothing if the layer exists.</summary>
    /// <param name="virtualSizeBytes">As the guest will see it.</param>
    Task CreateLayer(LayerId layer, LayerId? parent, long virtualSizeBytes, CancellationToken cancellationToken);

    /// <summary>Makes a layer that is no longer written durable and read-only. Copies no data.</summary>
    /// <returns>Its space in bytes.</returns>
    Task<long> Seal(LayerId layer);

    /// <summary>Merges layers into one durable layer, and compares it with them before it gets its name. Reads and changes nothing else. Does nothing if the layer exists.</summary>
    /// <param name="bytesPerSecond">The highest rate.</param>
    /// <returns>Its space in bytes.</returns>
    /// <exception cref="FaultException">layer-missing; layer-unreadable; no-space; merge-differs. No partial file is left.</exception>
    Task<long> Merge(LayerMerge merge, long bytesPerSecond, CancellationToken cancellationToken);

    /// <summary>Deletes a layer and its partial file before it returns. Does nothing if there is none.</summary>
    Task Delete(LayerId layer);

    /// <summary>Every layer in the folder, partial ones included.</summary>
    IReadOnlyList<StoredLayer> List();

    /// <summary>Durably records that a host uses this folder. The sweep of the folder asks that host.</summary>
    void AddUser(HostId host);

    /// <summary>Removes the name that <see cref="AddUser"/> left, durably.</summary>
    /// <returns>False if there was none.</returns>
    bool RemoveUser(HostId host);

    /// <summary>The hosts that use this folder, or have used it.</summary>
    IReadOnlyList<HostId> Users();

    /// <summary>Records a use of the layer: eviction is by last use.</summary>
    void Touch(LayerId layer);

    /// <summary>Where others can fetch a sealed layer.</summary>
    LayerOffer Offer(LayerId layer);

    /// <summary>Fetches layers: starts or joins their transfers, and waits for about a second. The caller repeats the call until it is done.</summary>
    /// <param name="offer">Asks the other side for offers of layers that are neither here nor in transfer, and of layers whose ticket has expired.</param>
    /// <exception cref="FaultException">layer-corrupt; no-space; transfer-failed. The next call continues with the bytes that have arrived.</exception>
    Task<TransferProgress> Pull(IReadOnlyList<LayerId> layers, Func<IReadOnlyList<LayerId>, Task<IReadOnlyList<LayerOffer>>> offer);

    /// <summary>The known digest and check of each sealed layer. Reads no layer.</summary>
    IReadOnlyList<LayerCheck> Checks();

    /// <summary>Reads a whole sealed layer, and records its hash durably. Without an expected hash, the first hash becomes the expected one.</summary>
    /// <param name="expected">The hash that was announced for it, in lower case hex; null if none is known. It takes precedence over the result of an earlier check.</param>
    /// <param name="bytesPerSecond">The highest rate.</param>
    /// <exception cref="FaultException">layer-missing; no-space.</exception>
    Task<LayerCheck> Check(LayerId layer, string? expected, long bytesPerSecond, CancellationToken cancellationToken);

    /// <summary>The check of one layer, as in <see cref="Checks"/>; null if the store has no such sealed layer.</summary>
    LayerCheck? FindCheck(LayerId layer);

    /// <summary>Records durably that a layer may be corrupt, because another copy of it was. Does nothing if there is no such layer.</summary>
    /// <param name="sha256">The expected SHA-256.</param>
    /// <exception cref="FaultException">no-space.</exception>
    void Doubt(LayerId layer, string sha256);

    /// <summary>Replaces a corrupt layer by a copy with the expected hash. Until then the layer stays; machines that have it open keep using
    /// the old file. A copy that arrives too slowly is given up: after a minute, plus one second for each 64 KiB that have arrived and each 256 MiB of its length.</summary>
    /// <param name="from">The source of the copy, to record.</param>
    /// <param name="offer">Called again if the ticket of the offer has expired.</param>
    /// <returns>False if the copy has not the expected hash: the layer is unchanged.</returns>
    /// <exception cref="FaultException">no-space; transfer-failed: the layer is unchanged.</exception>
    Task<bool> Heal(LayerId layer, string from, Func<Task<LayerOffer>> offer, CancellationToken cancellationToken);

    long FreeBytes { get; }

    /// <summary>The bound on a host's layers in bytes. Above it, unused layers that the library also has are evicted, the least recently used first.</summary>
    long CacheBytes { get; }
}

/// <param name="Bytes">Space that the file takes.</param>
/// <param name="IsSealed">It is no longer written.</param>
/// <param name="IsPartial">Only a part of it has arrived.</param>
public sealed record StoredLayer(LayerId Id, long Bytes, bool IsSealed = false, bool IsPartial = false, DateTimeOffset LastUsed = default);
