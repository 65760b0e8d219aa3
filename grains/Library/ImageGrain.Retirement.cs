using System.Collections.Concurrent;
using Instances.Catalogue;
using Instances.Faults;
using Microsoft.Extensions.Logging;

namespace Instances.Library;

/// <summary>How an image is retired, restored and removed.</summary>
/// <remarks>
/// <para>Retire against use: a retirement first marks the image, and then searches for its users. A user first refers to the image, and then checks its status.
/// So one of the two sees the other. If a crash leaves the mark on an image that is used, the next check removes the mark.</para>
/// <para>Restore against removal: this grain decides both, one after the other. A removal is allowed only after the grace period, a restoration
/// only before its end. The first one wins: after a restoration there is nothing to remove, and after a removal nothing to restore. While the record exists, its
/// layers are kept. A crash during a removal may leave the record without the manifest; a restoration writes the manifest again.</para>
/// <para>Restore of a slave against deletion of its master: a restoration first makes the slave Ready, and then checks the status of its master. A deletion first marks the master, and
/// then searches for its slaves.</para>
/// </remarks>
internal sealed partial class ImageGrain
{
    private const int NamedUsers = 10;

    /// <summary>How many slaves can be deleted with their master at once.</summary>
    private const int MaxCascade = PageRequest.MaxLimit;

    /// <summary>How long a slave waits for the end of the master's deletion that has retired it. Longer than any call: if the deletion has not ended after it, it was interrupted.</summary>
    private static readonly TimeSpan CascadeBound = TimeSpan.FromMinutes(5);

    private bool IsDue => State.RetiredAt + options.Value.GracePeriod <= time.GetUtcNow();

    public Task Delete() => Retire(RetirementReason.Deleted);

    public async Task Retire(RetirementReason reason)
    {
        await MarkAndLook(reason, with: null);
        if (State.Manifest is null || options.Value.GracePeriod == TimeSpan.Zero) await Remove();
    }

    public Task RetireWith(ImageId master) => MarkAndLook(RetirementReason.Deleted, master);

    public async Task TakeBack(ImageId master)
    {
        if (Exists && State.Status is ImageStatus.Retired && State.RetiredWith == master) await Unmark();
    }

    public async Task<ImageDeletion> DeleteWith(bool cascade, bool dryRun)
    {
        Decide(ImageCommand.Delete);
        var slaves = cascade ? await Slaves() : [];
        var deletion = new ImageDeletion(dryRun, [.. slaves.Append(State.ToView(Id)).Select(ToDeleted)], time.GetUtcNow() + options.Value.GracePeriod);
        await RequireDeletable(slaves, cascade);
        if (dryRun) return deletion;
        if (slaves.Count == 0)
        {
            await Retire(RetirementReason.Deleted);
            return deletion;
        }

        await RetireAll([.. slaves.Select(slave => slave.Id)]);
        if (options.Value.GracePeriod > TimeSpan.Zero) return deletion;
        await FanOut.Each(slaves, slave => GrainFactory.Image(slave.Id).Expire());
        await Remove();
        return deletion;
    }

    public async Task<ImageView> Restore()
    {
        if (Decide(ImageCommand.Restore) is not { } next) return State.ToView(Id);
        if (State.Manifest is not { } manifest || IsDue)
            throw FaultException.NotFound("image-gone", "The image is Retired and its grace period has passed: it is being deleted and cannot be restored.");

        // The manifest may be gone: see the remarks.
        await GrainFactory.Library().Publish([manifest]);
        KillPoints.Reach("restore.manifest-written");
        var retired = State;
        await SaveListed(State with { Status = Sound(next), RetiredAt = null, RetiredReason = null, RetiredWith = null, RestoredAt = time.GetUtcNow() });
        KillPoints.Reach("restore.recorded");
        if (manifest.Master is { } master && await catalogue.FindImage(master) is not { Status: ImageStatus.Ready or ImageStatus.Corrupt })
        {
            await SaveListed(retired);
            throw FaultException.Conflict("master-retired", $"The image is Retired, and so is its master {master}: restore the master first.");
        }

        LogRestored(Id.Value);
        return State.ToView(Id);
    }

    public async Task Expire()
    {
        if (Decide(ImageCommand.Expire) is null) return;
        if (State.RetiredWith is { } master && await catalogue.FindImage(master) is { Status: ImageStatus.Ready or ImageStatus.Corrupt })
        {
            // The deletion of its master has not progressed so far, or was interrupted. In the second case it is undone.
            if (State.RetiredAt + CascadeBound <= time.GetUtcNow()) await Unmark();
            return;
        }

        if (State.Manifest is not null && await FindObstacle() is not null) await Unmark();
        else if (IsDue) await Remove();
    }

    /// <summary>A repeated deletion checks again: the previous one may have been interrupted between mark and check.</summary>
    private async Task MarkAndLook(RetirementReason reason, ImageId? with)
    {
        var next = Decide(ImageCommand.Delete);
        await RequireCaptureEnded();
        if (FindPin() is { } pinned) throw pinned;
        if (next is not null && reason is not RetirementReason.Deleted && State.Manifest is { Sharing: ImageSharing.AllEnterprises })
            throw FaultException.Conflict("image-shared", $"The image is {State.Status} and shared with all enterprises: it is kept until a user deletes it.");
        if (next is { } retired) await SaveListed(State with { Status = retired, RetiredAt = time.GetUtcNow(), RetiredReason = reason, RetiredWith = with });
        KillPoints.Reach("retire.marked");
        if (State.Manifest is not null) await RequireUnused();
        KillPoints.Reach("retire.looked");
        if (next is not null) LogRetired(Id.Value, reason);
    }

