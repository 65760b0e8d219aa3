using Instances.Faults;

namespace Instances.Doctor;

/// <summary>Checks that everything in the datacenter has an owner, and that every owner has what it needs. Keyed by <see cref="Key"/>.</summary>
[Alias("instances.IDoctorGrain")]
public interface IDoctorGrain : IGrainWithStringKey
{
    const string Key = "default";

    /// <summary>Reads records, hosts and library twice, some seconds apart. Only what is wrong both times is a finding: something may just be created or removed. Allowed at any
    /// time. Changes nothing without <paramref name="fix"/>.</summary>
    /// <param name="fix">Repairs what is safe to repair, and checks a third time. Never deletes an image, or a virtual machine that has a record.</param>
    /// <exception cref="FaultException">grain-unavailable if the database does not answer. Hosts and a library that do not answer are findings.</exception>
    [Alias("Examine"), ResponseTimeout("00:02:00")]
    Task<DoctorReport> Examine(bool fix);
}

public enum FindingSeverity
{
    /// <summary>Good to know; nothing is wrong with what is stored.</summary>
    Info,

    /// <summary>Something is left over, or does not continue without help.</summary>
    Warning,

    /// <summary>A user's work is in danger, or cannot be reached.</summary>
    Critical,
}

/// <param name="Findings">The most severe first, at most <see cref="MaxFindings"/>.</param>
/// <param name="MoreFindings">How many findings were left out.</param>
/// <param name="Counts">How much was examined.</param>
[GenerateSerializer, Immutable, Alias("instances.DoctorReport")]
public sealed record DoctorReport(
    [property: Id(0)] IReadOnlyList<Finding> Findings,
    [property: Id(1)] int MoreFindings,
    [property: Id(2)] DoctorCounts Counts,
    [property: Id(3)] DateTimeOffset ExaminedAt)
{
    public const int MaxFindings = 1000;
}

/// <param name="Code">A stable word in kebab case, such as <c>layer-orphan</c>.</param>
/// <param name="Subject">What it is about, such as <c>layer 0198…</c>.</param>
/// <param name="Message">What was found, and what to do.</param>
/// <param name="Fixable">Whether the doctor can repair it safely.</param>
/// <param name="Fixed">Whether it was repaired, and was not found again afterwards.</param>
[GenerateSerializer, Immutable, Alias("instances.Finding")]
public sealed record Finding(
    [property: Id(0)] string Code,
    [property: Id(1)] FindingSeverity Severity,
    [property: Id(2)] string Subject,
    [property: Id(3)] string Message,
    [property: Id(4)] bool Fixable,
    [property: Id(5)] bool Fixed);

/// <param name="VirtualMachines">Records of machines that are deployed.</param>
/// <param name="HostMachines">Machines that hosts have.</param>
/// <param name="Images">Records of images that are Ready or Retired.</param>
/// <param name="Appliances">Records of appliances that run an operation. Other appliances are not examined.</param>
/// <param name="Operations">Records of operations that have not ended.</param>
[GenerateSerializer, Immutable, Alias("instances.DoctorCounts")]
public sealed record DoctorCounts(
    [property: Id(0)] int Hosts,
    [property: Id(1)] int HostsAway,
    [property: Id(2)] int VirtualMachines,
    [property: Id(3)] int HostMachines,
    [property: Id(4)] int HostLayers,
    [property: Id(5)] int LibraryLayers,
    [property: Id(6)] int Manifests,
    [property: Id(7)] int Images,
    [property: Id(8)] int Appliances,
    [property: Id(9)] int Operations,
    [property: Id(10)] int Reservations,
    [property: Id(11)] int Reminders);
