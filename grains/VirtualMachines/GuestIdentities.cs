using Instances.Library;
using Instances.Operations;

namespace Instances.VirtualMachines;

/// <summary>Chooses the identity (the NoCloud <c>instance-id</c>) of a guest that is deployed.</summary>
internal static class GuestIdentities
{
    /// <param name="wished">The machine's definition; null for the default.</param>
    /// <param name="captured">The identity that the image carries, or null.</param>
    /// <remarks>An image that was captured from this machine has its guest's identity, possibly from an earlier definition or an earlier release. It is kept, so that cloud-init finds it unchanged.</remarks>
    public static string Choose(VirtualMachineId machine, OperationId deployment, MachineIdentity? wished, GuestIdentity? captured) => wished switch
    {
        MachineIdentity.New => OfDeployment(machine, deployment),
        MachineIdentity.Keep => captured?.InstanceId ?? machine.ToString(),
        null => captured?.VirtualMachine == machine ? captured.InstanceId : machine.ToString(),
    };

    /// <summary>An identity for one deployment only. Earlier releases gave it to all machines.</summary>
    public static string OfDeployment(VirtualMachineId machine, OperationId deployment) => $"{machine}.{deployment}";
}
