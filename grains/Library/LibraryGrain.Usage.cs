using Instances.Catalogue;
using Instances.Faults;

namespace Instances.Library;

/// <summary>The use of space, and the freed space.</summary>
internal sealed partial class LibraryGrain
{
    public async Task<LibraryUsage> Usage(int limit)
    {
        if (limit is < 1 or > PageRequest.MaxLimit) throw FaultException.Invalid("limit-invalid", $"1 to {PageRequest.MaxLimit} images are shown, not {limit}.");
        var stored = await Task.Run(layers.List);
        var images = await catalogue.ImageLayers();
        var compaction = await GrainFactory.Compaction().Get();
        var compacted = new FreedSpace(compaction.Since, compaction.LayersMerged - compaction.Merges, Math.Max(0, compaction.BytesBefore - compaction.BytesAfter));
        return UsageCount.Of(stored, images, await catalogue.ReferencedLayers(), limit, layers.FreeBytes, State.Collected, compacted);
    }

    private Task Count(SweepReport report) => Save(State with
    {
        Collected = new(State.Collected.Since ?? time.GetUtcNow(), State.Collected.Layers + report.Layers, State.Collected.Bytes + report.Bytes),
    });
}
