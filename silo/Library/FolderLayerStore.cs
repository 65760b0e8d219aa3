using Instances.Faults;
using Instances.Hosts;
using Instances.Library.Transfer;

namespace Instances.Library;

/// <summary>Layers in one folder.</summary>
/// <remarks>
/// <code>
/// &lt;layer&gt;.qcow2          a layer: sealed (0440, read by the group of QEMU), or the writable top of a machine (0600, its user's)
/// &lt;layer&gt;.new            a layer that is being created
/// &lt;layer&gt;.check        the result of its last check: see <see cref="LayerChecks"/>
/// store.id               the identity of the folder
/// hosts/&lt;name&gt;           an empty file for each host that uses the folder
/// incoming/&lt;layer&gt;.part  the received bytes of an upload, or of a layer over HTTP
/// incoming/&lt;layer&gt;.image the content of a compressed upload
/// incoming/copies        a store of copies that will replace corrupt layers: each is there until the replacement
/// incoming/&lt;layer&gt;.new   a base layer that an upload is converted to, or a layer that is being copied or merged
/// </code>
/// After a crash, files that end in .part, .image or .new have no owner: <see cref="List"/> returns them and <see cref="Delete"/> removes them. The received bytes of a layer, or of an
/// upload in parts, are used again if the transfer is repeated.
/// Both folders belong to the silo. Users of machines can pass through the first one but not list it; only the silo can enter the second one.
/// </remarks>
internal class FolderLayerStore : ILayerStore
{
    private const long MinHealingBytesPerSecond = 64 << 10;
    private const long MinHashedBytesPerSecond = 256L << 20;
    private const string UsersName = "hosts";

    private readonly QemuImg _qemuImg;
    private readonly LayerTransfers _transfers;
    private readonly LayerStoreOptions _options;
    private readonly Lazy<FolderLayerStore> _copies;
    private readonly uint _readers;
    private string? _id;

    public FolderLayerStore(string folder, LayerStoreOptions options, QemuImg qemuImg, LayerTransfers transfers)
        : this(folder, options, qemuImg, transfers, maxLinks: uint.MaxValue)
    {
    }

    /// <param name="maxLinks">Sealed layers of earlier releases with more hard links are not changed, because a host of such a release may still start machines on them.</param>
    protected FolderLayerStore(string folder, LayerStoreOptions options, QemuImg qemuImg, LayerTransfers transfers, uint maxLinks)
    {
        _qemuImg = qemuImg;
        _transfers = transfers;
        _options = options;
        Folder = Path.GetFullPath(folder);
        Incoming = Path.Combine(Folder, "incoming");
        MinimumFreeBytes = options.MinimumFreeBytes;
        _readers = (uint)options.ReadersGroup;
        UnixFiles.OwnFolder(Folder, UnixFiles.PassageMode, isConfigured: true);
        UnixFiles.OwnFolder(Incoming, UnixFiles.PrivateFolderMode);
        Tighten(maxLinks);
        CheckFiles = new(this, transfers.Time);
        _copies = new(MakeCopies);
    }

    public string Id => _id ??= ReadOrMakeId();

    public string Folder { get; }

    /// <summary>The folder for arriving uploads and layers: private, and on the file system of the layers.</summary>
    public string Incoming { get; }

    public long MinimumFreeBytes { get; }

    /// <summary>How long the transfer of a repair copy may take, besides the time for its bytes and its length.</summary>
    public TimeSpan HealingPatience { get; init; } = TimeSpan.FromMinutes(1);

    protected LayerChecks CheckFiles { get; }

    public long FreeBytes => new DriveInfo(Folder).AvailableFreeSpace;

    public long TotalBytes => new DriveInfo(Folder).TotalSize;

    public long CacheBytes => _options.CacheBytes > 0 ? _options.CacheBytes : TotalBytes / 2;

    public string PathOf(LayerId layer) => Path.Combine(Folder, $"{layer}.qcow2");

