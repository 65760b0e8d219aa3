using System.Runtime.CompilerServices;
using Instances.Problems;

namespace Instances.Operations;

/// <summary>The versions of an operation, read on over the end of the silo that told them.</summary>
internal static class OperationVersions
{
    /// <summary>How often in a row reading is taken up again without a version in between.</summary>
    public const int MaxAttempts = 30;

    private static readonly TimeSpan AttemptDelay = TimeSpan.FromSeconds(1);

    /// <summary>Every version after one that was seen, in the order in which they came to be; ends with the operation.</summary>
    public static async IAsyncEnumerable<OperationView> After(
        IOperationGrain grain, long seen, TimeProvider clock, [EnumeratorCancellation] CancellationToken cancellationToken)
    {
        for (var attempt = 1; ; attempt++)
        {
            var versions = grain.Watch(seen, cancellationToken).GetAsyncEnumerator(cancellationToken);
            var isInterrupted = false;
            while (!isInterrupted)
            {
                bool hasNext;
                try
                {
                    hasNext = await versions.MoveNextAsync();
                }
                catch (Exception exception) when (Interruptions.IsInterruption(exception) && attempt < MaxAttempts)
                {
                    isInterrupted = true;
                    continue;
                }

                if (!hasNext) break;
                // A silo that took over may send a version that another has sent. Its clock may be behind, and its versions lower.
                if (versions.Current.Version == seen) continue;
                seen = versions.Current.Version;
                attempt = 1;
                yield return versions.Current;
            }

            await Dispose(versions);
            if (!isInterrupted) yield break;
            await Task.Delay(AttemptDelay, clock, cancellationToken);
        }
    }

    private static async Task Dispose(IAsyncEnumerator<OperationView> versions)
    {
        try
        {
            await versions.DisposeAsync();
        }
        catch (Exception exception) when (Interruptions.IsInterruption(exception))
        {
            // The silo that held the enumeration is gone, and the enumeration with it.
        }
    }
}
