using Instances.Faults;
using Microsoft.Extensions.Options;

namespace Instances.Library.Import;

/// <summary>Bounds the imports that the library's silo processes, and lets one request at a time use the file of each.</summary>
/// <remarks>
/// An image takes one place, however many requests send to it. A silent request keeps its connection but does not count, so that it cannot block others.
/// Of two requests to one file the newer one wins: the older one may hang, and both may be from the same client.
/// </remarks>
internal sealed class ImportPlaces(IOptions<LibraryOptions> options, TimeProvider time)
{
    /// <summary>After this time without a byte a request no longer counts.</summary>
    internal static readonly TimeSpan SilenceBound = TimeSpan.FromSeconds(10);

    /// <summary>How long a newer request waits until the older one has stored its bytes.</summary>
    private static readonly TimeSpan HandoverBound = TimeSpan.FromSeconds(20);

    /// <summary>The bound of silent connections, as a factor of the number of places.</summary>
    private const int MaxSilentFactor = 16;

    private readonly Lock _lock = new();
    private readonly List<ImportPlace> _places = [];
    private readonly Dictionary<ImageId, ImportPlace> _owners = [];

    /// <summary>The images that take a place.</summary>
    public IReadOnlyCollection<ImageId> UnderWay
    {
        get
        {
            lock (_lock) return [.. Counted()];
        }
    }

    /// <summary>Whether an image takes a place, or its sender is silent.</summary>
    public bool Has(ImageId image)
    {
        lock (_lock) return _places.Exists(place => place.Image == image);
    }

    /// <exception cref="FaultException">too-many-uploads.</exception>
    public ImportPlace Take(ImageId image)
    {
        lock (_lock)
        {
            var others = Counted();
            others.Remove(image);
            if (others.Count >= options.Value.MaxUploads) throw ImportAdmission.TooMany(options.Value.MaxUploads);
            if (_places.Count >= options.Value.MaxUploads * MaxSilentFactor) throw ImportAdmission.TooManyWaiting(options.Value.MaxUploads * MaxSilentFactor, MaxSilentFactor);
            var place = new ImportPlace(this, image, time.GetTimestamp());
            _places.Add(place);
            return place;
        }
    }

    /// <returns>False if another place works on the file of the image.</returns>
    internal bool TryClaim(ImportPlace place)
    {
        lock (_lock) return _owners.TryAdd(place.Image, place);
    }

    /// <summary>Ends an older request to the same file, and waits until it has stored its bytes.</summary>
    /// <returns>False if the file is no longer received.</returns>
    internal async Task<bool> Claim(ImportPlace place, CancellationToken cancellationToken)
    {
        var begun = time.GetTimestamp();
        while (!TryClaim(place))
        {
            ImportPlace? older;
            lock (_lock) older = _owners.GetValueOrDefault(place.Image);
            if (older is { IsReceiving: false } || time.GetElapsedTime(begun) > HandoverBound) return false;
            if (older is null) continue;
            older.Supersede();
            try
            {
                await older.Ended.WaitAsync(HandoverBound, time, cancellationToken);
            }
            catch (TimeoutException)
            {
                return false;
            }
        }

        return true;
    }

    internal void MarkProgress(ImportPlace place)
    {
        lock (_lock) place.LastProgress = time.GetTimestamp();
    }

    internal void Return(ImportPlace place)
    {
        lock (_lock)
        {
            _places.Remove(place);
            if (_owners.GetValueOrDefault(place.Image) == place) _owners.Remove(place.Image);
        }
    }

    private HashSet<ImageId> Counted() =>
        [.. _places.Where(place => !place.IsReceiving || time.GetElapsedTime(place.LastProgress) < SilenceBound).Select(place => place.Image)];
}

/// <summary>A place in <see cref="ImportPlaces"/>, from before the first byte of a request to the end of the import or of the part. Dispose it to release it.</summary>
internal sealed class ImportPlace(ImportPlaces places, ImageId image, long begun) : IDisposable
{
    private readonly CancellationTokenSource _superseded = new();
    private readonly TaskCompletionSource _ended = new(TaskCreationOptions.RunContinuationsAsynchronously);
    private int _isReturned;

    public ImageId Image { get; } = image;

    /// <summary>Cancelled when a newer request claims the file.</summary>
    public CancellationToken Superseded => _superseded.Token;

    public bool IsReceiving { get; private set; } = true;

    internal long LastProgress { get; set; } = begun;

    internal Task Ended => _ended.Task;

    /// <inheritdoc cref="ImportPlaces.TryClaim"/>
    public bool TryClaim() => places.TryClaim(this);

    /// <inheritdoc cref="ImportPlaces.Claim"/>
    public Task<bool> Claim(CancellationToken cancellationToken) => places.Claim(this, cancellationToken);

    /// <summary>Records that bytes have arrived.</summary>
    public void MarkProgress() => places.MarkProgress(this);

    /// <summary>Records that all bytes have arrived: no other request gets the file from now on.</summary>
    public void MarkReceived() => IsReceiving = false;

    internal void Supersede() => _superseded.Cancel();

    public void Dispose()
    {
        if (Interlocked.Exchange(ref _isReturned, 1) != 0) return;
        places.Return(this);
        _ended.TrySetResult();
    }
}
