namespace Instances;

/// <summary>Calls for many things at once, with a bound. Waits for all of them, also when one fails: nothing goes on behind an undo.</summary>
internal static class FanOut
{
    /// <summary>How many calls are under way to one host.</summary>
    public const int PerHost = 8;

    /// <exception cref="Exception">The first failure, after all calls have ended. Calls that had not begun by then are left out.</exception>
    public static async Task Each<T>(IEnumerable<T> items, Func<T, Task> call, CancellationToken cancellationToken = default)
    {
        using var gate = new SemaphoreSlim(PerHost);
        var failed = false;
        await Task.WhenAll(items.Select(One).ToList());

        async Task One(T item)
        {
            await gate.WaitAsync(cancellationToken);
            try
            {
                if (failed) return;
                await call(item);
            }
            catch
            {
                failed = true;
                throw;
            }
            finally
            {
                gate.Release();
            }
        }
    }

    /// <summary>As <see cref="Each{T}(IEnumerable{T}, Func{T, Task}, CancellationToken)"/>, with the bound for each host and all hosts at once.</summary>
    public static Task EachByHost<T, THost>(IEnumerable<T> items, Func<T, THost> host, Func<T, Task> call, CancellationToken cancellationToken = default) =>
        Task.WhenAll(items.GroupBy(host).Select(group => Each(group, call, cancellationToken)).ToList());
}
