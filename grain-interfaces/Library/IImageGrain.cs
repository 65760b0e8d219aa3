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
    /// <summary>Begins an import: the image is Importing and waits for its bytes at the ticket's address. Idempotent by operation while no bytes have come.</summary>
    /// <exception cref="FaultException">name-invalid; description-invalid; image-invalid; image-too-large; no-space; too-many-uploads; enterprise-not-found; quota-uploads;
    /// quota-images; quota-library-bytes; quota-virtual-bytes; image-exists.</exception>
    [Alias("BeginImport")]
    Task<UploadTicket> BeginImport(OperationId operation, ImportCommand command);

    /// <summary>Called for an attempt of an upload before the next one begins: ends the import of that attempt, unless all its bytes have come. Idempotent.</summary>
    /// <returns>Whether the import stands, because all its bytes have come: it continues, or has succeeded, even if its image was deleted since.</returns>
    [Alias("Supersede")]
    Task<bool> Supersede(OperationId operation);

    /// <summary>Begins an import whose bytes come in parts: the image is Importing until all of them have come, however often the sender breaks off in between.
    /// Idempotent by operation.</summary>
    /// <param name="command">With the number of bytes.</param>
    /// <exception cref="FaultException">name-invalid; upload-length-missing; image-empty; image-too-large; no-space; too-many-uploads; enterprise-not-found; quota-uploads;
    /// quota-images; quota-library-bytes; quota-virtual-bytes; digest-invalid; image-exists.</exception>
    [Alias("BeginUpload")]
    Task BeginUpload(OperationId operation, ImportCommand command);

    /// <summary>Begins an import of a file on the machine that has the library. Idempotent by operation.</summary>
    /// <param name="command">Without a number of bytes: the file tells.</param>
    /// <param name="path">An absolute path in one of the folders that the library's silo allows.</param>
    /// <exception cref="FaultException">path-not-allowed; name-invalid; image-empty; image-too-large; no-space; too-many-uploads; enterprise-not-found; quota-uploads;
    /// quota-images; quota-library-bytes; quota-virtual-bytes; digest-invalid; image-exists.</exception>
    [Alias("BeginImportFromPath")]
    Task BeginImportFromPath(OperationId operation, ImportCommand command, string path);

    /// <summary>Begins to make a master of a slave: a copy of its own, of one layer for each disk. The slave stays, and may be deleted meanwhile. Idempotent by operation.</summary>
    /// <param name="source">A slave that is Ready.</param>
    /// <param name="name">Null for the slave's.</param>
    /// <exception cref="FaultException">image-not-found; image-is-master; image-not-ready; image-corrupt; name-invalid; no-space; too-many-uploads; quota-uploads; quota-images;
    /// quota-library-bytes; quota-virtual-bytes, of the slave's enterprise, whose the master is; image-exists.</exception>
    [Alias("BeginPromotion")]
    Task BeginPromotion(OperationId operation, ImageId source, string? name);

    /// <summary>How far an upload in parts is. One whose image is Ready is whole.</summary>
    /// <exception cref="FaultException">upload-not-found: there is none, or it has failed.</exception>
    [Alias("GetUpload")]
    Task<UploadView> GetUpload();

    /// <summary>A ticket for the next part of an upload in parts. The ticket is good for one request, and until this silo goes.</summary>
    /// <exception cref="FaultException">upload-not-found; upload-mismatch if all bytes have come.</exception>
    [Alias("ContinueUpload")]
    Task<UploadTicket> ContinueUpload();

    /// <summary>Called by the data plane when a part arrives.</summary>
    /// <exception cref="FaultException">ticket-invalid.</exception>
    [Alias("AcceptPart")]
    Task<UploadPlan> AcceptPart(string ticket);

    /// <summary>Called by the data plane: all bytes of an upload in parts are in its file, durably. No part is taken from here on. Idempotent.</summary>
    /// <exception cref="FaultException">operation-cancelled: the import has ended.</exception>
    [Alias("CompleteUpload")]
    Task CompleteUpload(OperationId operation);

    /// <summary>Cancels an upload in parts: its import ends as Cancelled, and nothing of it is kept. Idempotent.</summary>
    /// <exception cref="FaultException">upload-not-found; operation-finished if the image is Ready.</exception>
    [Alias("CancelUpload")]
    Task CancelUpload();

    /// <summary>Called by the data plane when bytes arrive. A ticket is good for one upload.</summary>
    /// <exception cref="FaultException">ticket-invalid.</exception>
    [Alias("AcceptUpload")]
    Task<UploadPlan> AcceptUpload(string ticket);

    /// <summary>Called by the data plane while it receives and converts.</summary>
    /// <returns>False when the import was cancelled: stop, and leave nothing behind.</returns>
    [Alias("ReportImport")]
    Task<bool> ReportImport(OperationId operation, ImportStage stage, long bytes);

    /// <summary>Called by the data plane when it knows the size of an upload's disk, as early as that can be and before anything is made of it: the image counts that from here on. Idempotent.</summary>
    /// <returns>False when the import was cancelled: stop, and leave nothing behind.</returns>
    /// <exception cref="FaultException">quota-virtual-bytes: nothing is recorded, and the import is to be failed.</exception>
    [Alias("AcceptDisk")]
    Task<bool> AcceptDisk(OperationId operation, long virtualSizeBytes);

    /// <summary>Called by the data plane: the layer and the manifest are durable. The image becomes Ready; or Failed, by quota-library-bytes or quota-virtual-bytes, where it has become
    /// larger than was admitted and its enterprise has no room for it. Idempotent.</summary>
    [Alias("CompleteImport")]
    Task<ImageView> CompleteImport(OperationId operation, ImageManifest manifest);

    /// <summary>Called by the data plane: nothing of the upload is left. The image becomes Failed. Idempotent.</summary>
    [Alias("FailImport")]
    Task FailImport(OperationId operation, Fault fault);

    /// <summary>Called by the operation's grain. Idempotent.</summary>
    [Alias("CancelImport")]
    Task CancelImport(OperationId operation);

    /// <summary>Called by an operation's record that does not know its end. Idempotent.</summary>
    [Alias("Nudge"), OneWay]
    Task Nudge(OperationId operation);

    /// <summary>Called by background work: deletes the image where it is Retired and its grace period has passed. Idempotent.</summary>
    [Alias("Expire")]
    Task Expire();

    /// <summary>Called by the scrub: the image is Corrupt where it needs one of these layers, and Ready again where it needs none. Idempotent.</summary>
    [Alias("Judge")]
    Task Judge(IReadOnlyList<LayerId> corrupt);

    /// <summary>Called by the scrub for a layer of the image that was read for the first time. Idempotent.</summary>
    [Alias("RecordDigest")]
    Task RecordDigest(LayerId layer, string sha256);

    /// <summary>A ticket to export the image. Allowed when Ready.</summary>
    /// <exception cref="FaultException">image-not-found; image-not-ready; image-corrupt.</exception>
    [Alias("Export")]
    Task<ExportTicket> Export();

    /// <summary>Called by the data plane when an export begins, and again when it has all layers open: a deletion that has begun by then is seen.</summary>
    /// <exception cref="FaultException">As of <see cref="Export"/>.</exception>
    [Alias("AcceptExport")]
    Task<ImageView> AcceptExport();

    /// <exception cref="FaultException">image-not-found.</exception>
    [Alias("Get")]
    Task<ImageView> Get();

    /// <summary>Called by a saga after its commit point: a captured image becomes Ready. Idempotent.</summary>
    [Alias("Publish")]
    Task<ImageView> Publish(ImageManifest manifest);

    /// <summary>Retires the image; it is deleted when the grace period has passed, at once where that is 0. Idempotent.</summary>
    /// <exception cref="FaultException">image-not-found; image-in-use, naming the machines; master-has-slaves; image-importing; image-pinned; image-busy.</exception>
    [Alias("Delete")]
    Task Delete();

    /// <summary>As <see cref="Delete"/>, and says what goes. With <paramref name="cascade"/> the slaves of a master go with it, all or none.</summary>
    /// <param name="dryRun">Looks only: refuses what would be refused, and does nothing.</param>
    /// <exception cref="FaultException">As of <see cref="Delete"/>, of any of the images; cascade-too-large.</exception>
    [Alias("DeleteWith"), ResponseTimeout("00:02:00")]
    Task<ImageDeletion> DeleteWith(bool cascade, bool dryRun);

    /// <summary>As <see cref="Delete"/>, by an update or a retention rule. Idempotent.</summary>
    /// <exception cref="FaultException">As of <see cref="Delete"/>; image-shared if nobody has asked for its deletion.</exception>
    [Alias("Retire")]
    Task Retire(RetirementReason reason);

    /// <summary>Called by a master that is deleted with its slaves: retires the slave, and does not remove it. Idempotent.</summary>
    /// <exception cref="FaultException">As of <see cref="Delete"/>.</exception>
    [Alias("RetireWith")]
    Task RetireWith(ImageId master);

    /// <summary>Called by a master whose deletion with its slaves was refused: the slave is Ready again, where it was retired for that. Idempotent.</summary>
    [Alias("TakeBack")]
    Task TakeBack(ImageId master);

    /// <summary>Makes a Retired image Ready again, within the grace period. Idempotent.</summary>
    /// <exception cref="FaultException">image-not-found; image-gone; master-retired: restore its master first; image-importing; image-failed.</exception>
    [Alias("Restore")]
    Task<ImageView> Restore();

    /// <summary>Renames the image, describes it, pins it, shares it, or gives it a retention rule. Allowed when Ready. Does nothing if nothing would change.</summary>
    /// <param name="ifVersion">The version that the change was made for, or null to change any.</param>
    /// <exception cref="FaultException">image-not-found; image-changed: the image's version has changed; name-invalid; description-invalid; image-invalid;
    /// retention-invalid; image-in-use if machines of other enterprises, which are named, use what is to be private again; image-importing; image-retired; image-failed.</exception>
    [Alias("Change")]
    Task<ImageView> Change(ImageSpec spec, long? ifVersion);

    /// <summary>Called by compaction: from here on the image refers to the layer that is to take the place of others. Idempotent.</summary>
    /// <returns>False if the image is not Ready, or has no disk with that chain: give it up.</returns>
    [Alias("BeginMerge")]
    Task<bool> BeginMerge(LayerMerge merge);

    /// <summary>Called by compaction: the layer is durable, and is what the image is deployed from next. Idempotent.</summary>
    /// <param name="bytes">Space that it takes.</param>
    /// <returns>False if the image has changed since: it does not refer to the layer any more.</returns>
    [Alias("CompleteMerge")]
    Task<bool> CompleteMerge(LayerMerge merge, long bytes);

    /// <summary>Called by compaction: there will be no such layer. Idempotent.</summary>
    [Alias("AbandonMerge")]
    Task AbandonMerge(LayerId merged);

    /// <summary>Called by a rebuild of the library: an image that has no record is given the one that its manifest tells of, as Ready. One whose record is from a backup takes the
    /// layers that its manifest names, which may have been merged since; one that is Importing and has its manifest is Ready; and the grace period of one that is Retired begins anew:
    /// somebody may have restored it in what was lost. Does nothing for one whose manifest is gone. Idempotent.</summary>
    /// <param name="corrupt">Layers that are known to be corrupt: an image that needs one is Corrupt at once.</param>
    /// <param name="takeLayers">All layers that the manifest names are there.</param>
    /// <returns>Whether it was rebuilt.</returns>
    [Alias("Rebuild")]
    Task<bool> Rebuild(IReadOnlyList<LayerId> corrupt, bool takeLayers);

    /// <summary>Called by the doctor: writes the manifest anew, as the record has it. Does nothing for an image that has none. Idempotent.</summary>
    [Alias("WriteManifest")]
    Task WriteManifest();
}

