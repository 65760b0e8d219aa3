namespace Instances.Qemu;

/// <summary>Repeats work until a pass has little left to do.</summary>
internal static class UntilQuick
{
    /// <summary>Repeats a pass until one takes at most <paramref name="quick"/>. No pass begins after <paramref name="bound"/>.</summary>
    /// <param name="pass">Returns how long it took.</param>
    /// <param name="patience">After this time the call returns, and cancels a pass that still runs.</param>
    public static async Task Repeat(
        Func<CancellationToken, Task<TimeSpan>> pass, TimeSpan quick, TimeSpan bound, TimeSpan patience, TimeProvider time, CancellationToken cancellationToken)
    {
        cancellationToken.ThrowIfCancellationRequested();
        var began = time.GetTimestamp();
        using var timer = new CancellationTokenSource(patience, time);
        using var linked = CancellationTokenSource.CreateLinkedTokenSource(timer.Token, cancellationToken);
        try
        {
            while (await pass(linked.Token) > quick && time.GetElapsedTime(began) < bound) cancellationToken.ThrowIfCancellationRequested();
        }
        catch (OperationCanceledException) when (!cancellationToken.IsCancellationRequested)
        {
            // The patience has ended.
        }
    }
}
