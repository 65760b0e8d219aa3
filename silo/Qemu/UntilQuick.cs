namespace Instances.Qemu;

/// <summary>Work of which the next pass has less to do, until it has little.</summary>
internal static class UntilQuick
{
    /// <summary>Repeats a pass until one takes no longer than <paramref name="quick"/>. No pass is begun after the bound.</summary>
    public static async Task Repeat(Func<Task> pass, TimeSpan quick, TimeSpan bound, TimeProvider time, CancellationToken cancellationToken)
    {
        var began = time.GetTimestamp();
        for (var last = TimeSpan.MaxValue; last > quick && time.GetElapsedTime(began) < bound;)
        {
            cancellationToken.ThrowIfCancellationRequested();
            var since = time.GetTimestamp();
            await pass();
            last = time.GetElapsedTime(since);
        }
    }
}
