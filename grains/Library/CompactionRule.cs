namespace Instances.Library;

/// <summary>Decides which layers of a disk to merge, and the parent of the merged layer.</summary>
/// <remarks>
/// <para>If a chain is too deep, its upper layers are merged onto a lower layer: the highest one where the layers below are at least as large as the copied ones, and where one more layer
/// fits within the bound. So a byte is copied again only after as many new bytes were written above it: with a bound of 8 and a thousand captures of a machine, each byte is copied about six times, not five hundred.</para>
/// <para>The lower layer may belong to the chain of another image with the same content: later captures of a machine use the merged layers of earlier ones. Merging layers that only
/// this chain uses takes no space, and frees the space of overwritten data. Such layers are merged from four on, because three over a base are cheap to read.</para>
/// </remarks>
internal static class CompactionRule
{
    private const int MinOwnLayers = 4;

    /// <summary>A disk with fewer layers is not merged.</summary>
    public static int MinDepth(int maxDepth) => Math.Min(maxDepth, MinOwnLayers) + 1;

    /// <param name="chain">From the base to the top.</param>
    /// <param name="maxDepth">At least 2.</param>
    /// <param name="isOwn">Whether only this image refers to a layer.</param>
    /// <param name="others">The chains of other images, each from its base to its top.</param>
    /// <returns>Null to keep the chain.</returns>
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
        // If two chains have the place, the one where it is lower is used.
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

/// <param name="From">The index of the first layer to merge.</param>
/// <param name="Instead">The layers below the merged one, if they are not those of the chain itself.</param>
internal readonly record struct MergePlan(int From, IReadOnlyList<LayerManifest>? Instead);
