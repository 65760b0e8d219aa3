using System.Text.Json.Serialization;
using Instances.Appliances;
using Instances.Faults;
using Instances.Library;

namespace Instances.Operations;

/// <summary>The record of one operation, whose progress can be watched. Its owner, an appliance or an image, runs it.</summary>
[Alias("instances.IOperationGrain")]
public interface IOperationGrain : IGrainWithGuidKey
{
    /// <summary>Called by the owner before the first step. Idempotent: a repeated call keeps what was recorded first.</summary>
    [Alias("Begin")]
    Task<OperationView> Begin(OperationStart start);

    /// <summary>Called by the owner at each change. Kept in memory only. Ignored once the operation has finished.</summary>
    [Alias("Report")]
    Task Report(OperationProgress progress);

    /// <summary>Called by the owner after the last step. Durable. Idempotent.</summary>
    [Alias("Finish")]
    Task Finish(OperationOutcome outcome);

    /// <summary>The newest version, or null if no such operation was begun.</summary>
    [Alias("Find")]
    Task<OperationView?> Find();

    /// <summary>Yields each new version. Intermediate versions may be skipped. Ends with the operation.</summary>
    /// <param name="afterVersion">The last version that the reader has seen. A version that the record does not know counts as older.</param>
    /// <exception cref="FaultException">operation-not-found.</exception>
    [Alias("Watch")]
    IAsyncEnumerable<OperationView> Watch(long afterVersion, CancellationToken cancellationToken);

    /// <summary>Asks the owner to undo what was done. Allowed until the commit point; idempotent.</summary>
    /// <exception cref="FaultException">operation-not-found; operation-past-commit; operation-finished.</exception>
    [Alias("Cancel")]
    Task<OperationView> Cancel();

    /// <summary>Asks the owner to continue without the hosts that are unreachable. Allowed past the commit point and while it unwinds; idempotent.</summary>
    /// <exception cref="FaultException">operation-not-found; operation-before-commit; operation-finished; operation-without-hosts if it is an import.</exception>
    [Alias("Force"), ResponseTimeout("00:02:00")]
    Task<OperationView> Force();
}

/// <param name="Command">The request, if the kind of the operation has options.</param>
/// <param name="Forced">A forced undeployment.</param>
[GenerateSerializer, Immutable, Alias("instances.OperationStart")]
public sealed record OperationStart(
    [property: Id(0)] OperationKind Kind,
    [property: Id(1)] ApplianceId? Appliance,
    [property: Id(2)] ImageId? Image,
    [property: Id(3)] IReadOnlyList<string> Steps,
    [property: Id(4)] IReadOnlyList<VirtualMachineProgress> VirtualMachines,
    [property: Id(5)] DateTimeOffset StartedAt,
    [property: Id(6)] CreateInstanceCommand? Command = null,
    [property: Id(7)] bool Forced = false)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData, Id(UnknownMembers.Id)]
    public UnknownMembers? Unknown { get; init; }
}

[GenerateSerializer, Immutable, Alias("instances.OperationProgress")]
public sealed record OperationProgress(
    [property: Id(0)] OperationStatus Status,
    [property: Id(1)] IReadOnlyList<StepView> Steps,
    [property: Id(2)] IReadOnlyList<VirtualMachineProgress> VirtualMachines,
    [property: Id(3)] bool Cancellable,
    [property: Id(4)] Fault? Fault = null)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData, Id(UnknownMembers.Id)]
    public UnknownMembers? Unknown { get; init; }
}

/// <param name="Status">Succeeded, Failed or Cancelled.</param>
/// <param name="Last">The progress at the end.</param>
[GenerateSerializer, Immutable, Alias("instances.OperationOutcome")]
public sealed record OperationOutcome(
    [property: Id(0)] OperationStatus Status,
    [property: Id(1)] OperationProgress Last,
    [property: Id(2)] DateTimeOffset FinishedAt,
    [property: Id(3)] Fault? Fault,
    [property: Id(4)] OperationResult? Result)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData, Id(UnknownMembers.Id)]
    public UnknownMembers? Unknown { get; init; }
}
