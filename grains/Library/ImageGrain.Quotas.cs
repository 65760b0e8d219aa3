using Instances.Enterprises;
using Instances.Faults;
using Instances.Operations;

namespace Instances.Library;

/// <summary>What an import takes of its enterprise's quotas beyond what was known when it began.</summary>
internal sealed partial class ImageGrain
{
    public async Task<bool> AcceptDisk(OperationId operation, long virtualSizeBytes)
    {
        if (State.Import is not { } import || import.Operation != operation || State.Status is not ImageStatus.Importing || _cancelled) return false;
        _lastSign = time.GetUtcNow();
        if (import.VirtualBytes == virtualSizeBytes) return true;
        var known = import with { VirtualBytes = virtualSizeBytes };
        await ClaimMore(known.ToUsage(), () => SaveListed(State with { Import = known }), takeBack: _ => Task.CompletedTask);
        KillPoints.Reach("import.disk-accepted");
        return true;
    }

    /// <summary>Writes a record that counts as <paramref name="demand"/> says, where the quotas of its enterprise have room for what that is more than what it counts at present.</summary>
    /// <param name="takeBack">Null if the record cannot be taken back: it is not checked again if its claim was lost.</param>
    private Task ClaimMore(EnterpriseUsage demand, Func<Task> record, Func<Fault, Task>? takeBack = null)
    {
        var import = State.Import!;
        var held = import.ToUsage();
        return demand.Beyond(held) == EnterpriseUsage.None ? record() : GrainFactory.Claim(import.Command.Enterprise, Id.Value, demand, record, takeBack, held);
    }

    private static EnterpriseUsage UsageOf(ImageManifest manifest) => new(
        LibraryBytes: manifest.Disks.SelectMany(disk => disk.Layers).Sum(layer => layer.Bytes), Images: 1, VirtualBytes: manifest.Disks.Sum(disk => disk.VirtualSizeBytes));
}
