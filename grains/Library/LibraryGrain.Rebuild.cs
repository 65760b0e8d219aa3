using Instances.Catalogue;
using Instances.Enterprises;
using Instances.Faults;
using Instances.Operations;
using Instances.Storage;
using Microsoft.Extensions.Logging;
using Orleans.Runtime;

namespace Instances.Library;

/// <summary>Restores the library after a loss of the database: each image gets its record from its manifest. Until that is done, nothing is removed.</summary>
internal sealed partial class LibraryGrain
{
    private static readonly TimeSpan RetryPause = TimeSpan.FromSeconds(5);

    private IGrainTimer? _rebuilding;

    /// <summary>The progress of the rebuild. Only its request and its result are stored.</summary>
    private LibraryRebuild? _rebuild;

    /// <summary>The images that had a record when the rebuild began: an image that got its record from an earlier attempt counts as rebuilt.</summary>
    private IReadOnlySet<ImageId>? _knownBefore;

    public Task<LibraryRebuild> Rebuild(bool dryRun)
    {
        if (_rebuild is { FinishedAt: null } running)
        {
            return running.DryRun && !dryRun
                ? throw FaultException.Conflict("rebuild-running", "A dry run of a rebuild is under way, which changes nothing: request the rebuild again when it has ended.")
                : Task.FromResult(running);
        }

        _rebuild = new(time.GetUtcNow(), dryRun, FinishedAt: null, Manifests: 0, Rebuilt: 0, Known: 0, LeftOut: 0, []);
        _knownBefore = null;
        _rebuilding!.Change(TimeSpan.Zero, Timeout.InfiniteTimeSpan);
        return Task.FromResult(_rebuild);
    }

    public Task<LibraryRebuild> GetRebuild() => _rebuild is { } rebuild
        ? Task.FromResult(rebuild)
        : throw FaultException.NotFound("rebuild-not-found", "The library was not rebuilt: begin a rebuild, or a dry run of one.");

    public Task<ImageManifest?> FindManifest(ImageId image) => layers.FindManifest(image);

    /// <summary>Resumes a rebuild that a restart has interrupted. It finds the records that were already created.</summary>
    private void WatchForRebuilds()
    {
        _rebuild = State.Rebuild;
        var due = _rebuild is { FinishedAt: null } ? TimeSpan.Zero : Timeout.InfiniteTimeSpan;
        _rebuilding = this.RegisterGrainTimer(RebuildTick, new GrainTimerCreationOptions(due, Timeout.InfiniteTimeSpan) { KeepAlive = true });
    }

    private async Task RebuildTick(CancellationToken cancellationToken)
    {
        var run = _rebuild!;
        try
        {
            if (State.Rebuild?.StartedAt != run.StartedAt) await Save(State with { Rebuild = run });
            await RebuildAll(run, cancellationToken);
            if (!run.DryRun) await Bind("rebuild.bound");
            var finished = _rebuild! with { FinishedAt = time.GetUtcNow(), Problem = null };
            await Save(State with { Rebuild = finished });
            _rebuild = finished;
            LogRebuilt(finished.DryRun, finished.Rebuilt, finished.Known, finished.LeftOut);
        }
        catch (Exception exception) when (!cancellationToken.IsCancellationRequested)
        {
            // Catch everything: show the error, so that no client waits for a rebuild that has stopped. If the silo ends, the next one resumes the rebuild.
            LogNotRebuilt(exception.Message);
            _rebuild = run with { Problem = exception.Message };
            _rebuilding!.Change(RetryPause, Timeout.InfiniteTimeSpan);
        }
    }

