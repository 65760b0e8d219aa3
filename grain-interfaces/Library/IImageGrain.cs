using Instances.Faults;
using Instances.Operations;
using Orleans.Concurrency;

namespace Instances.Library;

/// <summary>An image of the appliance library.</summary>
[Alias("instances.IImageGrain")]
public interface IImageGrain : IGrainWithGuidKey
{
    /// <summary>Begins an import: the image is Importing and waits for its bytes at the ticket's address. Idempotent by operation while no bytes have come.</summary>
    /// <exception cref="FaultException">name-invalid; image-too-large; no-space; image-exists.</exception>
    [Alias("BeginImport")]
    Task<UploadTicket> BeginImport(OperationId operation, ImportCommand command);

    /// <summary>Called by the data plane when bytes arrive. A ticket is good for one upload.</summary>
    /// <exception cref="FaultException">ticket-invalid.</exception>
    [Alias("AcceptUpload")]
    Task<UploadPlan> AcceptUpload(string ticket);

    /// <summary>Called by the data plane while it receives and converts.</summary>
    /// <returns>False when the import was cancelled: stop, and leave nothing behind.</returns>
    [Alias("ReportImport")]
    Task<bool> ReportImport(OperationId operation, ImportStage stage, long bytes);

    /// <summary>Called by the data plane: the layer and the manifest are durable. The image becomes Ready. Idempotent.</summary>
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

    /// <exception cref="FaultException">image-not-found.</exception>
    [Alias("Get")]
    Task<ImageView> Get();

    /// <summary>Called by a saga after its commit point: a captured image becomes Ready. Idempotent.</summary>
    [Alias("Publish")]
    Task<ImageView> Publish(ImageManifest manifest);

    /// <summary>Retires the image; it is deleted when the grace period has passed, at once where that is 0. Idempotent.</summary>
    /// <exception cref="FaultException">image-not-found; image-in-use, naming the machines; master-has-slaves; image-importing.</exception>
    [Alias("Delete")]
    Task Delete();
}

/// <param name="Name">1 to 128 characters, none of them a control character, not only spaces.</param>
/// <param name="Format">What the bytes are. Never guessed: a raw disk may hold anything.</param>
/// <param name="Bytes">How many bytes will come, or null where that is not known.</param>
/// <param name="Sha256">What they hash to, in hex, or null: checked where it is given.</param>
[GenerateSerializer, Immutable, Alias("instances.ImportCommand")]
public sealed record ImportCommand(
    [property: Id(0)] string Name,
    [property: Id(1)] ImageFormat Format,
    [property: Id(2)] long? Bytes = null,
    [property: Id(3)] string? Sha256 = null);

/// <summary>Where the bytes of an import go, with a secret that is good for them alone. Never logged.</summary>
/// <param name="Address">The data plane's URL for this image.</param>
[GenerateSerializer, Immutable, Alias("instances.UploadTicket")]
public sealed record UploadTicket([property: Id(0)] Uri Address, [property: Id(1)] string Secret);

/// <summary>What the data plane needs to know to take an upload.</summary>
/// <param name="Layer">The base layer to make.</param>
[GenerateSerializer, Immutable, Alias("instances.UploadPlan")]
public sealed record UploadPlan(
    [property: Id(0)] OperationId Operation,
    [property: Id(1)] LayerId Layer,
    [property: Id(2)] ImportCommand Command);

public enum ImportStage
{
    Receiving,
    Checking,
    Converting,
    Publishing,
}
