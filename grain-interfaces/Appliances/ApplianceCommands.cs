using System.Text.Json.Serialization;
using Instances.Enterprises;
using Instances.Library;
using Instances.VirtualMachines;

namespace Instances.Appliances;

/// <param name="Name">1 to 128 characters, none of them a control character, not only spaces.</param>
/// <param name="Description">At most 4,096 characters; null for none.</param>
/// <param name="Retention">Which of the instances that were captured from it are kept; null to keep all.</param>
[GenerateSerializer, Immutable, Alias("instances.ApplianceSpec")]
public sealed record ApplianceSpec(
    [property: Id(0)] string Name,
    [property: Id(1)] string? Description = null,
    [property: Id(2)] RetentionRule? Retention = null)
{
    /// <summary>Whose it is and stays, with the images that are captured from it.</summary>
    [Id(3)]
    public EnterpriseId Enterprise { get; init; }
}

/// <summary>How the guests' file systems are made consistent before a capture.</summary>
public enum Quiesce
{
    /// <summary>Frozen through the guest agent within 5 s. If that fails, the image is marked crash consistent.</summary>
    Freeze,

    /// <summary>Shut down by ACPI within 60 s. If that fails, the image is marked crash consistent.</summary>
    Shutdown,

    /// <summary>Not at all: the image is what a power cut would leave.</summary>
    None,
}

/// <param name="VirtualMachines">The machines to capture, none twice; null for all machines of the appliance that are deployed.</param>
/// <param name="UpdateImages">Each captured machine uses its new image from then on, and its previous versions are retired.</param>
/// <param name="Undeploy">The whole appliance is undeployed at the end; otherwise its machines continue as they were.</param>
[GenerateSerializer, Immutable, Alias("instances.CreateInstanceCommand")]
public sealed record CreateInstanceCommand(
    [property: Id(0)] IReadOnlyList<VirtualMachineId>? VirtualMachines = null,
    [property: Id(1)] bool UpdateImages = false,
    [property: Id(2)] Quiesce Quiesce = Quiesce.Freeze,
    [property: Id(3)] bool Undeploy = true)
{
    /// <inheritdoc cref="UnknownMembers"/>
    [JsonExtensionData, Id(UnknownMembers.Id)]
    public UnknownMembers? Unknown { get; init; }
}
