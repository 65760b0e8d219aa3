using Instances.Faults;
using Instances.Operations;

namespace Instances.Library;

/// <summary>How a slave is promoted to a master: an import whose bytes are already in the library.</summary>
/// <remarks>The new image refers to the slave's layers first, and checks the slave then. So a deletion of the slave, or a merge of its layers, in between cannot remove them.
/// After that the two images are independent.</remarks>
internal sealed partial class ImageGrain
{
    public async Task BeginPromotion(OperationId operation, ImageId source, string? name)
    {
        if (await HasEnded(operation, ended => ended.Promotion?.Source == source)) return;
        Decide(ImageCommand.BeginImport);
        if (State.Import is { } running)
        {
            if (running.Operation != operation || running.Promotion?.Source != source) throw AlreadyBegun(running);
        }
        else
        {
            await Begin(await PlanPromotion(operation, source, name), RequirePromoted);
        }

        await BeginRecord();
        await TakePromotion(State.Import!);
    }

    private async Task<RunningImport> PlanPromotion(OperationId operation, ImageId source, string? name)
    {
        var slave = await RequirePromotable(source);
        var bytes = slave.Disks.SelectMany(disk => disk.Layers).Sum(layer => layer.Bytes);
        var freeBytes = (await GrainFactory.Library().Get()).FreeBytes;
        if (bytes > freeBytes)
            throw FaultException.Capacity("no-space", $"The image's layers take {bytes.Bytes()} and the library has {freeBytes.Bytes()} left: free some space first.");
        var promotion = new Promotion(source, slave.Disks, [.. slave.Disks.Select(_ => LayerId.New())], slave.Identity);
        return new(
            operation, promotion.Layers[0], new(Names.Require(name ?? slave.Name, "an image"), Format: null, Details: slave.Details, Enterprise: slave.Enterprise), SecretHash: "", time.GetUtcNow(), ImportWay.Promotion, Promotion: promotion);
    }

    /// <summary>Called after the record, which refers to the layers, was written.</summary>
    private async Task RequirePromoted()
    {
        var promotion = State.Import!.Promotion!;
        var slave = await RequirePromotable(promotion.Source);
        if (!LayersOf(slave.Disks).SequenceEqual(LayersOf(promotion.Disks)))
            throw FaultException.Unavailable("image-compacted", "The image's layers have just been merged: repeat the request.");

        static IEnumerable<LayerId> LayersOf(IReadOnlyList<DiskManifest> disks) => disks.SelectMany(disk => disk.Layers).Select(layer => layer.Id);
    }

    private async Task<ImageView> RequirePromotable(ImageId source)
    {
        var slave = await GrainFactory.Image(source).Get();
        if (slave.Kind is ImageKind.Master) throw FaultException.Conflict("image-is-master", $"The image is {slave.Status} and a master: only slaves are promoted.");
        ImageLifecycle.Decide(slave.Status, ImageCommand.Use).OrThrow();
        return slave;
    }

    private async Task TakePromotion(RunningImport import)
    {
        try
        {
            await GrainFactory.Library().TakePromotion(Id, import.ToPlan());
        }
        catch (FaultException exception) when (exception.Fault.Kind is FaultKind.Unavailable)
        {
            // The library is unreachable, or has no place at the moment: a later reminder resumes the promotion.
        }
    }
}
