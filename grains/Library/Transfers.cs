using Instances.Faults;
using Orleans.Runtime;

namespace Instances.Library;

/// <summary>Watches layers on their way from store to store. No call stays open for as long as that takes: the question is asked again and again.</summary>
internal static class Transfers
{
    /// <summary>How often in a row a question may go unanswered, and the pause then: a silo that is restarted continues with what has arrived.</summary>
    private const int MaxMisses = 5;

    private static readonly TimeSpan MissPause = TimeSpan.FromSeconds(2);

    /// <summary>How long nothing at all may come.</summary>
    private static readonly TimeSpan StallBound = TimeSpan.FromMinutes(30);

    /// <param name="poll">Starts the transfer or joins it, and waits for about a second.</param>
    /// <param name="show">Called with each answer of a transfer that is not done at once.</param>
    /// <param name="moved">Called when bytes have come since the answer before.</param>
    /// <exception cref="FaultException">What the poll throws; transfer-failed if nothing comes any more.</exception>
    public static async Task<TransferProgress> Watch(
        Func<Task<TransferProgress>> poll, Action<TransferProgress> show, Action moved, TimeProvider time, CancellationToken cancellationToken)
    {
        var (bytes, misses, movedAt) = (0L, 0, time.GetTimestamp());
        while (true)
        {
            cancellationToken.ThrowIfCancellationRequested();
            try
            {
                var progress = await poll();
                misses = 0;
                if (progress.BytesDone != bytes)
                {
                    (bytes, movedAt) = (progress.BytesDone, time.GetTimestamp());
                    moved();
                }

                if (progress.BytesTotal > 0) show(progress);
                if (progress.IsDone) return progress;
                if (time.GetElapsedTime(movedAt) > StallBound)
                    throw FaultException.Unavailable("transfer-failed", $"{(progress.BytesTotal - bytes).Bytes()} of layers have not come in {StallBound.TotalMinutes:0} minutes. Look at the network and at the disks, and try again.");
            }
            catch (Exception exception) when ((exception is TimeoutException or OrleansException or FaultException { Fault.Code: "host-unavailable" }) && ++misses <= MaxMisses)
            {
                await Task.Delay(MissPause, time, cancellationToken);
            }
        }
    }

    /// <summary>Such as <c>fetching 12 MiB of 30 MiB, 8 MiB/s</c>.</summary>
    public static string Describe(string doing, TransferProgress progress) => progress.BytesPerSecond > 0
        ? $"{doing} {progress.BytesDone.Bytes()} of {progress.BytesTotal.Bytes()}, {progress.BytesPerSecond.Bytes()}/s"
        : $"{doing} {progress.BytesDone.Bytes()} of {progress.BytesTotal.Bytes()}";
}
