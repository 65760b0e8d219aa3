using Instances.Faults;
using Instances.Hosts;
using Orleans.Concurrency;

namespace Instances.Library;

/// <summary>The library: its layers, its manifests, and the background work on them. Keyed by <see cref="Key"/>; lives in a silo that sees the library's folder.</summary>
/// <remarks>
/// Everything but a sweep and a rebuild may interleave with everything: what it acts on is in files, each of which appears and goes whole, and a sweep looks for
/// files first and for references then. Only sweeps and rebuilds write the grain's own state, one after the other.
/// </remarks>
[Alias("instances.ILibraryGrain")]
public interface ILibraryGrain : IGrainWithStringKey
{
    const string Key = "default";

    /// <summary>Removes layers and partial files that are unreferenced, and manifests whose import or capture is known to have failed. Runs automatically at start,
    /// every hour, and after an image went. Removes nothing while the database does not know the library: see <see cref="Rebuild"/>.</summary>
    [Alias("Sweep")]
    Task<SweepReport> Sweep();

    /// <summary>Sweeps in the background, shortly: calls that come close together are served by one sweep.</summary>
    [Alias("SweepSoon"), OneWay]
    Task SweepSoon();

    /// <summary>The library's store as it is. Always interleaves: see the remarks.</summary>
    [Alias("Get"), AlwaysInterleave]
    Task<LibraryView> Get();

    /// <summary>The absolute URL that takes the upload of an image. Always interleaves: see the remarks.</summary>
    [Alias("UploadAddress"), AlwaysInterleave]
    Task<Uri> UploadAddress(ImageId image);

    /// <summary>A ticket to export an image. Always interleaves: see the remarks.</summary>
    [Alias("OfferExport"), AlwaysInterleave]
    Task<ExportTicket> OfferExport(ImageId image);

    /// <summary>Takes a place for an import that is about to begin. Idempotent. Given back by <see cref="Admitted"/>, and by itself after a minute.
    /// Always interleaves: it has a queue of its own.</summary>
    /// <exception cref="FaultException">too-many-uploads.</exception>
    [Alias("Admit"), AlwaysInterleave]
    Task Admit(ImageId image);

    /// <summary>The library's silo has the import, or the import waits for its bytes, or it did not begin. Idempotent. Always interleaves: see the remarks.</summary>
    [Alias("Admitted"), AlwaysInterleave, OneWay]
    Task Admitted(ImageId image);

    /// <summary>How many bytes of an upload have arrived. Always interleaves: see the remarks.</summary>
    [Alias("ReceivedBytes"), AlwaysInterleave]
    Task<long> ReceivedBytes(LayerId layer);

    /// <summary>Makes an image of an upload that has come whole, in the background. Idempotent while that runs. Always interleaves: see the remarks.</summary>
    /// <returns>False if its bytes are not all there.</returns>
    /// <exception cref="FaultException">too-many-uploads.</exception>
    [Alias("TakeUpUpload"), AlwaysInterleave]
    Task<bool> TakeUpUpload(ImageId image, UploadPlan plan);

    /// <summary>How large a file is that may be imported. Always interleaves: see the remarks.</summary>
    /// <exception cref="FaultException">path-not-allowed.</exception>
    [Alias("MeasureFile"), AlwaysInterleave]
    Task<MeasuredFile> MeasureFile(string path);

    /// <summary>Copies a file and makes an image of it, in the background. Idempotent while that runs. Always interleaves: see the remarks.</summary>
    /// <exception cref="FaultException">too-many-uploads. What the file is refused for, ends the import.</exception>
    [Alias("TakeFile"), AlwaysInterleave]
    Task TakeFile(ImageId image, UploadPlan plan, string path);

    /// <summary>Makes a master of a slave, in the background. Idempotent while that runs. Always interleaves: see the remarks.</summary>
    /// <exception cref="FaultException">too-many-uploads.</exception>
    [Alias("TakePromotion"), AlwaysInterleave]
    Task TakePromotion(ImageId image, UploadPlan plan);

    /// <summary>What is known of the content of those of these layers that the library has and has read. Always interleaves: see the remarks.</summary>
    [Alias("Know"), AlwaysInterleave]
    Task<IReadOnlyList<KnownLayer>> Know(IReadOnlyList<LayerId> layers);

    /// <summary>Where a host can have layers from. Always interleaves: see the remarks.</summary>
    /// <exception cref="FaultException">layer-missing.</exception>
    [Alias("Offer"), AlwaysInterleave]
    Task<IReadOnlyList<LayerOffer>> Offer(IReadOnlyList<LayerId> layers);

    /// <summary>Where a layer of an image can be read that is Ready, Retired or, because of another layer, Corrupt; with the SHA-256 that it has to have, where that is known.
    /// Always interleaves: see the remarks.</summary>
    /// <exception cref="FaultException">layer-not-found; layer-not-sound: it is known to be corrupt; data-plane-unknown.</exception>
    [Alias("OfferLayer"), AlwaysInterleave]
    Task<LayerOffer> OfferLayer(LayerId layer);

