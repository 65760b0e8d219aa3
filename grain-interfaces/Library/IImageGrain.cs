using System.Text.Json.Serialization;
using Instances.Enterprises;
using Instances.Faults;
using Instances.Operations;
using Orleans.Concurrency;

namespace Instances.Library;

/// <summary>An image of the appliance library.</summary>
[Alias("instances.IImageGrain")]
public interface IImageGrain : IGrainWithGuidKey
{
    /// <summary>Begins an import. The image becomes Importing. The client sends the bytes to the ticket's address. Idempotent by operation while no bytes have come.</summary>
    /// <exception cref="FaultException">name-invalid; description-invalid; image-invalid; image-too-large; no-space; too-many-uploads; enterprise-not-found; quota-uploads;
    /// quota-images; quota-library-bytes; quota-virtual-bytes; image-exists.</exception>
    [Alias("BeginImport")]
    Task<UploadTicket> BeginImport(OperationId operation, ImportCommand command);

    /// <summary>Called before an upload is attempted again: ends the import of the earlier attempt, unless all its bytes have arrived. Idempotent.</summary>
    /// <returns>Whether that import stands because all its bytes have arrived: it continues or has succeeded, even if its image was deleted since.</returns>
    [Alias("Supersede")]
    Task<bool> Supersede(OperationId operation);

    /// <summary>Begins an import whose bytes come in parts: the image is Importing until all bytes have arrived, however often the client disconnects.
    /// Idempotent by operation.</summary>
    /// <param name="command">Must state the number of bytes.</param>
    /// <exception cref="FaultException">name-invalid; upload-length-missing; image-empty; image-too-large; no-space; too-many-uploads; enterprise-not-found; quota-uploads;
    /// quota-images; quota-library-bytes; quota-virtual-bytes; digest-invalid; image-exists.</exception>
    [Alias("BeginUpload")]
    Task BeginUpload(OperationId operation, ImportCommand command);

    /// <summary>Begins an import of a file on the machine that has the library. Idempotent by operation.</summary>
    /// <param name="command">Without a number of bytes: the file's length counts.</param>
    /// <param name="path">An absolute path in one of the folders that the library's silo allows.</param>
    /// <exception cref="FaultException">path-not-allowed; name-invalid; image-empty; image-too-large; no-space; too-many-uploads; enterprise-not-found; quota-uploads;
    /// quota-images; quota-library-bytes; quota-virtual-bytes; digest-invalid; image-exists.</exception>
    [Alias("BeginImportFromPath")]
    Task BeginImportFromPath(OperationId operation, ImportCommand command, string path);

    /// <summary>Begins to make a master of a slave: a separate copy with one layer for each disk. The slave stays, and may be deleted meanwhile. Idempotent by operation.</summary>
    /// <param name="source">A slave that is Ready.</param>
    /// <param name="name">Null for the slave's.</param>
    /// <exception cref="FaultException">image-not-found; image-is-master; image-not-ready; image-corrupt; name-invalid; no-space; too-many-uploads; quota-uploads; quota-images;
    /// quota-library-bytes; quota-virtual-bytes, of the slave's enterprise, which owns the master; image-exists.</exception>
    [Alias("BeginPromotion")]
    Task BeginPromotion(OperationId operation, ImageId source, string? name);

    /// <summary>How many bytes of an upload in parts have arrived. If the image is Ready, all have.</summary>
    /// <exception cref="FaultException">upload-not-found: there is none, or it has failed.</exception>
    [Alias("GetUpload")]
    Task<UploadView> GetUpload();

    /// <summary>A ticket for the next part of an upload in parts. The ticket is valid for one request, while this silo runs.</summary>
    /// <exception cref="FaultException">upload-not-found; upload-mismatch if all bytes have come.</exception>
    [Alias("ContinueUpload")]
    Task<UploadTicket> ContinueUpload();

    /// <summary>Called by the data plane when a part arrives.</summary>
    /// <exception cref="FaultException">ticket-invalid.</exception>
    [Alias("AcceptPart")]
    Task<UploadPlan> AcceptPart(string ticket);

