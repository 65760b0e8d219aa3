using Instances.Appliances;
using Instances.VirtualMachines;

namespace Instances.Hosts;

/// <summary>What the operator decides about machines that a host has and no record places there.</summary>
public enum RecoveryKind
{
    /// <summary>Their records are made again from the host's files.</summary>
    Adopt,

    /// <summary>The machines are removed.</summary>
    Discard,
}

/// <summary>A recovery that runs, or the last one since the host's silo started.</summary>
/// <param name="DryRun">It only looks, and changes nothing.</param>
/// <param name="FinishedAt">Null while it runs.</param>
/// <param name="Problem">Why it did not finish; null if it did.</param>
/// <param name="Machines">Every machine of the host that it concerns.</param>
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

    /// <summary>Its record was made again, or would be.</summary>
    Adopted,

    /// <summary>It was removed, or would be.</summary>
    Discarded,

    /// <summary>It is as it was.</summary>
    LeftOut,
}

/// <summary>A machine whose record is to be made again.</summary>
/// <param name="Spec">What it was started with.</param>
/// <param name="Seen">As it is now.</param>
[GenerateSerializer, Immutable, Alias("instances.FoundMachine")]
public sealed record FoundMachine([property: Id(0)] MachineSpec Spec, [property: Id(1)] MachineObservation Seen);
