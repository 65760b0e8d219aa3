using Instances.Catalogue;
using Instances.Enterprises;

namespace Instances.Library;

/// <summary>Computes the use of space. Pure.</summary>
internal static class UsageCount
{
    /// <param name="referenced">Layers that an image, a machine or a running operation needs.</param>
    /// <param name="limit">The number of images in the result.</param>
    public static LibraryUsage Of(
        IReadOnlyList<StoredLayer> stored, IReadOnlyList<ImageLayers> images, IReadOnlySet<LayerId> referenced, int limit, long freeBytes, FreedSpace collected, FreedSpace compacted)
    {
        var bytes = stored.ToDictionary(layer => layer.Id, layer => layer.Bytes);
        var users = images.SelectMany(image => image.Layers.Distinct(), (image, layer) => (Layer: layer, Image: image)).ToLookup(use => use.Layer, use => use.Image);
        var whole = stored.Where(layer => !layer.IsPartial).ToList();
        return new(
            stored.Count, stored.Sum(layer => layer.Bytes),
            whole.Where(layer => users.Contains(layer.Id)).Sum(layer => layer.Bytes),
            whole.Where(layer => !users.Contains(layer.Id) && referenced.Contains(layer.Id)).Sum(layer => layer.Bytes),
            stored.Where(layer => layer.IsPartial).Sum(layer => layer.Bytes),
            whole.Where(layer => !users.Contains(layer.Id) && !referenced.Contains(layer.Id)).Sum(layer => layer.Bytes),
            freeBytes,
            [.. images.GroupBy(image => image.Status).OrderBy(group => group.Key).Select(OfStatus)],
            [.. images.Select(OfImage).OrderByDescending(image => image.OwnBytes).ThenBy(image => image.Id.Value).Take(limit)],
            collected,
            [.. images.GroupBy(image => image.Enterprise).OrderBy(group => group.Key.Value).Select(OfEnterprise)],
            compacted);

        StatusUsage OfStatus(IGrouping<ImageStatus, ImageLayers> group)
        {
            var (own, total) = OfGroup(group, user => user.Status == group.Key);
            return new(group.Key, group.Count(), own, total);
        }

        EnterpriseSpace OfEnterprise(IGrouping<EnterpriseId, ImageLayers> group)
        {
            var (own, total) = OfGroup(group, user => user.Enterprise == group.Key);
            return new(group.Key, group.Count(), own, total);
        }

        (long Own, long Total) OfGroup(IEnumerable<ImageLayers> group, Func<ImageLayers, bool> isOfGroup)
        {
            var needed = group.SelectMany(image => image.Layers).Distinct().ToList();
            return (Sum(needed.Where(layer => users[layer].All(isOfGroup))), Sum(needed));
        }

        ImageUsage OfImage(ImageLayers image)
        {
            var needed = image.Layers.Distinct().ToList();
            var own = Sum(needed.Where(layer => users[layer].Count() == 1));
            var total = Sum(needed);
            return new(image.Id, image.Name, image.Status, own, total - own, total);
        }

        long Sum(IEnumerable<LayerId> ids) => ids.Sum(layer => bytes.GetValueOrDefault(layer));
    }
}