    public string PartPathOf(LayerId layer) => Path.Combine(Incoming, $"{layer}.part");

    public string ExpandedPathOf(LayerId layer) => Path.Combine(Incoming, $"{layer}.image");

    public string ConvertedPathOf(LayerId layer) => Path.Combine(Incoming, $"{layer}.new");

    public bool Contains(LayerId layer) => File.Exists(PathOf(layer));

    /// <summary>Whether the layer is no longer written.</summary>
    public bool IsSealed(LayerId layer) => Contains(layer) && (File.GetUnixFileMode(PathOf(layer)) & UnixFiles.WriteModes) == 0;

    public async Task CreateLayer(LayerId layer, LayerId? parent, long virtualSizeBytes, CancellationToken cancellationToken)
    {
        if (Contains(layer))
            return;
        if (parent is { } below && !Contains(below))
            throw FileFaults.LayerMissing(below);

        var unfinished = Path.Combine(Folder, $"{layer}.new");
        try
        {
            await _qemuImg.Create(unfinished, parent is { } name ? $"{name}.qcow2" : null, virtualSizeBytes, cancellationToken);
            await OnPool(layer, () =>
            {
                UnixFiles.ChangeMode(unfinished, UnixFiles.PrivateMode);
                UnixFiles.Publish(unfinished, PathOf(layer));
                return true;
            });
        }
        catch
        {
            File.Delete(unfinished);
            throw;
        }
    }

    public Task<long> Seal(LayerId layer) => OnPool(layer, () => UnixFiles.Seal(PathOf(layer), _readers));

    /// <summary>Run on the thread pool, because it reads and writes for minutes.</summary>
    public Task<long> Merge(LayerMerge merge, long bytesPerSecond, CancellationToken cancellationToken) =>
        Task.Run(() => new LayerMerger(this, _transfers.Time).Merge(merge, bytesPerSecond, cancellationToken), cancellationToken);

    public Task Delete(LayerId layer)
    {
        CheckFiles.Delete(layer);
        KillPoints.Reach("collection.check-deleted");
        Guard(layer, () =>
        {
            File.Delete(PartPathOf(layer));
            File.Delete(ExpandedPathOf(layer));
            File.Delete(ConvertedPathOf(layer));
            File.Delete(Path.Combine(Folder, $"{layer}.new"));
            File.Delete(PathOf(layer));
        });
        return Task.CompletedTask;
    }

    public IReadOnlyList<StoredLayer> List() =>
        [.. Directory.EnumerateFiles(Folder).Concat(Directory.EnumerateFiles(Incoming))
            .Where(path => Path.GetExtension(path) is ".qcow2" or ".part" or ".image" or ".new")
            .Select(path => (Path: path, IsLayer: LayerId.TryParse(Path.GetFileNameWithoutExtension(path), null, out var id), Id: id))
            .Where(file => file.IsLayer)
            .GroupBy(file => file.Id, (id, files) => Stored(id, [.. files.Select(file => file.Path)]))];

    public void AddUser(HostId host)
    {
        var (folder, file) = (Path.Combine(Folder, UsersName), Path.Combine(Folder, UsersName, host.Name));
        if (File.Exists(file)) return;
        try
        {
            Directory.CreateDirectory(folder);
            File.WriteAllBytes(file, []);
            UnixFiles.SyncFolder(folder);
            UnixFiles.SyncFolder(Folder);
        }
        catch (IOException exception) when (FileFaults.IsNoSpace(exception))
        {
            throw FileFaults.NoSpaceLeft(Folder, exception);
        }
    }

    public bool RemoveUser(HostId host)
    {
        var folder = Path.Combine(Folder, UsersName);
        var file = Path.Combine(folder, host.Name);
        if (!File.Exists(file)) return false;
        File.Delete(file);
        UnixFiles.SyncFolder(folder);
        return true;
    }

