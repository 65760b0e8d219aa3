using Instances.Catalogue;
using Instances.Faults;
using Instances.Operations;
using Instances.Storage;
using Microsoft.Extensions.Logging;
using Microsoft.Extensions.Options;
using Orleans.Runtime;

namespace Instances.Library;

/// <summary>An image: what people and sagas ask of it. How it is imported stands in the other part.</summary>
internal sealed partial class ImageGrain(
    [PersistentState("image", StorageNames.Grains)] IPersistentState<ImageState> stored,
    ICatalogue catalogue,
    IOptions<LibraryOptions> options,
    TimeProvider time,
    ILogger<ImageGrain> logger)
    : StoredGrain<ImageState>(stored), IImageGrain, IRemindable
{
    private const int NamedUsers = 10;

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

    public async Task Delete()
    {
        var next = Decide(ImageCommand.Delete);
        await RequireCaptureEnded();

        // Mark first, then look for references: whoever begins to use the image refers to it first and looks at its status then.
        // A repeated deletion looks again: the one before may have been interrupted in between.
        var before = State;
        if (next is { } retired) await SaveListed(State with { Status = retired, RetiredAt = time.GetUtcNow() });
        if (before.Manifest is not null) await RequireUnused();
        if (before.Status is ImageStatus.Failed || options.Value.GracePeriod == TimeSpan.Zero) await Remove();
    }

    public async Task Expire()
    {
        if (Decide(ImageCommand.Expire) is null) return;

        // A deletion that was interrupted between its mark and its look has left the mark on an image that is used.
        if (State.Manifest is not null && await FindObstacle() is not null) await SaveListed(State with { Status = ImageStatus.Ready, RetiredAt = null });
        else if (State.RetiredAt + options.Value.GracePeriod <= time.GetUtcNow()) await Remove();
    }

    /// <summary>Until its capture has ended, the image is still being given to its machine.</summary>
    private async Task RequireCaptureEnded()
    {
        if (State.Manifest?.Capture is { } capture && await GrainFactory.Operation(capture.Operation).Find() is { IsFinished: false })
            throw FaultException.Conflict("image-busy", $"The image is {State.Status} and its create-instance has not ended: wait for it.");
    }

    /// <summary>Takes the mark back where somebody stands in the way, or where that cannot be found out.</summary>
    private async Task RequireUnused()
    {
        try
        {
            if (await FindObstacle() is { } obstacle) throw obstacle;
        }
        catch
        {
            await SaveListed(State with { Status = ImageStatus.Ready, RetiredAt = null });
            throw;
        }
    }

    private async Task<FaultException?> FindObstacle()
    {
        var users = await catalogue.UsersOf(Id, NamedUsers);
        if (users.Count > 0)
            return FaultException.Conflict("image-in-use", $"The image is {ImageStatus.Ready} and used by the virtual machines {string.Join(", ", users)}: remove them or give them another image first.");
        var slaves = await catalogue.SlavesOf(Id, NamedUsers);
        return slaves.Count > 0
            ? FaultException.Conflict("master-has-slaves", $"The image is {ImageStatus.Ready} and the master of the slaves {string.Join(", ", slaves)}: delete them first.")
            : null;
    }

    /// <summary>The manifest first: a crash in between leaves a record without files, which the next try removes, never files that look like an image.</summary>
    private async Task Remove()
    {
        await GrainFactory.Library().Unpublish([Id]);
        await Forget();
        await GrainFactory.Library().SweepSoon();
        DeactivateOnIdle();
    }

    private ImageStatus? Decide(ImageCommand command) => ImageLifecycle.Decide(Status, command).OrThrow();

    private Task SaveListed(ImageState next) => Save(next.WithCatalogue(Id));
}