    /// <summary>Retires all of them, or none.</summary>
    private async Task RetireAll(IReadOnlyList<ImageId> slaves)
    {
        var retired = new ConcurrentBag<ImageId>();
        try
        {
            await FanOut.Each(slaves, async slave =>
            {
                // Note it first: the call may be carried out although its answer is lost.
                retired.Add(slave);
                await GrainFactory.Image(slave).RetireWith(Id);
            });
            KillPoints.Reach("retire.slaves-marked");
            await MarkAndLook(RetirementReason.Deleted, with: null);
        }
        catch
        {
            await FanOut.Each(retired, slave => GrainFactory.Image(slave).TakeBack(Id));
            throw;
        }
    }

    private async Task<IReadOnlyList<ImageView>> Slaves()
    {
        var page = await catalogue.Images(new(Master: Id), new(MaxCascade));
        return page.NextCursor is null
            ? page.Items
            : throw FaultException.Conflict("cascade-too-large", $"The image is {State.Status} and has more than {MaxCascade} slaves: delete some of them first.");
    }

    /// <summary>A check before the mark. It is repeated after the mark.</summary>
    private async Task RequireDeletable(IReadOnlyList<ImageView> slaves, bool cascade)
    {
        await RequireCaptureEnded();
        if (FindPin() is { } pinned) throw pinned;
        if (slaves.FirstOrDefault(slave => slave.Pinned) is { } slave)
            throw FaultException.Conflict("image-pinned", $"The image is {State.Status} and its slave '{slave.Name}' ({slave.Id}) is pinned: unpin it first.");
        if (slaves.Where(slave => slave.Enterprise != State.Manifest?.Enterprise).Select(slave => slave.Id).Take(NamedUsers).ToList() is { Count: > 0 } foreign)
        {
            throw FaultException.Conflict(
                "master-has-slaves", $"The image is {State.Status} and the master of slaves of other enterprises, {string.Join(", ", foreign)}: those must be deleted by their own enterprises.");
        }

        if (State.Manifest is null) return;
        if (cascade)
        {
            var users = await catalogue.UsersOfTree(Id, NamedUsers);
            if (users.Count > 0)
                throw FaultException.Conflict("image-in-use", $"The image is {State.Status} and it or its slaves are used by the virtual machines {string.Join(", ", users)}: remove them or give them another image first.");
        }
        else if (await FindObstacle() is { } obstacle)
        {
            throw obstacle;
        }
    }

    /// <summary>Until its capture has ended, the machine may still switch to the image.</summary>
    private async Task RequireCaptureEnded()
    {
        if (State.Manifest?.Capture is { } capture && await GrainFactory.Operation(capture.Operation).Find() is { IsFinished: false })
            throw FaultException.Conflict("image-busy", $"The image is {State.Status} and its create-instance has not ended: wait for it.");
    }

    private FaultException? FindPin() => State.Manifest is { Pinned: true }
        ? FaultException.Conflict("image-pinned", $"The image is {State.Status} and pinned: unpin it before you delete it.")
        : null;

    /// <summary>Removes the mark if the image is used, or if that is not known.</summary>
    private async Task RequireUnused()
    {
        try
        {
            if (await FindObstacle() is { } obstacle) throw obstacle;
        }
        catch
        {
            await Unmark();
            throw;
        }
    }

    private Task Unmark() => SaveListed(State with { Status = Sound(ImageStatus.Ready), RetiredAt = null, RetiredReason = null, RetiredWith = null });

    private async Task<FaultException?> FindObstacle()
    {
        var users = await catalogue.UsersOf(Id, NamedUsers);
        if (users.Count > 0)
            return FaultException.Conflict("image-in-use", $"The image is {ImageStatus.Ready} and used by the virtual machines {string.Join(", ", users)}: remove them or give them another image first.");
        var slaves = await catalogue.SlavesOf(Id, NamedUsers);
        return slaves.Count > 0
            ? FaultException.Conflict("master-has-slaves", $"The image is {ImageStatus.Ready} and the master of the slaves {string.Join(", ", slaves)}: delete them first, or with it.")
            : null;
    }

    /// <summary>Delete the manifest first: a crash in between leaves a record without files, which the next attempt removes, and never files that look like an image.</summary>
    private async Task Remove()
    {
        await GrainFactory.Library().Unpublish([Id]);
        KillPoints.Reach("collection.manifest-deleted");
        await Forget();
        KillPoints.Reach("collection.record-deleted");
        await GrainFactory.Library().SweepSoon();
        DeactivateOnIdle();
    }

    private static DeletedImage ToDeleted(ImageView image) => new(image.Id, image.Name, image.Kind, image.Bytes);

    [LoggerMessage(Level = LogLevel.Information, Message = "The image {Image} was retired: {Reason}.")]
    private partial void LogRetired(Guid image, RetirementReason reason);

    [LoggerMessage(Level = LogLevel.Information, Message = "The image {Image} was restored.")]
    private partial void LogRestored(Guid image);
}
