namespace Instances.Library;

/// <summary>Which layers of a disk are to become one.</summary>
/// <remarks>
/// A chain that is too deep loses the fewest layers from its top that bring it to half the bound, so that some captures pass before the next merge. What
/// other images or machines use too is copied then, for each such image anew: that is the price of the bound. Layers that this chain alone uses cost nothing but the work, and give
/// the space of what was overwritten back: they are merged from four on, three over a base being cheap to read.
/// </remarks>
internal static class CompactionRule
{
    private const int MinOwnLayers = 4;

    /// <summary>A disk with fewer layers is left as it is.</summary>
    public static int MinDepth(int maxDepth) => Math.Min(maxDepth, MinOwnLayers) + 1;

    /// <param name="chain">From the base to the top.</param>
    /// <param name="maxDepth">At least 2.</param>
    /// <param name="isOwn">Whether nothing but this image refers to a layer.</param>
    /// <returns>The place of the first layer that becomes part of the new one; null to leave the chain as it is.</returns>
    public static int? FirstToMerge(IReadOnlyList<LayerId> chain, int maxDepth, Func<LayerId, bool> isOwn)
    {
        var isTooDeep = chain.Count > maxDepth;
        var first = isTooDeep ? Math.Max(1, (maxDepth / 2) - 1) : chain.Count;
        while (first > 1 && isOwn(chain[first - 1])) first--;
        return isTooDeep || chain.Count - first >= MinOwnLayers ? first : null;
    }
}