    public IReadOnlyList<HostId> Users() => Directory.Exists(Path.Combine(Folder, UsersName))
        ? [.. Directory.EnumerateFiles(Path.Combine(Folder, UsersName)).Select(path => HostId.TryParse(Path.GetFileName(path), null, out var host) ? host : (HostId?)null).OfType<HostId>()]
        : [];

    public void Touch(LayerId layer)
    {
        if (Contains(layer)) File.SetLastAccessTimeUtc(PathOf(layer), _transfers.Time.GetUtcNow().UtcDateTime);
    }

    public LayerOffer Offer(LayerId layer) => Guard(layer, () => IsSealed(layer) ? _transfers.Offer(this, layer) : throw FileFaults.LayerMissing(layer));

    public Task<TransferProgress> Pull(IReadOnlyList<LayerId> layers, Func<IReadOnlyList<LayerId>, Task<IReadOnlyList<LayerOffer>>> offer) =>
        _transfers.Pull(this, layers, offer);

    public IReadOnlyList<LayerCheck> Checks() => CheckFiles.List();

    public LayerCheck? FindCheck(LayerId layer) => IsSealed(layer) ? CheckFiles.Find(layer) : null;

    public Task<LayerCheck> Check(LayerId layer, string? expected, long bytesPerSecond, CancellationToken cancellationToken) =>
        CheckFiles.Check(layer, expected, bytesPerSecond, cancellationToken);

    public void Doubt(LayerId layer, string sha256) => CheckFiles.Doubt(layer, sha256);

    public async Task<bool> Heal(LayerId layer, string from, Func<Task<LayerOffer>> offer, CancellationToken cancellationToken)
    {
        if (CheckFiles.Find(layer).Sha256 is not { } sha256) return false;

        // A host that shares this folder has no separate copy. If the offer announces another hash, the copy is not fetched.
        if (await offer() is var first && (first.Store == Id || (first.Sha256 is { } said && said != sha256))) return false;
        LayerOffer? next = first;
        var copies = _copies.Value;
        await copies.Delete(layer);
        try
        {
            var begun = _transfers.Time.GetTimestamp();
            while (await copies.Pull([layer], _ => Renew()) is { IsDone: false } progress)
            {
                cancellationToken.ThrowIfCancellationRequested();
                if (_transfers.Time.GetElapsedTime(begun) > HealingBound(progress.Layers[0].BytesMoved, first.LengthBytes))
                    throw TransferFaults.Failed(layer, "it arrives too slowly.");
            }

            KillPoints.Reach("scrub.pulled");
            return await CheckFiles.Replace(layer, copies.PathOf(layer), sha256, from, cancellationToken);
        }
        catch (FaultException exception) when (exception.Fault.Code == TransferFaults.CorruptCode)
        {
            return false;
        }
        finally
        {
            // Do not continue with the bytes of another source.
            await _transfers.End(copies, layer);
            await copies.Delete(layer);
        }

        async Task<IReadOnlyList<LayerOffer>> Renew()
        {
            var offered = next ?? await offer();
            next = null;
            return [offered with { Sha256 = sha256 }];
        }
    }

    /// <summary>Space that a layer takes; 0 if there is none.</summary>
    public long BytesOf(LayerId layer) => BytesOf(PathOf(layer));

    /// <summary>Makes a file in <see cref="Incoming"/> a layer: seals it, and gives it its name.</summary>
    /// <returns>Its space in bytes.</returns>
    public long Install(LayerId layer, string path) => Guard(layer, () =>
    {
        var bytes = UnixFiles.Seal(path, _readers);
        UnixFiles.Publish(path, PathOf(layer));
        return bytes;
    });

