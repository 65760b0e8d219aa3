namespace Instances.Library;

/// <summary>Limits background work to a rate. Unused time is not carried over.</summary>
internal sealed class Pace(long bytesPerSecond, TimeProvider time)
{
    private static readonly TimeSpan ShortestWait = TimeSpan.FromMilliseconds(10);

    private long _last = time.GetTimestamp();
    private long _passed;
    private TimeSpan _early;

    public static Pace Unlimited { get; } = new(long.MaxValue, TimeProvider.System);

    /// <summary>Waits until this number of bytes is allowed.</summary>
    /// <param name="bytes">The total since the beginning.</param>
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
