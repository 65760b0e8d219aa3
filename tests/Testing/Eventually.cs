namespace Instances.Testing;

internal static class Eventually
{
    private static readonly TimeSpan Pause = TimeSpan.FromMilliseconds(20);

    /// <summary>Waits for a condition that has no event to wait for.</summary>
    /// <exception cref="TimeoutException">The condition was not met within the bound.</exception>
    public static async Task Holds(Func<Task<bool>> condition, string what)
    {
        var clock = System.Diagnostics.Stopwatch.StartNew();
        while (!await condition())
        {
            if (clock.Elapsed > Bounds.Wait) throw new TimeoutException($"Not within {Bounds.Wait.TotalSeconds} s: {what}");
            await Task.Delay(Pause);
        }
    }
}
