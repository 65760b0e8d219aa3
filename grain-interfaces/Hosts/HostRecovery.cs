using Instances.Appliances;
using Instances.VirtualMachines;

namespace Instances.Hosts;

/// <summary>What the operator wants for machines of a host that have no record there.</summary>
public enum RecoveryKind
{
    /// <summary>Create their records from the host's files.</summary>
    Adopt,

    /// <summary>Remove the machines.</summary>
    Discard,
}

/// <summary>The running recovery, or the last one since the host's silo started.</summary>
/// <param name="DryRun">It changes nothing.</param>
/// <param name="FinishedAt">Null while it runs.</param>
/// <param name="Problem">Why it did not finish; null if it did.</param>
/// <param name="Machines">Every machine that the recovery concerns.</param>
[GenerateSerializer, Immutable, Alias("instances.HostRecovery")]
public sealed record HostRecovery(
    [property: Id(0)] HostId Host,
    [property: Id(1)] RecoveryKind Kind,
    [property: Id(2)] bool DryRun,
    [property: Id(3)] DateTimeOffset StartedAt,
    [property: Id(4)] DateTimeOffset? FinishedAt,
    [property: Id(5)] string? Problem,
    [property: Id(6)] IReadOnlyList<RecoveredMachine> Machines);

/// <param name="Name">Null if the machine's file cannot be read.</param>
/// <param name="ApplianceName">Null if the host does not know it.</param>
/// <param name="Message">Why it is left out.</param>
[GenerateSerializer, Immutable, Alias("instances.RecoveredMachine")]
public sealed record RecoveredMachine(
    [property: Id(0)] VirtualMachineId Id,
    [property: Id(1)] string? Name,
    [property: Id(2)] ApplianceId? Appliance,
    [property: Id(3)] string? ApplianceName,
    [property: Id(4)] RecoveryOutcome Outcome,
    [property: Id(5)] string? Message = null);

public enum RecoveryOutcome
{
    Waiting,

    /// <summary>Its record places it here.</summary>
    Known,

    /// <summary>Its record was created, or would be.</summary>
    Adopted,

    /// <summary>It was removed, or would be.</summary>
    Discarded,

    /// <summary>It was not changed.</summary>
    LeftOut,
}

/// <summary>A machine whose record is to be created.</summary>
/// <param name="Spec">What it was started with.</param>
/// <param name="Seen">Its current observation.</param>
[GenerateSerializer, Immutable, Alias("instances.FoundMachine")]
public sealed record FoundMachine([property: Id(0)] MachineSpec Spec, [property: Id(1)] MachineObservation Seen);
