namespace Instances.Library;

/// <summary>The library's layers, with a manifest for each image beside them. May be the store of a host of the same process too.</summary>
public interface ILibraryStore : ILayerStore
{
    /// <summary>Writes a manifest durably: from here the image can be found from files alone. Replaces an older one.</summary>
    Task WriteManifest(ImageManifest manifest);

    Task DeleteManifest(ImageId image);

    Task<IReadOnlyList<ImageManifest>> ReadManifests(CancellationToken cancellationToken);
}
