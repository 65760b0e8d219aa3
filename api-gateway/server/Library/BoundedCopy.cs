using System.Buffers;

namespace Instances.Library;

/// <summary>Forwards bytes from the data plane to a client, piece by piece.</summary>
internal static class BoundedCopy
{
    private const int BufferBytes = 256 << 10;

    /// <param name="silence">Cancelled when the data plane sends nothing for <paramref name="bound"/>.</param>
    /// <param name="cancellationToken">Of the caller.</param>
    public static async Task Copy(Stream from, Stream to, CancellationTokenSource silence, TimeSpan bound, CancellationToken cancellationToken)
    {
        var buffer = ArrayPool<byte>.Shared.Rent(BufferBytes);
        try
        {
            while (true)
            {
                silence.CancelAfter(bound);
                var read = await from.ReadAsync(buffer, silence.Token);
                // The client may take as long as the server's own bounds allow.
                silence.CancelAfter(Timeout.InfiniteTimeSpan);
                if (read == 0) return;
                await to.WriteAsync(buffer.AsMemory(0, read), cancellationToken);
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }
}
