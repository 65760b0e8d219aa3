using Instances.Operations;

namespace Instances.Library;

/// <summary>Everything that is in the library's folder.</summary>
/// <param name="Layers">The layer files, without those that are being transferred.</param>
/// <param name="Stranger">Why the database does not know the library, so that nothing is removed; null if it does.</param>
/// <param name="Held">Why no layer is removed although the database knows the library: a host that uses its folder cannot be asked. Null otherwise.</param>
/// <param name="Unreadable">The images whose manifests cannot be read.</param>
[GenerateSerializer, Immutable, Alias("instances.LibraryInventory")]
public sealed record LibraryInventory(
    [property: Id(0)] IReadOnlyList<LayerId> Layers,
    [property: Id(1)] IReadOnlyList<InventoryManifest> Manifests,
    [property: Id(2)] string? Stranger = null,
    [property: Id(3)] IReadOnlyList<ImageId>? Unreadable = null,
    [property: Id(4)] string? Held = null);

/// <param name="Layers">The layers that the manifest names.</param>
/// <param name="Spec">The part of the manifest that users can change.</param>
/// <param name="Operation">The import or the capture that wrote it.</param>
[GenerateSerializer, Immutable, Alias("instances.InventoryManifest")]
public sealed record InventoryManifest([property: Id(0)] ImageId Image, [property: Id(1)] IReadOnlyList<LayerId> Layers, [property: Id(2)] ImageSpec? Spec = null, [property: Id(3)] OperationId? Operation = null);
