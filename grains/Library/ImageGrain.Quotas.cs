using Instances.Enterprises;
using Instances.Faults;
using Instances.Operations;

namespace Instances.Library;

/// <summary>Claims more of the enterprise's quotas for an import when its real size is known.</summary>
internal sealed partial class ImageGrain
{
    public async Task<bool> AcceptDisk(OperationId operation, long virtualSizeBytes)
    {
        if (State.Import is not { } import || import.Operation != operation || State.Status is not ImageStatus.Importing || _cancelled) return false;
        _lastSign = time.GetUtcNow();
        if (import.VirtualBytes == virtualSizeBytes) return true;
        var known = import with { VirtualBytes = virtualSizeBytes };
        await ClaimMore(known.ToUsage(), () => SaveListed(State with { Import = known }), takeBack: _ => Task.FromResult(true));
        KillPoints.Reach("import.disk-accepted");
        return true;
    }

    /// <summary>Writes a record that counts with <paramref name="demand"/>, if the increase over its current count fits the quotas of its enterprise.</summary>
    /// <param name="takeBack">Null if the record cannot be undone: then it is not checked again if its claim was lost.</param>
    private Task ClaimMore(EnterpriseUsage demand, Func<Task> record, Func<Fault, Task<bool>>? takeBack = null)
    {
        var import = State.Import!;
        var held = import.ToUsage();
        return demand.Beyond(held) == EnterpriseUsage.None ? record() : GrainFactory.Claim(import.Command.Enterprise, Id.Value, demand, record, takeBack, held);
    }

    private static EnterpriseUsage UsageOf(ImageManifest manifest) => new(
        LibraryBytes: manifest.Disks.SelectMany(disk => disk.Layers).Sum(layer => layer.Bytes), Images: 1, VirtualBytes: manifest.Disks.Sum(disk => disk.VirtualSizeBytes));
}
