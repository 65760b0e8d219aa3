using Instances.Faults;
using Instances.Hosts;
using Orleans.Concurrency;

namespace Instances.Library;

/// <summary>The library: its layers, its manifests, and the background work on them. Keyed by <see cref="Key"/>; lives in a silo that sees the library's folder.</summary>
/// <remarks>
/// All calls except sweeps and rebuilds may interleave. They act on files, and each file is created and deleted atomically. A sweep lists the files first, and then the
/// references. Only sweeps and rebuilds write the grain's own state, one after the other.
/// </remarks>
[Alias("instances.ILibraryGrain")]
public interface ILibraryGrain : IGrainWithStringKey
{
    const string Key = "default";

    /// <summary>Removes layers and partial files that are unreferenced, and manifests whose import or capture is known to have failed. Runs automatically at start,
    /// every hour, and after an image was deleted. Removes nothing while the database does not know the library: see <see cref="Rebuild"/>.</summary>
    [Alias("Sweep")]
    Task<SweepReport> Sweep();

    /// <summary>Starts a sweep in the background after a short delay. Calls in quick succession share one sweep.</summary>
    [Alias("SweepSoon"), OneWay]
    Task SweepSoon();

    /// <summary>Forgets a host that used the library's folder and will not come back: sweeps no longer ask it. Always interleaves: see the remarks.</summary>
    /// <returns>False if the host has not used the folder.</returns>
    [Alias("ForgetHost"), AlwaysInterleave]
    Task<bool> ForgetHost(HostId host);

    /// <summary>The library's store as it is. Always interleaves: see the remarks.</summary>
    [Alias("Get"), AlwaysInterleave]
    Task<LibraryView> Get();

    /// <summary>The absolute URL to upload an image to. Always interleaves: see the remarks.</summary>
    [Alias("UploadAddress"), AlwaysInterleave]
    Task<Uri> UploadAddress(ImageId image);

    /// <summary>A ticket to export an image. Always interleaves: see the remarks.</summary>
    [Alias("OfferExport"), AlwaysInterleave]
    Task<ExportTicket> OfferExport(ImageId image);

    /// <summary>Reserves a place for an import that is about to begin. Idempotent. Released by <see cref="Admitted"/>, or automatically after a minute.
    /// Always interleaves: it has its own queue.</summary>
    /// <exception cref="FaultException">too-many-uploads.</exception>
    [Alias("Admit"), AlwaysInterleave]
    Task Admit(ImageId image);

    /// <summary>Releases the reserved place: the library's silo has the import, or the import waits for its bytes, or it did not begin. Idempotent. Always interleaves: see the remarks.</summary>
    [Alias("Admitted"), AlwaysInterleave, OneWay]
    Task Admitted(ImageId image);

    /// <summary>How many bytes of an upload have arrived. Always interleaves: see the remarks.</summary>
    [Alias("ReceivedBytes"), AlwaysInterleave]
    Task<long> ReceivedBytes(LayerId layer);

    /// <summary>Converts a complete upload to an image, in the background. Idempotent while that runs. Always interleaves: see the remarks.</summary>
    /// <returns>False if some of its bytes are missing.</returns>
    /// <exception cref="FaultException">too-many-uploads.</exception>
    [Alias("TakeUpUpload"), AlwaysInterleave]
    Task<bool> TakeUpUpload(ImageId image, UploadPlan plan);

    /// <summary>The length of a file that may be imported. Always interleaves: see the remarks.</summary>
    /// <exception cref="FaultException">path-not-allowed.</exception>
    [Alias("MeasureFile"), AlwaysInterleave]
    Task<MeasuredFile> MeasureFile(string path);

    /// <summary>Copies a file and converts it to an image, in the background. Idempotent while that runs. Always interleaves: see the remarks.</summary>
    /// <exception cref="FaultException">too-many-uploads. If the file is refused, the import fails.</exception>
    [Alias("TakeFile"), AlwaysInterleave]
    Task TakeFile(ImageId image, UploadPlan plan, string path);