    /// <summary>Called by the data plane: all bytes of an upload, in parts or in one request, are durable. No further part is accepted, and the import survives the end of its silo.
    /// Idempotent.</summary>
    /// <exception cref="FaultException">operation-cancelled: the import has ended.</exception>
    [Alias("CompleteUpload")]
    Task CompleteUpload(OperationId operation);

    /// <summary>Cancels an upload in parts: its import ends as Cancelled, and nothing of it is kept. Idempotent.</summary>
    /// <exception cref="FaultException">upload-not-found; operation-finished if the image is Ready.</exception>
    [Alias("CancelUpload")]
    Task CancelUpload();

    /// <summary>Called by the data plane when bytes arrive. A ticket is valid for one upload.</summary>
    /// <exception cref="FaultException">ticket-invalid.</exception>
    [Alias("AcceptUpload")]
    Task<UploadPlan> AcceptUpload(string ticket);

    /// <summary>Called by the data plane while it receives and converts.</summary>
    /// <returns>False when the import was cancelled: stop, and leave nothing behind.</returns>
    [Alias("ReportImport")]
    Task<bool> ReportImport(OperationId operation, ImportStage stage, long bytes);

    /// <summary>Called by the data plane as soon as it knows the size of an upload's disk, before the conversion. The image counts with that size from now on. Idempotent.</summary>
    /// <returns>False when the import was cancelled: stop, and leave nothing behind.</returns>
    /// <exception cref="FaultException">quota-virtual-bytes: nothing is recorded, and the caller fails the import.</exception>
    [Alias("AcceptDisk")]
    Task<bool> AcceptDisk(OperationId operation, long virtualSizeBytes);

    /// <summary>Called by the data plane: the layer and the manifest are durable. The image becomes Ready. It becomes Failed (quota-library-bytes, quota-virtual-bytes) if it is
    /// larger than was admitted and exceeds a quota of its enterprise. Idempotent.</summary>
    [Alias("CompleteImport")]
    Task<ImageView> CompleteImport(OperationId operation, ImageManifest manifest);

    /// <summary>Called by the data plane: nothing of the upload is left. The image becomes Failed. Idempotent.</summary>
    [Alias("FailImport")]
    Task FailImport(OperationId operation, Fault fault);

    /// <summary>Called by the library when its silo starts. If nothing works on the import of the image any more, it resumes, or fails if its bytes are lost.
    /// An upload that waits for its sender keeps waiting. Idempotent.</summary>
    [Alias("ResumeImport")]
    Task ResumeImport();

    /// <summary>Called by the operation's grain. Idempotent.</summary>
    [Alias("CancelImport")]
    Task CancelImport(OperationId operation);

    /// <summary>Called by the record of an operation that has not ended. Idempotent.</summary>
    [Alias("Nudge"), OneWay]
    Task Nudge(OperationId operation);

    /// <summary>Called by background work: deletes the image if it is Retired and its grace period has passed. Idempotent.</summary>
    [Alias("Expire")]
    Task Expire();

    /// <summary>Called by the scrub: the image becomes Corrupt if it needs one of these layers, and Ready again if it needs none. Idempotent.</summary>
    [Alias("Judge")]
    Task Judge(IReadOnlyList<LayerId> corrupt);

    /// <summary>Called by the scrub for a layer of the image that was read for the first time. Idempotent.</summary>
    [Alias("RecordDigest")]
    Task RecordDigest(LayerId layer, string sha256);

    /// <summary>A ticket to export the image. Allowed when Ready.</summary>
    /// <exception cref="FaultException">image-not-found; image-not-ready; image-corrupt.</exception>
    [Alias("Export")]
    Task<ExportTicket> Export();

    /// <summary>Called by the data plane when an export begins, and again when all layers are open, to notice a deletion that has begun in between.</summary>
    /// <exception cref="FaultException">As of <see cref="Export"/>.</exception>
    [Alias("AcceptExport")]
    Task<ImageView> AcceptExport();

    /// <exception cref="FaultException">image-not-found.</exception>
    [Alias("Get")]
    Task<ImageView> Get();

    /// <summary>Called by a saga after its commit point: a captured image becomes Ready. Idempotent.</summary>
    [Alias("Publish")]
    Task<ImageView> Publish(ImageManifest manifest);

