using Instances.Faults;
using Instances.Hosts;

namespace Instances.Library;

/// <summary>A host's layers, in a flat folder (<c>&lt;id&gt;.qcow2</c>). Holds no memory of its own but of the transfers that run: everything is in the files.</summary>
/// <remarks>
/// Durable means: the file is synchronized, renamed where it was partial, and its folder synchronized. Throws <see cref="FaultException"/>:
/// <c>no-space</c> on a full disk, <c>layer-missing</c> for a layer that is not there.
/// </remarks>
public interface ILayerStore
{
    /// <summary>The identity of the folder: the same for everybody who sees it, wherever it is mounted.</summary>
    string Id { get; }

    string PathOf(LayerId layer);

    bool Contains(LayerId layer);

    /// <summary>Makes an empty writable layer over a parent, or a blank one where there is none. A layer that is there is left alone.</summary>
    /// <param name="virtualSizeBytes">As the guest will see it.</param>
    Task CreateLayer(LayerId layer, LayerId? parent, long virtualSizeBytes, CancellationToken cancellationToken);

    /// <summary>Makes a layer that nobody writes to any more durable and read-only. Moves no byte of it.</summary>
    /// <returns>Its space in bytes.</returns>
    Task<long> Seal(LayerId layer);

    /// <summary>Makes one layer of several, durably, and compares it with them before it has its name. Reads and changes nothing else. A layer that is there is left alone.</summary>
    /// <param name="bytesPerSecond">Not faster than that.</param>
    /// <returns>Its space in bytes.</returns>
    /// <exception cref="FaultException">layer-missing; layer-unreadable; no-space; merge-differs. Nothing is left of it.</exception>
    Task<long> Merge(LayerMerge merge, long bytesPerSecond, CancellationToken cancellationToken);

    /// <summary>Deletes a layer, and what arrived of it, before it returns. Does nothing if there is none.</summary>
    Task Delete(LayerId layer);

    /// <summary>Every layer in the folder, partial ones included.</summary>
    IReadOnlyList<StoredLayer> List();

    /// <summary>Leaves the name of a host that uses this folder, durably. Whoever sweeps the folder asks that host.</summary>
    void AddUser(HostId host);

    /// <summary>The hosts that use this folder, or have used it.</summary>
    IReadOnlyList<HostId> Users();

    /// <summary>The layer is being used: eviction goes by the last use.</summary>
    void Touch(LayerId layer);

    /// <summary>Where others can have a sealed layer from.</summary>
    LayerOffer Offer(LayerId layer);

    /// <summary>Brings layers here: starts the transfers or joins those that run, and waits for about a second. To be called again until it is done.</summary>
    /// <param name="offer">Asks the other side for offers of those that are neither here nor on their way, and of those whose ticket has expired.</param>
    /// <exception cref="FaultException">layer-corrupt; no-space; transfer-failed. The next call begins again, with what has arrived.</exception>
    Task<TransferProgress> Pull(IReadOnlyList<LayerId> layers, Func<IReadOnlyList<LayerId>, Task<IReadOnlyList<LayerOffer>>> offer);

    /// <summary>What is known of the content of each sealed layer. Reads no layer.</summary>
    IReadOnlyList<LayerCheck> Checks();

    /// <summary>Reads a sealed layer whole, and remembers durably what it hashes to. The first digest is the one that it has to have from then on, unless one is expected.</summary>
    /// <param name="expected">What it was said to hash to when it came, in lower case hex; null if nobody knows. What was found at an earlier check is not believed more.</param>
    /// <param name="bytesPerSecond">Not faster than that.</param>
    /// <exception cref="FaultException">layer-missing; no-space.</exception>
    Task<LayerCheck> Check(LayerId layer, string? expected, long bytesPerSecond, CancellationToken cancellationToken);

    /// <summary>As <see cref="Checks"/> has it of one layer, or null if the store has no such sealed layer.</summary>
    LayerCheck? FindCheck(LayerId layer);

    /// <summary>Remembers durably that a layer may be corrupt, since another copy of it was. Does nothing if there is none.</summary>
    /// <param name="sha256">What it has to hash to.</param>
    /// <exception cref="FaultException">no-space.</exception>
    void Doubt(LayerId layer, string sha256);

    /// <summary>Puts a copy of a corrupt layer in its place, where the copy hashes to what the layer has to. The layer stays where it is until then; machines that have it open continue with
    /// what they have. A copy that comes too slowly is given up: after a minute, and one second more for each 64 KiB that have come and each 256 MiB of its length.</summary>
    /// <param name="from">What is remembered of where it came from.</param>
    /// <param name="offer">Called again where the ticket of the offer has expired.</param>
    /// <returns>False if the copy is no better: the layer is as it was.</returns>
    /// <exception cref="FaultException">no-space; transfer-failed: the layer is as it was.</exception>
    Task<bool> Heal(LayerId layer, string from, Func<Task<LayerOffer>> offer, CancellationToken cancellationToken);

    long FreeBytes { get; }

    /// <summary>The bound on a host's layers in bytes: past it, those that the library has too and nobody uses go, the longest unused first.</summary>
    long CacheBytes { get; }
}

/// <param name="Bytes">Space that the file takes.</param>
/// <param name="IsSealed">Nobody writes to it any more.</param>
/// <param name="IsPartial">Nothing but what arrived of it is there.</param>
public sealed record StoredLayer(LayerId Id, long Bytes, bool IsSealed = false, bool IsPartial = false, DateTimeOffset LastUsed = default);
