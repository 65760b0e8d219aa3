using Instances.Faults;

namespace Instances.Library;

/// <summary>A flat folder of layers (<c>&lt;id&gt;.qcow2</c>) and manifests. Holds no memory of its own: everything is in the files.</summary>
/// <remarks>
/// Durable means: the file is synchronized, renamed where it was partial, and its folder synchronized. Throws <see cref="FaultException"/>:
/// <c>no-space</c> on a full disk, <c>layer-missing</c> for a layer that is not there.
/// </remarks>
public interface ILayerStore
{
    string PathOf(LayerId layer);

    bool Contains(LayerId layer);

    /// <summary>Makes an empty writable layer over a parent, or a blank one where there is none. A layer that is there is left alone.</summary>
    /// <param name="virtualSizeBytes">As the guest will see it.</param>
    Task CreateLayer(LayerId layer, LayerId? parent, long virtualSizeBytes, CancellationToken cancellationToken);

    /// <summary>Makes a layer that nobody writes to any more durable and read-only. Moves no byte of it.</summary>
    /// <returns>Its space in bytes.</returns>
    Task<long> Seal(LayerId layer);

    /// <summary>Deletes a layer, and what arrived of it. Does nothing where there is none.</summary>
    Task Delete(LayerId layer);

    /// <summary>Every layer in the folder, partial ones included.</summary>
    IReadOnlyList<StoredLayer> List();

    /// <summary>Writes a manifest durably: from here the image can be found from files alone. Replaces an older one.</summary>
    Task WriteManifest(ImageManifest manifest);

    Task DeleteManifest(ImageId image);

    Task<IReadOnlyList<ImageManifest>> ReadManifests(CancellationToken cancellationToken);

    long FreeBytes { get; }
}

/// <param name="Bytes">Space that the file takes.</param>
public sealed record StoredLayer(LayerId Id, long Bytes);
