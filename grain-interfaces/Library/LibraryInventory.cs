namespace Instances.Library;

/// <summary>Everything that the library's files show.</summary>
/// <param name="Layers">The layer files, partial ones included.</param>
[GenerateSerializer, Immutable, Alias("instances.LibraryInventory")]
public sealed record LibraryInventory(
    [property: Id(0)] IReadOnlyList<LayerId> Layers,
    [property: Id(1)] IReadOnlyList<InventoryManifest> Manifests);

/// <param name="Layers">The layers that the manifest names.</param>
/// <param name="Spec">What the manifest says that people can change.</param>
[GenerateSerializer, Immutable, Alias("instances.InventoryManifest")]
public sealed record InventoryManifest([property: Id(0)] ImageId Image, [property: Id(1)] IReadOnlyList<LayerId> Layers, [property: Id(2)] ImageSpec? Spec = null);