    /// <summary>Tightens permissions of earlier releases: all users could read layers, and the folder of uploads could contain links.</summary>
    private void Tighten(uint maxLinks)
    {
        foreach (var path in Directory.EnumerateFiles(Incoming).Where(path => new FileInfo(path).LinkTarget is not null)) File.Delete(path);
        foreach (var path in Directory.EnumerateFiles(Folder))
        {
            try
            {
                var mode = File.GetUnixFileMode(path);
                var isSealed = Path.GetExtension(path) == ".qcow2" && (mode & UnixFiles.WriteModes) == 0;
                if (mode == UnixFiles.SealedMode && isSealed) continue;
                if (!isSealed)
                {
                    if ((mode & UnixFiles.OthersMode) != 0) UnixFiles.ChangeMode(path, mode & ~UnixFiles.OthersMode);
                    continue;
                }

                using var file = UnixFiles.OpenUntrusted(path);
                if (UnixFiles.FactsOf(file).Links <= maxLinks) UnixFiles.Protect(file, _readers);
            }
            catch (Exception exception) when (exception is FileNotFoundException or UnauthorizedAccessException)
            {
                // It was deleted since the folder was read, or belongs to another user.
            }
        }
    }

    /// <summary>Removes copies that an earlier process has left. Only the process that repairs this folder's layers may call it.</summary>
    protected void EmptyCopies() => UnixFiles.DeleteTree(CopiesFolder);

    private string CopiesFolder => Path.Combine(Incoming, "copies");

    private FolderLayerStore MakeCopies()
    {
        EmptyCopies();
        return new(CopiesFolder, _options, _qemuImg, _transfers);
    }

    /// <summary>Holes are not read, but hashed as zeros.</summary>
    private TimeSpan HealingBound(long movedBytes, long lengthBytes) =>
        HealingPatience + TimeSpan.FromSeconds((movedBytes / (double)MinHealingBytesPerSecond) + (lengthBytes / (double)MinHashedBytesPerSecond));

    private string ReadOrMakeId()
    {
        var path = Path.Combine(Folder, "store.id");
        if (!File.Exists(path))
        {
            // The first process wins, also if another machine has this folder mounted.
            var mine = Path.Combine(Incoming, $"{Guid.NewGuid():N}.id");
            File.WriteAllText(mine, Guid.NewGuid().ToString("N"));
            UnixFiles.SyncFile(mine);
            UnixFiles.Link(mine, path);
            File.Delete(mine);
            UnixFiles.SyncFolder(Folder);
        }

        return File.ReadAllText(path).Trim();
    }

    private StoredLayer Stored(LayerId id, IReadOnlyList<string> paths)
    {
        var layer = PathOf(id);
        return new(
            id,
            paths.Sum(BytesOf),
            IsSealed: paths.Contains(layer) && ModeOf(layer) is { } mode && (mode & UnixFiles.WriteModes) == 0,
            IsPartial: !paths.Contains(layer),
            File.GetLastAccessTimeUtc(paths[0]));
    }

    private static UnixFileMode? ModeOf(string path)
    {
        try
        {
            return File.GetUnixFileMode(path);
        }
        catch (FileNotFoundException)
        {
            return null; // Deleted since the folder was read.
        }
    }

    protected static long BytesOf(string path)
    {
        try
        {
            return UnixFiles.AllocatedBytes(path);
        }
        catch (FileNotFoundException)
        {
            return 0; // Deleted, or given its final name, since the folder was read.
        }
    }

    /// <summary>For work that waits for the disk: the caller's thread belongs to a grain, and other captures need it within their windows.</summary>
    private Task<T> OnPool<T>(LayerId layer, Func<T> action) => Task.Run(() => Guard(layer, action));

    protected void Guard(LayerId layer, Action action) => Guard(layer, () =>
    {
        action();
        return true;
    });

    protected T Guard<T>(LayerId layer, Func<T> action)
    {
        try
        {
            return action();
        }
        catch (IOException exception) when (FileFaults.Of(exception, layer, Folder) is { } fault)
        {
            throw fault;
        }
    }
}
