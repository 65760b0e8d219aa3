using System.Text.Json.Serialization;

namespace Instances.Enterprises;

/// <summary>The part of an enterprise that users can change.</summary>
/// <param name="Name">1 to 128 characters, none of them a control character, not only spaces.</param>
/// <param name="Quotas">Null for none.</param>
[GenerateSerializer, Immutable, Alias("instances.EnterpriseSpec")]
public sealed record EnterpriseSpec([property: Id(0)] string Name, [property: Id(1)] EnterpriseQuotas? Quotas = null);

/// <summary>How much an enterprise may have in this datacenter: each 0 or more, null for no bound. Checked before work begins. One that is set below what there is
/// takes nothing away: it lets nothing more in.</summary>
/// <param name="LibraryBytes">Space in the library, see <see cref="EnterpriseUsage"/>.</param>
/// <param name="Images">Masters and slaves.</param>
/// <param name="Uploads">Imports under way at a time.</param>
/// <param name="VirtualMachines">Deployed virtual machines.</param>
/// <param name="Cpus">Their CPUs.</param>
/// <param name="MemoryBytes">Their memory.</param>
/// <param name="VirtualBytes">The sizes of all disks of its images, see <see cref="EnterpriseUsage"/>.</param>
[GenerateSerializer, Immutable, Alias("instances.EnterpriseQuotas")]
public sealed record EnterpriseQuotas(
    [property: Id(0)] long? LibraryBytes = null,
    [property: Id(1)] long? Images = null,
    [property: Id(2)] long? Uploads = null,
    [property: Id(3)] long? VirtualMachines = null,
    [property: Id(4)] long? Cpus = null,
    [property: Id(5)] long? MemoryBytes = null,
    [property: Id(6)] long? VirtualBytes = null)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData, Id(UnknownMembers.Id)]
    public UnknownMembers? Unknown { get; init; }

    public static EnterpriseQuotas None { get; } = new();
}

/// <summary>What an enterprise has of that which has quotas, or is about to take.</summary>
/// <param name="LibraryBytes">Space that the own layer files of its images take; of an import under way what its sender has announced.</param>
/// <param name="Images">Images that are Importing, Ready, Corrupt, or Retired and not yet deleted, and those that a running capture creates. Not Failed ones.</param>
/// <param name="Uploads">Imports under way.</param>
/// <param name="VirtualMachines">Those that are deployed, stopped ones too, and those that are about to be.</param>
/// <param name="Cpus">Theirs.</param>
/// <param name="MemoryBytes">Theirs.</param>
/// <param name="VirtualBytes">The sizes of the disks of the images that count, as a guest sees them, however little space they take: of a slave also what it shares with its master. An import
/// counts them from the moment when its head was read; one that is declared as raw counts until then what its sender has announced.</param>
[GenerateSerializer, Immutable, Alias("instances.EnterpriseUsage")]
public sealed record EnterpriseUsage(
    [property: Id(0)] long LibraryBytes = 0,
    [property: Id(1)] long Images = 0,
    [property: Id(2)] long Uploads = 0,
    [property: Id(3)] long VirtualMachines = 0,
    [property: Id(4)] long Cpus = 0,
    [property: Id(5)] long MemoryBytes = 0,
    [property: Id(6)] long VirtualBytes = 0)
{
    public static EnterpriseUsage None { get; } = new();

    public static EnterpriseUsage operator +(EnterpriseUsage one, EnterpriseUsage other) => new(
        one.LibraryBytes + other.LibraryBytes, one.Images + other.Images, one.Uploads + other.Uploads,
        one.VirtualMachines + other.VirtualMachines, one.Cpus + other.Cpus, one.MemoryBytes + other.MemoryBytes, one.VirtualBytes + other.VirtualBytes);

    /// <summary>The difference to another usage; 0 for each value that is smaller here.</summary>
    public EnterpriseUsage Beyond(EnterpriseUsage other) => new(
        Math.Max(0, LibraryBytes - other.LibraryBytes), Math.Max(0, Images - other.Images), Math.Max(0, Uploads - other.Uploads), Math.Max(0, VirtualMachines - other.VirtualMachines),
        Math.Max(0, Cpus - other.Cpus), Math.Max(0, MemoryBytes - other.MemoryBytes), Math.Max(0, VirtualBytes - other.VirtualBytes));
}

/// <param name="Version">Grows with every change.</param>
/// <param name="CreatedAt">Of the default enterprise the first moment of 1970: it has always been there.</param>
/// <param name="Usage">What it has at the moment; null in lists and in the answer to a change.</param>
[GenerateSerializer, Immutable, Alias("instances.EnterpriseView")]
public sealed record EnterpriseView(
    [property: Id(0)] EnterpriseId Id,
    [property: Id(1)] string Name,
    [property: Id(2)] EnterpriseQuotas Quotas,
    [property: Id(3)] long Version,
    [property: Id(4)] DateTimeOffset CreatedAt,
    [property: Id(5)] EnterpriseUsage? Usage = null)
{
    public EnterpriseSpec ToSpec() => new(Name, Quotas);
}
