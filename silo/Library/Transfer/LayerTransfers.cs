using System.Runtime.ExceptionServices;
using Microsoft.Extensions.Options;

namespace Instances.Library.Transfer;

/// <summary>The transfers of layers into this silo's stores: one for each layer, however many callers want it, and a few at a time.</summary>
internal sealed class LayerTransfers(LayerTickets tickets, LayerClient client, IDataPlane dataPlane, IOptions<LayerStoreOptions> options, TimeProvider time)
    : IDisposable
{
    /// <summary>A transfer that is not polled for this long ends. The received bytes are kept.</summary>
    public static readonly TimeSpan IdleBound = TimeSpan.FromSeconds(60);

    /// <summary>How long one poll waits for the end.</summary>
    private static readonly TimeSpan PollWait = TimeSpan.FromSeconds(1);

    private readonly Lock _lock = new();
    private readonly Dictionary<(string Folder, LayerId Layer), LayerPull> _pulls = [];

    public TransferMode Mode => options.Value.Transfer;

    public LayerClient Client => client;

    public TimeProvider Time => time;

    public SemaphoreSlim Places { get; } = new(options.Value.MaxTransfers);

    public LayerOffer Offer(FolderLayerStore store, LayerId layer)
    {
        var path = store.PathOf(layer);
        return new(layer, UnixFiles.AllocatedBytes(path), new FileInfo(path).Length, Sha256: null, path, dataPlane.LayerAddress(layer), tickets.Issue(layer)) { Store = store.Id };
    }

    public async Task<TransferProgress> Pull(FolderLayerStore store, IReadOnlyList<LayerId> layers, Func<IReadOnlyList<LayerId>, Task<IReadOnlyList<LayerOffer>>> offer)
    {
        List<LayerId> open;
        lock (_lock)
        {
            Forget();
            open = [.. layers.Where(layer => !store.Contains(layer) && !IsUnderWay(store, layer))];
        }

        var offers = open.Count > 0 ? await offer(open) : [];
        Dictionary<LayerId, LayerPull> pulls;
        lock (_lock)
        {
            foreach (var one in offers) Begin(store, one);
            pulls = layers.Where(layer => _pulls.ContainsKey((store.Folder, layer))).ToDictionary(layer => layer, layer => _pulls[(store.Folder, layer)]);
            foreach (var pull in pulls.Values) pull.Asked();
        }

        if (pulls.Values.Any(pull => !pull.Done.IsCompleted))
            await Task.WhenAny(Task.WhenAll(pulls.Values.Select(pull => pull.Done)), Task.Delay(PollWait, time));

        if (pulls.FirstOrDefault(pull => pull.Value.Done.IsFaulted) is { Value: { } failed, Key: var layer })
        {
            lock (_lock) _pulls.Remove((store.Folder, layer));
            ExceptionDispatchInfo.Throw(failed.Done.Exception!.InnerException!);
        }

        // Later callers find the layers in the store, and get no count of bytes that were moved for others.
        var progress = Progress(store, layers, pulls);
        if (progress.IsDone)
        {
            lock (_lock)
            {
                foreach (var pull in pulls.Where(pull => _pulls.GetValueOrDefault((store.Folder, pull.Key)) == pull.Value && pull.Value.Done.IsCompleted)) _pulls.Remove((store.Folder, pull.Key));
            }
        }

        return progress;
    }

    /// <summary>Ends a transfer that is not needed any more, if there is one, and waits for its end. The received bytes are kept.</summary>
    public async Task End(FolderLayerStore store, LayerId layer)
    {
        LayerPull? pull;
        lock (_lock) _pulls.Remove((store.Folder, layer), out pull);
        if (pull is null) return;
        pull.Cancel();
        await pull.Done.ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ContinueOnCapturedContext);
    }

    public void Dispose()
    {
        lock (_lock)
        {
            foreach (var pull in _pulls.Values) pull.Cancel();
            _pulls.Clear();
        }
    }

    private static TransferProgress Progress(FolderLayerStore store, IReadOnlyList<LayerId> layers, Dictionary<LayerId, LayerPull> pulls)
    {
        var states = layers.Select(layer =>
        {
            var pull = pulls.GetValueOrDefault(layer);
            return new LayerTransfer(layer, store.BytesOf(layer), pull?.BytesMoved ?? 0, pull?.Sha256);
        }).ToList();
        return new(
            pulls.Values.Sum(pull => pull.BytesDone),
            pulls.Values.Sum(pull => pull.BytesTotal),
            pulls.Values.Sum(pull => pull.BytesPerSecond),
            layers.All(store.Contains),
            states);
    }

    private bool IsUnderWay(FolderLayerStore store, LayerId layer) =>
        _pulls.TryGetValue((store.Folder, layer), out var pull) && pull is { Done.IsCompleted: false, NeedsOffer: false };

    private void Begin(FolderLayerStore store, LayerOffer offer)
    {
        // Another caller may have begun it during the call for the offer.
        if (_pulls.TryGetValue((store.Folder, offer.Id), out var pull) && !pull.Done.IsCompleted) pull.Renew(offer);
        else if (!store.Contains(offer.Id)) _pulls[(store.Folder, offer.Id)] = new(store, offer, this);
    }

    /// <summary>An ended transfer is kept until its result was returned, or it is not polled any more.</summary>
    private void Forget()
    {
        foreach (var (key, pull) in _pulls.Where(pull => pull.Value.Done.IsCompleted && time.GetElapsedTime(pull.Value.AskedAt) > IdleBound).ToList()) _pulls.Remove(key);
    }
}
