using System.Text.Json.Serialization;
using Instances.Faults;
using Instances.Operations;

namespace Instances.Sagas;

/// <summary>The reports of a running saga to its owner.</summary>
internal interface ISagaJournal
{
    /// <summary>The durable phase.</summary>
    SagaPhase Phase { get; }

    /// <summary>Why it is undone; not null while it is <see cref="SagaPhase.Unwinding"/>.</summary>
    SagaFailure? Failure { get; }

    /// <summary>Makes <see cref="SagaPhase.Unwinding"/> durable, with the reason, before the first undo.</summary>
    Task Unwind(SagaFailure failure);

    /// <summary>Progress for watchers. Not durable.</summary>
    /// <param name="problem">Why the last attempt failed, if the step is repeated; null otherwise.</param>
    void Step(string step, StepStatus status, string? problem = null);
}

/// <summary>Why a saga is undone.</summary>
/// <param name="Cancelled">A user requested it; otherwise it failed.</param>
internal sealed record SagaFailure(Fault Fault, bool Cancelled)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData]
    public UnknownMembers? Unknown { get; init; }
}

/// <summary>How a run of a saga ended.</summary>
internal abstract record SagaEnd
{
    private SagaEnd()
    {
    }

    public sealed record Succeeded : SagaEnd;

    public sealed record Undone(SagaFailure Failure) : SagaEnd;

    /// <summary>A step after the commit point, or an undo, failed in every attempt. The saga must be run again later.</summary>
    /// <param name="Step">The first step that failed.</param>
    public sealed record Stuck(string Step, Fault Fault) : SagaEnd;
}
