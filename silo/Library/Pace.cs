namespace Instances.Library;

/// <summary>Holds background work back to a rate. Time in which it did less is not made up for.</summary>
internal sealed class Pace(long bytesPerSecond, TimeProvider time)
{
    private static readonly TimeSpan ShortestWait = TimeSpan.FromMilliseconds(10);

    private long _last = time.GetTimestamp();
    private long _passed;
    private TimeSpan _early;

    public static Pace Unlimited { get; } = new(long.MaxValue, TimeProvider.System);

    /// <summary>Waits until so much may have been read and written.</summary>
    /// <param name="bytes">All of it since the beginning.</param>
    public async ValueTask Keep(long bytes, CancellationToken cancellationToken)
    {
        if (bytesPerSecond == long.MaxValue) return;
        var now = time.GetTimestamp();
        var rest = _early - time.GetElapsedTime(_last, now);
        _early = (rest > TimeSpan.Zero ? rest : TimeSpan.Zero) + TimeSpan.FromSeconds((bytes - _passed) / (double)bytesPerSecond);
        (_last, _passed) = (now, bytes);
        if (_early > ShortestWait) await Task.Delay(_early, time, cancellationToken);
    }
}