    private async Task RebuildAll(LibraryRebuild run, CancellationToken cancellationToken)
    {
        var files = await layers.ScanManifests(cancellationToken);
        var known = await catalogue.KnownImages();
        _knownBefore ??= known;
        var context = new RebuildContext(
            run.DryRun, known, known.Union(files.Manifests.Select(manifest => manifest.Id)).ToHashSet(), layers.List().Where(layer => !layer.IsPartial).Select(layer => layer.Id).ToHashSet(),
            [.. layers.Checks().Where(check => check.IsCorrupt).Select(check => check.Layer)], await FindStranger() is not null, await Enterprises());
        Show(run with { Manifests = files.Manifests.Count + files.Unreadable.Count });
        foreach (var unreadable in files.Unreadable)
        {
            if (known.Contains(unreadable.Image)) Show(_rebuild! with { Known = _rebuild.Known + 1 });
            else LeaveOut(unreadable.Image, name: null, "manifest-unreadable", $"{unreadable.Reason} Restore the file from a backup, or run the release that wrote it.");
        }

        // Masters first, so that no slave is visible before its master.
        foreach (var kind in files.Manifests.GroupBy(manifest => manifest.Kind).OrderBy(group => group.Key))
            await FanOut.Each(kind, manifest => RebuildImage(manifest, context), cancellationToken);
    }

    private async Task RebuildImage(ImageManifest manifest, RebuildContext context)
    {
        var needed = manifest.Disks.SelectMany(disk => disk.Layers).Select(layer => layer.Id).Distinct().ToList();
        var missing = needed.Where(layer => !context.Stored.Contains(layer)).ToList();
        if (context.Known.Contains(manifest.Id))
        {
            // Its record may be older than its file.
            if (context is { IsStranger: true, DryRun: false }) await GrainFactory.Image(manifest.Id).Rebuild(context.Corrupt, takeLayers: missing.Count == 0);
            if (_knownBefore!.Contains(manifest.Id))
            {
                Show(_rebuild! with { Known = _rebuild.Known + 1 });
                RemarkEnterprise(manifest, context);
            }
            else
            {
                ShowRebuilt(manifest, needed, context);
            }

            return;
        }

        if (missing.Count > 0)
        {
            LeaveOut(manifest.Id, manifest.Name, "layer-missing", $"It needs layers that are not in the library: {string.Join(", ", missing)}. Restore their files from a backup, and rebuild again.");
            return;
        }

        switch (await FindOperation(manifest))
        {
            case { Status: OperationStatus.Failed or OperationStatus.Cancelled } ended:
                LeaveOut(manifest.Id, manifest.Name, "operation-failed", $"The operation {ended.Id} for it is {ended.Status}: a sweep removes its files.");
                return;
            // If the backup has the operation in progress, it is now being undone without removing files, because it may have committed after the backup.
            case { IsFinished: false } running when !(context.IsStranger && running.Status is (OperationStatus.Unwinding or OperationStatus.Stuck)):
                LeaveOut(manifest.Id, manifest.Name, "operation-running", $"The operation {running.Id} is creating it: wait for its end.");
                return;
        }

        if (!context.DryRun && !await GrainFactory.Image(manifest.Id).Rebuild(context.Corrupt, takeLayers: true))
        {
            Show(_rebuild! with { Known = _rebuild.Known + 1 });
            return;
        }

        ShowRebuilt(manifest, needed, context);
    }

    private void ShowRebuilt(ImageManifest manifest, IReadOnlyList<LayerId> needed, RebuildContext context)
    {
        Show(_rebuild! with { Rebuilt = _rebuild.Rebuilt + 1 });
        RemarkEnterprise(manifest, context);
        if (manifest.Master is { } master && !context.Images.Contains(master))
            Remark(manifest.Id, manifest.Name, "master-missing", $"Its master {master} is not in the library. It can be deployed all the same, because all its layers exist.");
        if (needed.Intersect(context.Corrupt).ToList() is { Count: > 0 } corrupt)
            Remark(manifest.Id, manifest.Name, "layer-corrupt", $"It needs layers that are corrupt: {string.Join(", ", corrupt)}. They are repaired when a host, or a datacenter of Library:Peers, has a good copy. Otherwise restore their files from a backup.");
    }