    /// <summary>Retires the image; it is deleted when the grace period has passed, or at once if the period is 0. Idempotent.</summary>
    /// <exception cref="FaultException">image-not-found; image-in-use, naming the machines; master-has-slaves; image-importing; image-pinned; image-busy.</exception>
    [Alias("Delete")]
    Task Delete();

    /// <summary>As <see cref="Delete"/>, and returns what is deleted. With <paramref name="cascade"/> the slaves of a master are deleted with it, all or none.</summary>
    /// <param name="dryRun">Refuses what would be refused, and changes nothing.</param>
    /// <exception cref="FaultException">As of <see cref="Delete"/>, of any of the images; cascade-too-large.</exception>
    [Alias("DeleteWith"), ResponseTimeout("00:02:00")]
    Task<ImageDeletion> DeleteWith(bool cascade, bool dryRun);

    /// <summary>As <see cref="Delete"/>, by an update or a retention rule. Idempotent.</summary>
    /// <exception cref="FaultException">As of <see cref="Delete"/>; image-shared unless a user has requested its deletion.</exception>
    [Alias("Retire")]
    Task Retire(RetirementReason reason);

    /// <summary>Called by a master that is deleted with its slaves: retires the slave, and does not remove it. Idempotent.</summary>
    /// <exception cref="FaultException">As of <see cref="Delete"/>.</exception>
    [Alias("RetireWith")]
    Task RetireWith(ImageId master);

    /// <summary>Called by a master whose deletion with its slaves was refused: the slave becomes Ready again if it was retired by that deletion. Idempotent.</summary>
    [Alias("TakeBack")]
    Task TakeBack(ImageId master);

    /// <summary>Makes a Retired image Ready again, within the grace period. Idempotent.</summary>
    /// <exception cref="FaultException">image-not-found; image-gone; master-retired: restore its master first; image-importing; image-failed.</exception>
    [Alias("Restore")]
    Task<ImageView> Restore();

    /// <summary>Renames the image, describes it, pins it, shares it, or gives it a retention rule. Allowed when Ready. Does nothing if nothing would change.</summary>
    /// <param name="ifVersion">The version that the change was made for, or null to change any.</param>
    /// <exception cref="FaultException">image-not-found; image-changed: the image's version has changed; name-invalid; description-invalid; image-invalid;
    /// retention-invalid; image-in-use if machines of other enterprises, which are named, use the image that is to become private; image-importing; image-retired; image-failed.</exception>
    [Alias("Change")]
    Task<ImageView> Change(ImageSpec spec, long? ifVersion);

    /// <summary>Called by compaction: from now on the image refers to the layer that will replace others. Idempotent.</summary>
    /// <returns>False if the image is not Ready, or has no disk with that chain: give it up.</returns>
    [Alias("BeginMerge")]
    Task<bool> BeginMerge(LayerMerge merge);

    /// <summary>Called by compaction: the layer is durable, and the next deployments of the image use it. Idempotent.</summary>
    /// <param name="bytes">Space that it takes.</param>
    /// <returns>False if the image has changed since: it does not refer to the layer any more.</returns>
    [Alias("CompleteMerge")]
    Task<bool> CompleteMerge(LayerMerge merge, long bytes);

    /// <summary>Called by compaction: the layer will not be created. Idempotent.</summary>
    [Alias("AbandonMerge")]
    Task AbandonMerge(LayerId merged);

    /// <summary>Called by a rebuild of the library: an image without a record gets one from its manifest, as Ready. An image whose record is from a backup takes the
    /// layers of its manifest, which may have been merged since. An Importing image that has a manifest becomes Ready. The grace period of a Retired image begins again, because a user
    /// may have restored it after the backup. Does nothing if there is no manifest. Idempotent.</summary>
    /// <param name="corrupt">Layers that are known to be corrupt: an image that needs one is Corrupt at once.</param>
    /// <param name="takeLayers">All layers that the manifest names exist.</param>
    /// <returns>Whether it was rebuilt.</returns>
    [Alias("Rebuild")]
    Task<bool> Rebuild(IReadOnlyList<LayerId> corrupt, bool takeLayers);

