namespace Instances.Qemu;

/// <summary>Repeats work until a pass has little left to do.</summary>
internal static class UntilQuick
{
    /// <summary>Repeats a pass until one takes at most <paramref name="quick"/>. No pass begins after the bound.</summary>
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
