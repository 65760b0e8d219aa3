namespace Instances.Library;

/// <summary>Which layers of a disk are to become one, and over what.</summary>
/// <remarks>
/// <para>Of a chain that is too deep, the upper layers become one over the highest place below them where what lies there is at least as large as what is copied, and where there is room for one layer
/// more. So a byte is copied again only when as many others have come to lie over it: at a bound of 8, of a thousand captures of a machine that continues each byte is copied about six times, not five hundred.</para>
/// <para>The place may be in the chain of another image whose content is the same there: what became of a machine's earlier captures serves its later ones. Layers that this chain
/// alone uses cost nothing but the work, and give the space of what was overwritten back: they are merged from four on, three over a base being cheap to read.</para>
/// </remarks>
internal static class CompactionRule
{
    private const int MinOwnLayers = 4;

    /// <summary>A disk with fewer layers is left as it is.</summary>
    public static int MinDepth(int maxDepth) => Math.Min(maxDepth, MinOwnLayers) + 1;

    /// <param name="chain">From the base to the top.</param>
    /// <param name="maxDepth">At least 2.</param>
    /// <param name="isOwn">Whether nothing but this image refers to a layer.</param>
    /// <param name="others">The chains of other images, each from its base to its top.</param>
    /// <returns>Null to leave the chain as it is.</returns>
    public static MergePlan? Find(IReadOnlyList<LayerManifest> chain, int maxDepth, Func<LayerId, bool> isOwn, IReadOnlyList<IReadOnlyList<LayerManifest>> others)
    {
        var own = FirstOwn(chain, isOwn, chain.Count);
        if (chain.Count - own >= MinOwnLayers && own < maxDepth) return new(own, Instead: null);
        if (chain.Count <= maxDepth) return null;
        var plan = Shorten(chain, maxDepth, others);
        return plan.Instead is null ? plan with { From = FirstOwn(chain, isOwn, plan.From) } : plan;
    }

    private static int FirstOwn(IReadOnlyList<LayerManifest> chain, Func<LayerId, bool> isOwn, int from)
    {
        while (from > 1 && isOwn(chain[from - 1].Id)) from--;
        return from;
    }

    private static MergePlan Shorten(IReadOnlyList<LayerManifest> chain, int maxDepth, IReadOnlyList<IReadOnlyList<LayerManifest>> others)
    {
        // A place that two have is taken from the one where it lies lower.
        var places = others.SelectMany(other => other.Select((layer, index) => (layer.Content, Chain: other, Depth: index + 1)))
            .GroupBy(place => place.Content).ToDictionary(same => same.Key, same => same.MinBy(place => place.Depth));
        var copied = chain[^1].Bytes;
        for (var from = chain.Count - 1; from > 1; copied += chain[--from].Bytes)
        {
            var below = chain[from - 1];
            var isOwnPlace = !places.TryGetValue(below.Content, out var place) || place.Depth >= from;
            var (depth, bytes) = isOwnPlace ? (from, below.Bytes) : (place.Depth, place.Chain[place.Depth - 1].Bytes);
            if (depth < maxDepth && bytes >= copied) return new(from, isOwnPlace ? null : [.. place.Chain.Take(place.Depth)]);
        }

        return new(1, Instead: null);
    }
}

/// <param name="From">The place of the first layer that becomes part of the new one.</param>
/// <param name="Instead">What the new layer lies over, where that is not what the chain has below.</param>
internal readonly record struct MergePlan(int From, IReadOnlyList<LayerManifest>? Instead);
