namespace Instances.Library;

/// <summary>One of a bounded number of places, taken by its holder. Given back when it is disposed of, once.</summary>
internal sealed class Place(SemaphoreSlim places) : IDisposable
{
    private SemaphoreSlim? _places = places;

    public void Dispose() => Interlocked.Exchange(ref _places, null)?.Release();
}