    /// <summary>Brings sealed layers from a host into the library: starts the transfers or joins those that run, and waits for about a second. To be called again
    /// until it is done. Idempotent. Always interleaves: see the remarks.</summary>
    /// <exception cref="FaultException">layer-missing; layer-corrupt; no-space; transfer-failed; host-unavailable.</exception>
    [Alias("Receive"), AlwaysInterleave]
    Task<TransferProgress> Receive(HostId host, IReadOnlyList<LayerId> layers);

    /// <summary>Writes manifests whose layers are in the library. Idempotent. Undone by <see cref="Unpublish"/>. Always interleaves: see the remarks.</summary>
    /// <exception cref="FaultException">no-space.</exception>
    [Alias("Publish"), AlwaysInterleave, ResponseTimeout("00:10:00")]
    Task Publish(IReadOnlyList<ImageManifest> manifests);

    /// <summary>Deletes manifests: their layers go by a sweep when nobody refers to them. Idempotent. Always interleaves: see the remarks.</summary>
    [Alias("Unpublish"), AlwaysInterleave, ResponseTimeout("00:10:00")]
    Task Unpublish(IReadOnlyList<ImageId> images);

    /// <summary>What a host needs to know to clean its own store. Asked after the host has listed its files. Always interleaves: see the remarks.</summary>
    [Alias("Judge"), AlwaysInterleave]
    Task<LayerJudgement> Judge(IReadOnlyList<LayerId> layers);

    /// <summary>What there is, for who looks whether all of it has an owner. Always interleaves: see the remarks.</summary>
    [Alias("Inventory"), AlwaysInterleave]
    Task<LibraryInventory> Inventory();

    /// <summary>The manifest of an image as its file has it, or null if there is none that can be read. Always interleaves: see the remarks.</summary>
    [Alias("FindManifest"), AlwaysInterleave]
    Task<ImageManifest?> FindManifest(ImageId image);

    /// <summary>Begins to give every image that has a manifest and no record its record again, in the background; joins a rebuild that runs. A record that is there is left
    /// as it is. At the end the library is this database's, and is swept again. Taken up again by a silo that is restarted. Always interleaves: see the remarks.</summary>
    /// <param name="dryRun">Looks only, and changes nothing. Where a rebuild runs, that one continues.</param>
    /// <exception cref="FaultException">rebuild-running: a rebuild was asked for, and a dry run is under way.</exception>
    [Alias("Rebuild"), AlwaysInterleave]
    Task<LibraryRebuild> Rebuild(bool dryRun);

    /// <summary>How far the rebuild is that runs, or what the last one did. Always interleaves: see the remarks.</summary>
    /// <exception cref="FaultException">rebuild-not-found: there was none.</exception>
    [Alias("GetRebuild"), AlwaysInterleave]
    Task<LibraryRebuild> GetRebuild();

    /// <summary>What takes how much space. Asks the file system for the size of every file in the folder, and reads a row of each image; reads no layer and no manifest.
    /// Always interleaves: see the remarks.</summary>
    /// <param name="limit">So many images are shown: 1 to 1000, those first that would free most.</param>
    /// <exception cref="FaultException">limit-invalid.</exception>
    [Alias("Usage"), AlwaysInterleave]
    Task<LibraryUsage> Usage(int limit);
}

/// <param name="Store">The identity of the folder, wherever it is mounted.</param>
/// <param name="FreeBytes">Free space in its file system.</param>
/// <param name="MaxUploadBytes">The largest upload; null from a silo of an earlier release.</param>
[GenerateSerializer, Immutable, Alias("instances.LibraryView")]
public sealed record LibraryView([property: Id(0)] string Store, [property: Id(1)] long FreeBytes, [property: Id(2)] long? MaxUploadBytes = null);

/// <param name="Unreferenced">Layers that no machine, no image and no running operation refers to.</param>
/// <param name="Kept">Layers that the library has, sealed: another store can drop them and have them again.</param>
[GenerateSerializer, Immutable, Alias("instances.LayerJudgement")]
public sealed record LayerJudgement([property: Id(0)] IReadOnlyList<LayerId> Unreferenced, [property: Id(1)] IReadOnlyList<LayerId> Kept);

/// <param name="Layers">How many layer files, partial ones included, were removed.</param>
/// <param name="Bytes">Space that they took.</param>
/// <param name="Manifests">How many manifests were removed whose import or capture has failed.</param>
[GenerateSerializer, Immutable, Alias("instances.SweepReport")]
public sealed record SweepReport([property: Id(0)] int Layers, [property: Id(1)] long Bytes, [property: Id(2)] int Manifests);