/// <param name="Name">1 to 128 characters, none of them a control character, not only spaces.</param>
/// <param name="Format">What the bytes are, once decompressed; null to find out by their content. Raw is never found out: a raw disk may hold anything.</param>
/// <param name="Bytes">How many bytes will come, or null if that is not known.</param>
/// <param name="Sha256">What they hash to, in hex, or null: checked where it is given.</param>
/// <param name="Details">Null for none.</param>
/// <param name="Enterprise">Whose the image is and stays.</param>
/// <param name="AcceptSignature">Takes what is declared as raw for a raw disk even if it looks like another format or an archive.</param>
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

/// <summary>Where the bytes of an import go, with a secret that is good for them alone. Never logged.</summary>
/// <param name="Address">The data plane's URL for this image.</param>
[GenerateSerializer, Immutable, Alias("instances.UploadTicket")]
public sealed record UploadTicket([property: Id(0)] Uri Address, [property: Id(1)] string Secret);

/// <summary>What the data plane needs to know to take an upload.</summary>
/// <param name="Layer">The base layer to make, of a promotion that of the boot disk.</param>
/// <param name="Promotion">What takes the place of an upload; null if there is one.</param>
/// <param name="StartedAt">When the import began: its image counts as created then, in its manifest, too.</param>
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
/// <param name="Operation">Its import, where progress is watched and the end is told.</param>
/// <param name="Offset">Bytes that have come: the next part begins here.</param>
/// <param name="Length">Bytes that come in all.</param>
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