    private async Task<HashSet<EnterpriseId>> Enterprises()
    {
        HashSet<EnterpriseId> enterprises = [EnterpriseId.Default];
        string? cursor = null;
        do
        {
            var page = await catalogue.Enterprises(new(PageRequest.MaxLimit, cursor));
            enterprises.UnionWith(page.Items.Select(enterprise => enterprise.Id));
            cursor = page.NextCursor;
        }
        while (cursor is not null);
        return enterprises;
    }

    // These run one at a time, in the grain's turns.
    private void LeaveOut(ImageId image, string? name, string code, string message)
    {
        Show(_rebuild! with { LeftOut = _rebuild.LeftOut + 1 });
        Remark(image, name, code, message);
    }

    private void Remark(ImageId image, string? name, string code, string message)
    {
        if (_rebuild!.Remarks.Count < LibraryRebuild.MaxRemarks) Show(_rebuild with { Remarks = [.. _rebuild.Remarks, new(image, name, code, message)] });
    }

    /// <summary>Reports each enterprise once, also for images that already have a record: an interrupted rebuild may have created it.</summary>
    private void RemarkEnterprise(ImageManifest manifest, RebuildContext context)
    {
        if (!context.Enterprises.Add(manifest.Enterprise)) return;
        Remark(manifest.Id, manifest.Name, "enterprise-missing",
            $"Its enterprise {manifest.Enterprise} has no record: create it with this id (POST enterprises takes an id), and set its quotas again.");
    }

    private void Show(LibraryRebuild rebuild) => _rebuild = rebuild;

    /// <exception cref="FaultException">library-unknown.</exception>
    private async Task RequireKnown()
    {
        if (await FindStranger() is { } stranger)
            throw FaultException.Unavailable("library-unknown", $"The database does not know the library, from which nothing is removed until 'silo library rebuild' has run: {stranger}");
    }

    /// <summary>Why the database does not know the library, or null if it does.</summary>
    private async Task<string?> FindStranger()
    {
        var folder = layers.ReadBinding();
        if (LibraryBinding.IsBound(folder, State.Binding)) return LibraryBinding.FindStranger(folder, State.Binding, [], new HashSet<ImageId>());
        var files = await layers.ScanManifests(CancellationToken.None);
        IReadOnlyList<ImageId> manifests = [.. files.Manifests.Select(manifest => manifest.Id), .. files.Unreadable.Select(manifest => manifest.Image)];
        return LibraryBinding.FindStranger(folder, State.Binding, manifests, await catalogue.KnownImages());
    }

    /// <summary>Binds the folder to this database, with a number higher than both had. The database is written first.</summary>
    /// <exception cref="FaultException">no-space: the folder is unchanged.</exception>
    private async Task Bind(string killPoint)
    {
        var binding = new LibraryBinding(State.Binding?.Database ?? Guid.NewGuid(), Math.Max(State.Binding?.Number ?? 0, layers.ReadBinding()?.Number ?? 0) + 1);
        await Save(State with { Binding = binding });
        KillPoints.Reach(killPoint);
        await layers.WriteBinding(binding);
    }

    /// <param name="Images">The images that have a record or a manifest.</param>
    /// <param name="Stored">Layers in the folder.</param>
    /// <param name="IsStranger">The database does not know the library: its records may be from a backup.</param>
    /// <param name="Enterprises">Enterprises that have a record, or that were already reported.</param>
    private sealed record RebuildContext(
        bool DryRun, IReadOnlySet<ImageId> Known, IReadOnlySet<ImageId> Images, IReadOnlySet<LayerId> Stored, IReadOnlyList<LayerId> Corrupt, bool IsStranger, HashSet<EnterpriseId> Enterprises);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The library was rebuilt from its files (dry run: {DryRun}): {Rebuilt} images got records, {Known} had one, {LeftOut} were left out.")]
    private partial void LogRebuilt(bool dryRun, int rebuilt, int known, int leftOut);

    [LoggerMessage(Level = LogLevel.Warning, Message = "The library could not be rebuilt; the rebuild will be retried: {Reason}")]
    private partial void LogNotRebuilt(string reason);
}
