namespace Instances;

/// <summary>Bounded parallel calls. Each method waits for all calls that it began, even after a failure, so that no call is still running during an undo.</summary>
internal static class FanOut
{
    /// <summary>The most parallel calls to one host.</summary>
    public const int PerHost = 8;

    /// <summary>For work that is undone if one call fails.</summary>
    /// <exception cref="Exception">The first failure. Calls that had not begun by then are skipped.</exception>
    public static Task Each<T>(IEnumerable<T> items, Func<T, Task> call, CancellationToken cancellationToken = default) =>
        Run(items, call, stopsAtFailure: true, cancellationToken);

    /// <summary>As <see cref="Each"/>, with the bound for each host and all hosts at once.</summary>
    public static Task EachByHost<T, THost>(IEnumerable<T> items, Func<T, THost> host, Func<T, Task> call, CancellationToken cancellationToken = default) =>
        Task.WhenAll(items.GroupBy(host).Select(group => Each(group, call, cancellationToken)).ToList());

    /// <summary>For work that must be completed, such as an undo: every item is attempted, even if others fail.</summary>
    /// <exception cref="Exception">The first failure, after every call has been made.</exception>
    public static Task All<T>(IEnumerable<T> items, Func<T, Task> call) => Run(items, call, stopsAtFailure: false, CancellationToken.None);

    /// <summary>As <see cref="All"/>, with the bound for each host and all hosts at once: a host that does not answer delays no other.</summary>
    public static Task AllByHost<T, THost>(IEnumerable<T> items, Func<T, THost> host, Func<T, Task> call) =>
        Task.WhenAll(items.GroupBy(host).Select(group => All(group, call)).ToList());

    /// <summary>As <see cref="All"/>, one call after the other: a call that fails keeps no later one from being made.</summary>
    /// <exception cref="Exception">The first failure, after every call has been made.</exception>
    public static async Task AllInOrder(params IReadOnlyList<Func<Task>> calls)
    {
        var made = new List<Task>();
        foreach (var call in calls)
        {
            made.Add(call());
            await made[^1].ConfigureAwait(ConfigureAwaitOptions.SuppressThrowing | ConfigureAwaitOptions.ContinueOnCapturedContext);
        }

        await Task.WhenAll(made);
    }

    /// <summary>As <see cref="Each"/>.</summary>
    /// <returns>The answers, in the order of the items.</returns>
    public static async Task<IReadOnlyList<TResult>> Results<T, TResult>(IEnumerable<T> items, Func<T, Task<TResult>> call)
    {
        var asked = items.ToList();
        var results = new TResult[asked.Count];
        await Each(asked.Index(), async item => results[item.Index] = await call(item.Item));
        return results;
    }

    private static async Task Run<T>(IEnumerable<T> items, Func<T, Task> call, bool stopsAtFailure, CancellationToken cancellationToken)
    {
        using var gate = new SemaphoreSlim(PerHost);
        var isStopped = false;
        await Task.WhenAll(items.Select(One).ToList());

        async Task One(T item)
        {
            await gate.WaitAsync(cancellationToken);
            try
            {
                if (!isStopped) await call(item);
            }
            catch when (stopsAtFailure)
            {
                isStopped = true;
                throw;
            }
            finally
            {
                gate.Release();
            }
        }
    }
}
