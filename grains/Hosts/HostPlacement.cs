using Instances.Faults;
using Orleans.Placement;
using Orleans.Runtime;
using Orleans.Runtime.Placement;

namespace Instances.Hosts;

/// <summary>A host's grain lives in the silo that has the host's name, and nowhere else: only there are its machines.</summary>
[GenerateSerializer, Immutable, Alias("instances.HostPlacement")]
internal sealed class HostPlacement : PlacementStrategy;

[AttributeUsage(AttributeTargets.Class)]
internal sealed class PlacedOnItsHostAttribute() : PlacementAttribute(new HostPlacement());

internal sealed class HostPlacementDirector(IClusterMembershipService membership) : IPlacementDirector
{
    /// <summary>The code of the fault where the host has no silo in the cluster.</summary>
    public const string HostUnavailable = "host-unavailable";

    /// <exception cref="FaultException">host-unavailable.</exception>
    public Task<SiloAddress> OnAddActivation(PlacementStrategy strategy, PlacementTarget target, IPlacementContext context)
    {
        var host = target.GrainIdentity.Key.ToString();
        var compatible = context.GetCompatibleSilos(target);
        // A silo that was started again stands beside the one that died until that is known: the later one it is.
        var silo = membership.CurrentSnapshot.Members.Values
            .Where(member => member.Status is SiloStatus.Active && member.Name == host && compatible.Contains(member.SiloAddress))
            .MaxBy(member => member.SiloAddress.Generation)
            ?? throw FaultException.Unavailable(HostUnavailable, $"The host {host} is away: its silo is not running, or cannot be reached. Try again when it is back.");
        return Task.FromResult(silo.SiloAddress);
    }
}
