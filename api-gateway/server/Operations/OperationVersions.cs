using System.Runtime.CompilerServices;
using Instances.Problems;

namespace Instances.Operations;

/// <summary>The versions of an operation. Reading continues if the silo that sent them ends.</summary>
internal static class OperationVersions
{
    /// <summary>How often reading is resumed in a row without a new version in between.</summary>
    public const int MaxAttempts = 30;

    private static readonly TimeSpan AttemptDelay = TimeSpan.FromSeconds(1);

    /// <summary>The versions after one that was seen, in order; ends with the operation.</summary>
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
                // A silo that took over may repeat a version that another has sent. If its clock is behind, its versions are lower.
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
            // The silo of the enumeration has died, and the enumeration with it.
        }
    }
}
