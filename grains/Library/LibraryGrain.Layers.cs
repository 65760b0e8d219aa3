using Instances.Faults;

namespace Instances.Library;

/// <summary>Offers layers to other datacenters, which read them through a gateway.</summary>
internal sealed partial class LibraryGrain
{
    /// <summary>A layer is read in many pieces, each with its own check.</summary>
    private static readonly TimeSpan ImagesRemembered = TimeSpan.FromMinutes(1);

    private const int MaxImagesRemembered = 1000;

    private readonly Dictionary<LayerId, DateTimeOffset> _ofImages = [];

    public Task<IReadOnlyList<KnownLayer>> Know(IReadOnlyList<LayerId> wanted) => Task.Run<IReadOnlyList<KnownLayer>>(() =>
        [.. wanted.Select(layers.FindCheck).OfType<LayerCheck>().Where(check => check.Sha256 is not null)
            .Select(check => new KnownLayer(check.Layer, check.Sha256!, check.IsCorrupt, check.HealedAt))]);

    public async Task<LayerOffer> OfferLayer(LayerId layer)
    {
        if (layers.FindCheck(layer) is not { } check || !await IsOfAnImage(layer)) throw FaultException.NotFound("layer-not-found", "The library has no such layer of an image that is Ready or Retired.");
        if (check.IsCorrupt) throw FaultException.Conflict("layer-not-sound", "The layer is known to be corrupt here. Ask another datacenter, or ask again when the layer was repaired.");
        var offer = layers.Offer(layer) with { Sha256 = check.Sha256 };
        return offer.Address is not null ? offer : throw FaultException.Unavailable(
            "data-plane-unknown", "The library's silo listens on all its addresses and does not know which one others can reach: set its DataPlane:Address.");
    }

    /// <summary>Layers that are being imported or captured are not offered. The sound layers of a Corrupt image are offered, because another datacenter may need them.</summary>
    private async Task<bool> IsOfAnImage(LayerId layer)
    {
        if (_ofImages.TryGetValue(layer, out var until) && until > time.GetUtcNow()) return true;
        foreach (var image in await catalogue.ImagesOn(layer))
        {
            if ((await catalogue.FindImage(image))?.Status is not (ImageStatus.Ready or ImageStatus.Retired or ImageStatus.Corrupt)) continue;
            if (_ofImages.Count >= MaxImagesRemembered) _ofImages.Clear();
            _ofImages[layer] = time.GetUtcNow() + ImagesRemembered;
            return true;
        }

        return false;
    }
}
