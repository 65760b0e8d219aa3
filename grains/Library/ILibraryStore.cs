using Instances.Faults;

namespace Instances.Library;

/// <summary>The library's layers, with a manifest for each image beside them. It may also be the store of a host in the same process.</summary>
public interface ILibraryStore : ILayerStore
{
    /// <summary>Writes a manifest durably: from now on the image can be found from files alone. Replaces an older one.</summary>
    Task WriteManifest(ImageManifest manifest);

    Task DeleteManifest(ImageId image);

    /// <summary>How many bytes of an upload have arrived for a layer.</summary>
    long ReceivedBytes(LayerId layer);

    Task<IReadOnlyList<ImageManifest>> ReadManifests(CancellationToken cancellationToken);

    /// <summary>As <see cref="ReadManifests"/>, with those that cannot be read.</summary>
    Task<ManifestScan> ScanManifests(CancellationToken cancellationToken);

    /// <summary>The manifest of an image, or null if there is none that can be read.</summary>
    Task<ImageManifest?> FindManifest(ImageId image);

    /// <summary>The database that the folder belongs to, or null if it belongs to none. One that cannot be read is <see cref="LibraryBinding.Unreadable"/>.</summary>
    LibraryBinding? ReadBinding();

    /// <summary>Writes it durably.</summary>
    /// <exception cref="FaultException">no-space: the binding is unchanged.</exception>
    Task WriteBinding(LibraryBinding binding);

    /// <summary>Space of a layer that is being merged or was merged.</summary>
    long MergedBytes(LayerId layer);
}

/// <param name="Unreadable">The images whose manifest files are broken, or of a later release.</param>
public sealed record ManifestScan(IReadOnlyList<ImageManifest> Manifests, IReadOnlyList<UnreadableManifest> Unreadable);

/// <param name="Reason">A sentence for users.</param>
public sealed record UnreadableManifest(ImageId Image, string Reason);
