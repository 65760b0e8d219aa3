using Instances.Faults;

namespace Instances.Library;

/// <summary>The libraries of other datacenters. They are asked over HTTP, and nothing that they say is believed before it was checked.</summary>
public interface ILibraryPeers
{
    /// <summary>The URLs of the datacenters, in the order in which they are asked.</summary>
    IReadOnlyList<Uri> All { get; }

    /// <summary>Where a layer can be had from another datacenter, if it has a good one by its own account. Answers within 15 s.</summary>
    /// <exception cref="FaultException">peer-has-none: it does not have the layer, or none that is good; peer-unavailable: it does not answer, or not as a datacenter does.</exception>
    Task<LayerOffer> Offer(Uri peer, LayerId layer, CancellationToken cancellationToken);
}