    /// <summary>Makes a master of a slave, in the background. Idempotent while that runs. Always interleaves: see the remarks.</summary>
    /// <exception cref="FaultException">too-many-uploads.</exception>
    [Alias("TakePromotion"), AlwaysInterleave]
    Task TakePromotion(ImageId image, UploadPlan plan);

    /// <summary>The known digests of these layers, for those that the library has and has read. Always interleaves: see the remarks.</summary>
    [Alias("Know"), AlwaysInterleave]
    Task<IReadOnlyList<KnownLayer>> Know(IReadOnlyList<LayerId> layers);

    /// <summary>Where a host can fetch layers. Always interleaves: see the remarks.</summary>
    /// <exception cref="FaultException">layer-missing.</exception>
    [Alias("Offer"), AlwaysInterleave]
    Task<IReadOnlyList<LayerOffer>> Offer(IReadOnlyList<LayerId> layers);

    /// <summary>Where a layer can be read, with its expected SHA-256 if that is known. Its image must be Ready, Retired, or Corrupt because of another layer.
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

    /// <summary>Deletes manifests. A sweep deletes their layers when they are unreferenced. Idempotent. Always interleaves: see the remarks.</summary>
    [Alias("Unpublish"), AlwaysInterleave, ResponseTimeout("00:10:00")]
    Task Unpublish(IReadOnlyList<ImageId> images);

    /// <summary>Which of these layers a host can delete from its own store. The host calls this after it has listed its files. Always interleaves: see the remarks.</summary>
    [Alias("Judge"), AlwaysInterleave]
    Task<LayerJudgement> Judge(IReadOnlyList<LayerId> layers);

    /// <summary>Whether the library's silo works on an import of an image, or receives its bytes. Always interleaves: see the remarks.</summary>
    [Alias("IsImporting"), AlwaysInterleave]
    Task<bool> IsImporting(ImageId image);

    /// <summary>All files in the library, for the doctor. Always interleaves: see the remarks.</summary>
    [Alias("Inventory"), AlwaysInterleave]
    Task<LibraryInventory> Inventory();

    /// <summary>The manifest of an image as its file has it, or null if there is none that can be read. Always interleaves: see the remarks.</summary>
    [Alias("FindManifest"), AlwaysInterleave]
    Task<ImageManifest?> FindManifest(ImageId image);

    /// <summary>Begins a rebuild in the background, or joins the running one: every image that has a manifest and no record gets a record. Existing records are not
    /// changed. At the end the library belongs to this database, and sweeps resume. A restarted silo resumes the rebuild. Always interleaves: see the remarks.</summary>
    /// <param name="dryRun">Changes nothing. If a rebuild is running, it continues.</param>
    /// <exception cref="FaultException">rebuild-running: a rebuild was requested during a dry run.</exception>
    [Alias("Rebuild"), AlwaysInterleave]
    Task<LibraryRebuild> Rebuild(bool dryRun);

    /// <summary>The progress of the running rebuild, or the result of the last one. Always interleaves: see the remarks.</summary>
    /// <exception cref="FaultException">rebuild-not-found: there was none.</exception>
    [Alias("GetRebuild"), AlwaysInterleave]
    Task<LibraryRebuild> GetRebuild();

    /// <summary>The use of space. Asks the file system for the size of every file in the folder, and reads a row of each image; reads no layer and no manifest.
    /// Always interleaves: see the remarks.</summary>
    /// <param name="limit">The number of images in the answer, 1 to 1000. Those that would free most come first.</param>
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
/// <param name="Kept">Layers that the library has, sealed: another store can delete them and fetch them again.</param>
[GenerateSerializer, Immutable, Alias("instances.LayerJudgement")]
public sealed record LayerJudgement([property: Id(0)] IReadOnlyList<LayerId> Unreferenced, [property: Id(1)] IReadOnlyList<LayerId> Kept);

/// <param name="Layers">How many layer files, partial ones included, were removed.</param>
/// <param name="Bytes">Space that they took.</param>
/// <param name="Manifests">How many manifests were removed whose import or capture has failed.</param>
[GenerateSerializer, Immutable, Alias("instances.SweepReport")]
public sealed record SweepReport([property: Id(0)] int Layers, [property: Id(1)] long Bytes, [property: Id(2)] int Manifests);