    /// <summary>Called by the doctor: writes the manifest again from the record. Does nothing for an image that has no manifest. Idempotent.</summary>
    [Alias("WriteManifest")]
    Task WriteManifest();
}

/// <param name="Name">1 to 128 characters, none of them a control character, not only spaces.</param>
/// <param name="Format">What the bytes are, once decompressed; null to detect it from the content. Raw is never detected: a raw disk may contain anything.</param>
/// <param name="Bytes">How many bytes will come, or null if that is not known.</param>
/// <param name="Sha256">The SHA-256 of the bytes in hex, which is checked; or null.</param>
/// <param name="Details">Null for none.</param>
/// <param name="Enterprise">The enterprise that owns the image, permanently.</param>
/// <param name="AcceptSignature">Accepts bytes that are declared as raw even if they look like another format or an archive.</param>
[GenerateSerializer, Immutable, Alias("instances.ImportCommand")]
public sealed record ImportCommand(
    [property: Id(0)] string Name,
    [property: Id(1)] ImageFormat? Format,
    [property: Id(2)] long? Bytes = null,
    [property: Id(3)] string? Sha256 = null,
    [property: Id(4)] ImageDetails? Details = null,
    [property: Id(5)] EnterpriseId Enterprise = default,
    [property: Id(6)] bool AcceptSignature = false)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData, Id(UnknownMembers.Id)]
    public UnknownMembers? Unknown { get; init; }
}

/// <summary>Where the bytes of an import go, with a secret that is valid for this upload only. Never logged.</summary>
/// <param name="Address">The data plane's URL for this image.</param>
[GenerateSerializer, Immutable, Alias("instances.UploadTicket")]
public sealed record UploadTicket([property: Id(0)] Uri Address, [property: Id(1)] string Secret);

/// <summary>What the data plane needs to know to take an upload.</summary>
/// <param name="Layer">The base layer to make, of a promotion that of the boot disk.</param>
/// <param name="Promotion">For a promotion; null for an upload.</param>
/// <param name="StartedAt">When the import began. This is also the image's creation time, in its manifest too.</param>
[GenerateSerializer, Immutable, Alias("instances.UploadPlan")]
public sealed record UploadPlan(
    [property: Id(0)] OperationId Operation,
    [property: Id(1)] LayerId Layer,
    [property: Id(2)] ImportCommand Command,
    [property: Id(3)] Promotion? Promotion = null,
    [property: Id(4)] DateTimeOffset? StartedAt = null)
{
    /// <summary>The base layers to make.</summary>
    public IReadOnlyList<LayerId> Layers => Promotion?.Layers ?? [Layer];
}

/// <summary>A slave that becomes a master.</summary>
/// <param name="Disks">The slave's disks as they were when it began; their layers are kept until it ends.</param>
/// <param name="Layers">For each of them the base layer to make.</param>
[GenerateSerializer, Immutable, Alias("instances.Promotion")]
public sealed record Promotion(
    [property: Id(0)] ImageId Source,
    [property: Id(1)] IReadOnlyList<DiskManifest> Disks,
    [property: Id(2)] IReadOnlyList<LayerId> Layers,
    [property: Id(3)] GuestIdentity? Identity = null)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData, Id(UnknownMembers.Id)]
    public UnknownMembers? Unknown { get; init; }
}

/// <summary>How far an upload in parts is.</summary>
/// <param name="Operation">Its import, whose operation shows the progress and the result.</param>
/// <param name="Offset">Bytes that have come: the next part begins here.</param>
/// <param name="Length">The total number of bytes.</param>
/// <param name="ExpiresAt">When it ends if no more bytes come; null once they all have.</param>
[GenerateSerializer, Immutable, Alias("instances.UploadView")]
public sealed record UploadView(
    [property: Id(0)] ImageId Image,
    [property: Id(1)] OperationId Operation,
    [property: Id(2)] long Offset,
    [property: Id(3)] long Length,
    [property: Id(4)] DateTimeOffset? ExpiresAt);

public enum ImportStage
{
    Receiving,
    Checking,
    Converting,
    Publishing,
}
