using Instances.Faults;

namespace Instances.Library;

/// <summary>The libraries of other datacenters. They are called over HTTP, and their answers are checked before use.</summary>
public interface ILibraryPeers
{
    /// <summary>The URLs of the datacenters, in the order in which they are asked.</summary>
    IReadOnlyList<Uri> All { get; }

    /// <summary>Where another datacenter offers a layer that is sound according to its own checks. Answers within 15 s.</summary>
    /// <exception cref="FaultException">peer-has-none: it does not have the layer, or only a corrupt one; peer-unavailable: it does not answer, or its answer is not valid.</exception>
    Task<LayerOffer> Offer(Uri peer, LayerId layer, CancellationToken cancellationToken);
}
