using System.Collections.Concurrent;
using Instances.Faults;
using Instances.Library;
using Instances.Simulation;

namespace Instances.Testing;

/// <summary>Other datacenters with answers that a test sets.</summary>
internal sealed class SimulatedPeers : ILibraryPeers
{
    private readonly ConcurrentDictionary<Uri, Func<LayerId, Task<LayerOffer>>> _answers = new();
    private volatile IReadOnlyList<Uri> _all = [];

    public IReadOnlyList<Uri> All => _all;

    /// <summary>The datacenters that were asked, in order.</summary>
    public ConcurrentQueue<Uri> Asked { get; } = new();

    public Uri Add(string name, Func<LayerId, Task<LayerOffer>> answer)
    {
        var peer = new Uri($"https://gateway.example/api/v1/datacenters/{name}");
        _answers[peer] = answer;
        _all = [.. _all, peer];
        return peer;
    }

    /// <summary>Adds a datacenter whose copy has this hash.</summary>
    /// <param name="after">It answers when that has happened; null for at once.</param>
    public Uri AddWithCopy(string name, string sha256, long lengthBytes = SimulatedLayerStore.LayerBytes, Task? after = null) => Add(name, async layer =>
    {
        await (after ?? Task.CompletedTask);
        return new(layer, SimulatedLayerStore.LayerBytes, lengthBytes, sha256, Path: "", new("https://gateway.example"), Ticket: "");
    });

    public Uri AddFailing(string name, FaultKind kind) => Add(name, _ => throw new FaultException(new(kind, "peer-says-no", "It has none.")));

    public Task<LayerOffer> Offer(Uri peer, LayerId layer, CancellationToken cancellationToken)
    {
        Asked.Enqueue(peer);
        return _answers[peer](layer);
    }

    public void Reset()
    {
        _all = [];
        Asked.Clear();
    }
}
