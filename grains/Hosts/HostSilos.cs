using Instances.Faults;
using Orleans.Metadata;
using Orleans.Runtime;

namespace Instances.Hosts;

/// <summary>The silos with the role Host. A silo of an earlier release may have the name of a host and only the role Control.</summary>
internal static class HostSilosExtensions
{
    /// <summary>Those that are active.</summary>
    public static IEnumerable<ClusterMember> HostSilos(this IClusterManifestProvider manifests, IClusterMembershipService membership, IGrainFactory grains)
    {
        GrainType type;
        try
        {
            type = grains.Host(new("any")).GetGrainId().Type;
        }
        catch (FaultException exception) when (exception.Fault.Code == HostPlacementDirector.HostUnavailable)
        {
            return [];
        }

        return membership.CurrentSnapshot.Members.Values.Where(member => member.Status is SiloStatus.Active && manifests.HasGrain(member.SiloAddress, type));
    }

    /// <summary>True also while the role is not known.</summary>
    public static bool HasGrain(this IClusterManifestProvider manifests, SiloAddress silo, GrainType type) =>
        !manifests.Current.Silos.TryGetValue(silo, out var manifest) || manifest.Grains.ContainsKey(type);
}
