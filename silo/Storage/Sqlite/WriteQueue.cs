namespace Instances.Storage;

/// <summary>Lets one writer at a time through, first come, first served.</summary>
/// <remarks>
/// SQLite has one writer, and its driver is synchronous: without the queue every other writer blocks a thread of the pool inside the busy handler, which
/// sleeps for up to 100 ms and is not fair. A few dozen grains that store their state at once would take every thread of the silo.
/// </remarks>
internal sealed class WriteQueue : IDisposable
{
    /// <summary>How long a write may wait for its turn. A write takes a few milliseconds.</summary>
    public static readonly TimeSpan MaxWait = TimeSpan.FromSeconds(30);

    private readonly SemaphoreSlim _turn = new(1, 1);

    public async Task Enter(CancellationToken cancellationToken)
    {
        if (!await _turn.WaitAsync(MaxWait, cancellationToken))
            throw new TimeoutException($"The database did not accept a write within {MaxWait.TotalSeconds:0} s. Check the load and the speed of its disk.");
    }

    public void Leave() => _turn.Release();

    public void Dispose() => _turn.Dispose();
}
