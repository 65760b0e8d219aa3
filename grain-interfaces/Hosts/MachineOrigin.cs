using Instances.Appliances;
using Instances.VirtualMachines;

namespace Instances.Hosts;

/// <summary>The records that a machine was deployed from. Its host keeps a copy, so that they can be restored if the database is lost.</summary>
/// <param name="VirtualMachine">Without SSH keys and user data, which the machine's own specification has.</param>
[GenerateSerializer, Immutable, Alias("instances.MachineOrigin")]
public sealed record MachineOrigin([property: Id(0)] ApplianceSpec Appliance, [property: Id(1)] VirtualMachineSpec VirtualMachine);
