using Instances.Faults;

namespace Instances.Library;

/// <summary>The library's layers, with a manifest for each image beside them. May be the store of a host of the same process too.</summary>
public interface ILibraryStore : ILayerStore
{
    /// <summary>Writes a manifest durably: from here the image can be found from files alone. Replaces an older one.</summary>
    Task WriteManifest(ImageManifest manifest);

    Task DeleteManifest(ImageId image);

    /// <summary>How many bytes of an upload have arrived for a layer.</summary>
    long ReceivedBytes(LayerId layer);

    Task<IReadOnlyList<ImageManifest>> ReadManifests(CancellationToken cancellationToken);

    /// <summary>As <see cref="ReadManifests"/>, with those that cannot be read.</summary>
    Task<ManifestScan> ScanManifests(CancellationToken cancellationToken);

    /// <summary>The manifest of an image, or null where there is none that can be read.</summary>
    Task<ImageManifest?> FindManifest(ImageId image);

    /// <summary>The database that the folder belongs to, or null where it belongs to none. One that cannot be read is <see cref="LibraryBinding.Unreadable"/>.</summary>
    LibraryBinding? ReadBinding();

    /// <summary>Writes it durably.</summary>
    /// <exception cref="FaultException">no-space: it is as it was.</exception>
    Task WriteBinding(LibraryBinding binding);

    /// <summary>What is known of the content of each sealed layer. Reads no layer.</summary>
    IReadOnlyList<LayerCheck> Checks();

    /// <summary>Reads a sealed layer whole, and remembers durably what it hashes to. The first digest is the one that it has to have from then on, unless one is expected.</summary>
    /// <param name="expected">What it was said to hash to when it came, in lower case hex; null where nobody knows. What was found at an earlier check is not believed more.</param>
    /// <param name="bytesPerSecond">Not faster than that.</param>
    /// <exception cref="FaultException">layer-missing; no-space.</exception>
    Task<LayerCheck> Check(LayerId layer, string? expected, long bytesPerSecond, CancellationToken cancellationToken);

    /// <summary>As <see cref="Checks"/> has it of one layer, or null where the library has no such sealed layer.</summary>
    LayerCheck? FindCheck(LayerId layer);

    /// <summary>Puts a copy of a corrupt layer in its place, where the copy hashes to what the layer has to. The layer stays where it is until then; machines that have it open go on with
    /// what they have. A copy that comes too slowly is given up: after a minute, and one second more for each 64 KiB that have come and each 256 MiB of its length.</summary>
    /// <param name="from">What is remembered of where it came from.</param>
    /// <param name="offer">Called again where the ticket of the offer has expired.</param>
    /// <returns>False where the copy is no better: the layer is as it was.</returns>
    /// <exception cref="FaultException">no-space; transfer-failed: the layer is as it was.</exception>
    Task<bool> Heal(LayerId layer, string from, Func<Task<LayerOffer>> offer, CancellationToken cancellationToken);

    /// <summary>Space that a layer takes which is being merged, or was.</summary>
    long MergedBytes(LayerId layer);
}

/// <param name="Unreadable">The images whose manifest files are broken, or of a later release.</param>
public sealed record ManifestScan(IReadOnlyList<ImageManifest> Manifests, IReadOnlyList<UnreadableManifest> Unreadable);

/// <param name="Reason">For people.</param>
public sealed record UnreadableManifest(ImageId Image, string Reason);
