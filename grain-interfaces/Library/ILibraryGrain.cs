using Orleans.Concurrency;

namespace Instances.Library;

/// <summary>The background work on the library. Keyed by <see cref="Key"/>.</summary>
[Alias("instances.ILibraryGrain")]
public interface ILibraryGrain : IGrainWithStringKey
{
    const string Key = "default";

    /// <summary>Removes layers, partial files and manifests that nobody refers to. Runs by itself at start, every hour, and after an image went.</summary>
    [Alias("Sweep")]
    Task<SweepReport> Sweep();

    /// <summary>Sweeps in the background, shortly: calls that come close together are served by one sweep.</summary>
    [Alias("SweepSoon"), OneWay]
    Task SweepSoon();

    /// <summary>What there is, for who looks whether all of it has an owner.</summary>
    [Alias("Inventory")]
    Task<LibraryInventory> Inventory();
}

/// <param name="Layers">How many layer files, partial ones included, were removed.</param>
/// <param name="Bytes">Space that they took.</param>
/// <param name="Manifests">How many manifests without an image were removed.</param>
[GenerateSerializer, Immutable, Alias("instances.SweepReport")]
public sealed record SweepReport([property: Id(0)] int Layers, [property: Id(1)] long Bytes, [property: Id(2)] int Manifests);
