using Instances.Catalogue;
using Instances.Faults;
using Instances.Storage;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.Runtime;

namespace Instances.Library;

/// <summary>An image: its publication and its description. The other parts of this class import, share and retire it.</summary>
internal sealed partial class ImageGrain(
    [PersistentState("image", StorageNames.Grains)] IPersistentState<ImageState> stored,
    ICatalogue catalogue,
    IOptions<LibraryOptions> options,
    TimeProvider time,
    ILogger<ImageGrain> logger)
    : StoredGrain<ImageState>(stored), IImageGrain, IRemindable
{
    private ImageId Id => new(this.GetPrimaryKey());

    private ImageStatus? Status => Exists ? State.Status : null;

    public Task<ImageView> Get()
    {
        if (!Exists) throw FaultException.NotFound("image-not-found", "There is no such image in the library.");
        return Task.FromResult(State.ToView(Id));
    }

    public async Task<ImageView> Publish(ImageManifest manifest)
    {
        if (Decide(ImageCommand.Publish) is { } next)
            await SaveListed(new() { Name = manifest.Name, Status = next, CreatedAt = manifest.CreatedAt, Manifest = manifest });
        return State.ToView(Id);
    }

    public async Task<ImageView> Change(ImageSpec spec, long? ifVersion)
    {
        Decide(ImageCommand.Change);
        var present = State.Manifest!;
        var wanted = ImageRules.Require(spec, present.Kind);
        if (wanted == present.ToSpec()) return State.ToView(Id);
        if (ifVersion is { } version && version != State.Version)
        {
            throw new FaultException(new(
                FaultKind.Changed, "image-changed", $"The image is Ready and has been changed since: it has version {State.Version}, not {version}. Read it again, and decide again."));
        }

        var isTakenBack = present.Sharing is ImageSharing.AllEnterprises && wanted.Sharing is ImageSharing.Private;
        if (isTakenBack) await RequireNoForeignUsers();
        var before = State;

        // Write the manifest first: a crash in between leaves a manifest that is newer than the record. The next change or the doctor repairs that. The record is authoritative.
        var next = present with { Name = wanted.Name, Details = wanted.Details!, Pinned = wanted.Pinned, Retention = wanted.Retention, Sharing = wanted.Sharing };
        await GrainFactory.Library().Publish([next]);
        KillPoints.Reach("change.manifest-written");
        await SaveListed(State with { Name = next.Name, Manifest = next, Version = State.Version + 1 });
        if (isTakenBack) await RequireNoForeignUsersOr(before);
        return State.ToView(Id);
    }

    public async Task<ExportTicket> Export()
    {
        Decide(ImageCommand.Export);
        return await GrainFactory.Library().OfferExport(Id);
    }

    public Task<ImageView> AcceptExport()
    {
        Decide(ImageCommand.Export);
        return Task.FromResult(State.ToView(Id));
    }

    public async Task<bool> Rebuild(IReadOnlyList<LayerId> corrupt, bool takeLayers)
    {
        // Check for the file after pending removals of this image, so that a file that was just removed is not restored.
        var file = takeLayers ? await GrainFactory.Library().FindManifest(Id) : null;
        if (Exists)
        {
            await CatchUp(file);
            return false;
        }

        if (file is not { } manifest || Decide(ImageCommand.Publish) is not { } next) return false;
        IReadOnlyList<LayerId> own = [.. manifest.Disks.SelectMany(disk => disk.Layers).Select(layer => layer.Id).Intersect(corrupt)];
        await SaveListed(new() { Name = manifest.Name, Status = own.Count > 0 ? ImageStatus.Corrupt : next, CreatedAt = manifest.CreatedAt, Manifest = manifest, CorruptLayers = own });
        KillPoints.Reach("rebuild.recorded");
        return true;
    }

    /// <summary>With the changes since the backup of the record, as far as the manifest has them.</summary>
    private async Task CatchUp(ImageManifest? file)
    {
        if (State.Status is ImageStatus.Retired) await SaveListed(State with { RetiredAt = time.GetUtcNow() });
        if (file is null) return;
        if (State.Import is { } import && State.Status is ImageStatus.Importing && file.GetOperation() == import.Operation) await CompleteLost(file);
        else if (State.Manifest is { } present) await SaveListed(State with { Manifest = present with { Disks = file.Disks }, Merge = null });
    }

    public async Task WriteManifest()
    {
        if (State.Manifest is not { } manifest) return;

        // An earlier release trimmed the name in the record alone.
        if (manifest.Name != State.Name) await SaveListed(State with { Manifest = manifest = manifest with { Name = State.Name } });
        await GrainFactory.Library().Publish([manifest]);
    }

    private ImageStatus? Decide(ImageCommand command) => ImageLifecycle.Decide(Status, command) switch
    {
        Decision<ImageStatus>.Refuse { Fault: { Code: "image-importing" } fault } when State.Import is { } import =>
            throw new FaultException(fault with { Message = $"{fault.Message} Its operation is {import.Operation}." }),
        var decision => decision.OrThrow(),
    };

    private Task SaveListed(ImageState next) => Save(next.WithCatalogue(Id));
}
