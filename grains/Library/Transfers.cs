using Instances.Faults;
using Orleans.Runtime;

namespace Instances.Library;

/// <summary>Polls transfers between stores, so that no call stays open for their whole time.</summary>
internal static class Transfers
{
    /// <summary>How many polls in a row may fail, and the pause after each: a restarted silo continues with the bytes that have arrived.</summary>
    private const int MaxMisses = 5;

    private static readonly TimeSpan MissPause = TimeSpan.FromSeconds(2);

    /// <summary>How long no byte may arrive.</summary>
    private static readonly TimeSpan StallBound = TimeSpan.FromMinutes(30);

    /// <param name="poll">Starts the transfer or joins it, and waits for about a second.</param>
    /// <param name="show">Called with each answer if the transfer is not done at once.</param>
    /// <param name="moved">Called when bytes have arrived since the previous answer.</param>
    /// <exception cref="FaultException">What the poll throws; transfer-failed if no more bytes arrive.</exception>
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
                    throw FaultException.Unavailable("transfer-failed", $"{(progress.BytesTotal - bytes).Bytes()} of layers are missing, and no byte has arrived for {StallBound.TotalMinutes:0} minutes. Check the network and the disks, and try again.");
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
