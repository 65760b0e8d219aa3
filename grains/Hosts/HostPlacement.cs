using Instances.Faults;
using Orleans.Placement;
using Orleans.Runtime;
using Orleans.Runtime.Placement;

namespace Instances.Hosts;

/// <summary>Places a host's grain in the silo with the host's name, because only that silo can see the machines.</summary>
[GenerateSerializer, Immutable, Alias("instances.HostPlacement")]
internal sealed class HostPlacement : PlacementStrategy;

[AttributeUsage(AttributeTargets.Class)]
internal sealed class PlacedOnItsHostAttribute() : PlacementAttribute(new HostPlacement());

internal sealed class HostPlacementDirector(IClusterMembershipService membership) : IPlacementDirector
{
    /// <summary>The fault code if the host has no silo in the cluster.</summary>
    public const string HostUnavailable = "host-unavailable";

    /// <exception cref="FaultException">host-unavailable.</exception>
    public Task<SiloAddress> OnAddActivation(PlacementStrategy strategy, PlacementTarget target, IPlacementContext context)
    {
        var host = target.GrainIdentity.Key.ToString();
        var compatible = context.GetCompatibleSilos(target);
        // After a restart, the dead silo may still be in the membership beside the new one: take the later one.
        var silo = membership.CurrentSnapshot.Members.Values
            .Where(member => member.Status is SiloStatus.Active && member.Name == host && compatible.Contains(member.SiloAddress))
            .MaxBy(member => member.SiloAddress.Generation)
            ?? throw FaultException.Unavailable(HostUnavailable, $"The host {host} is unreachable: its silo is not running, or cannot be reached. Try again when it is back.");
        return Task.FromResult(silo.SiloAddress);
    }
}
