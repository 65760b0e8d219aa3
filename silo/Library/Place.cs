namespace Instances.Library;

/// <summary>One of a bounded number of places. Dispose it to release it; disposing again does nothing.</summary>
internal sealed class Place(SemaphoreSlim places) : IDisposable
{
    private SemaphoreSlim? _places = places;

    public void Dispose() => Interlocked.Exchange(ref _places, null)?.Release();
}
