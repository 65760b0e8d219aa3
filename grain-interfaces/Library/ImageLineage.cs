using Instances.Appliances;
using Instances.Catalogue;
using Instances.VirtualMachines;

namespace Instances.Library;

/// <summary>Where an image comes from, and what came from it.</summary>
/// <param name="Image">The image that was asked for.</param>
/// <param name="Master">The master that it belongs to; null for a master, or if the master was deleted.</param>
/// <param name="Parent">The image that its machine was deployed from; null for a master, or if that image was deleted.</param>
/// <param name="Descendants">For a master all of its slaves, each with its parent, so that they make a tree; for a slave those whose machines used it.
/// In the order in which they were created: a parent stands before what came from it. Retired ones are among them.</param>
[GenerateSerializer, Immutable, Alias("instances.ImageLineage")]
public sealed record ImageLineage(
    [property: Id(0)] LineageNode Image,
    [property: Id(1)] LineageNode? Master,
    [property: Id(2)] LineageNode? Parent,
    [property: Id(3)] Page<LineageNode> Descendants);

/// <param name="Parent">The image that its machine was deployed from; it may be deleted since.</param>
/// <param name="Bytes">Space that the image's own layer files take.</param>
/// <param name="Users">How many virtual machines use it.</param>
/// <param name="Children">How many images have it as their parent.</param>
/// <param name="Appliance">The appliance that it was captured from; null for a master.</param>
/// <param name="VirtualMachine">The machine that it was captured from; null for a master. It may be gone since.</param>
[GenerateSerializer, Immutable, Alias("instances.LineageNode")]
public sealed record LineageNode(
    [property: Id(0)] ImageId Id,
    [property: Id(1)] string Name,
    [property: Id(2)] ImageKind Kind,
    [property: Id(3)] ImageStatus Status,
    [property: Id(4)] ImageId? Parent,
    [property: Id(5)] DateTimeOffset CreatedAt,
    [property: Id(6)] long Bytes,
    [property: Id(7)] long Users,
    [property: Id(8)] long Children,
    [property: Id(9)] ApplianceId? Appliance,
    [property: Id(10)] VirtualMachineId? VirtualMachine,
    [property: Id(11)] string? VirtualMachineName);
