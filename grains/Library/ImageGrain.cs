using Instances.Catalogue;
using Instances.Faults;
using Instances.Storage;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.Runtime;

namespace Instances.Library;

/// <summary>An image: how it comes to be known, and how it is described. How it is imported, shared and retired stands in the other parts.</summary>
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
                FaultKind.Changed, "image-changed", $"The image is Ready and has been changed since: it has version {State.Version}, not {version}. Read it again, and decide anew."));
        }

        var isTakenBack = present.Sharing is ImageSharing.AllEnterprises && wanted.Sharing is ImageSharing.Private;
        if (isTakenBack) await RequireNoForeignUsers();
        var before = State;

        // The manifest first: a crash in between leaves one that is ahead of the record, which the next change or the doctor puts right. The record counts.
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
        // The file is looked for behind every removal of this image: one that has just gone does not come back.
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

    /// <summary>With what was done since the record was backed up, as far as the manifest tells.</summary>
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
