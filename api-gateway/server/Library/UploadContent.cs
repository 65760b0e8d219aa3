using System.Buffers;
using System.IO.Pipelines;
using System.Net;

namespace Instances.Library;

/// <summary>Forwards the client's bytes piece by piece: received bytes are sent to the data plane at once, however few they are.</summary>
/// <param name="bound">How long the data plane may take to accept a piece.</param>
/// <param name="answered">Cancelled when the answer has arrived: the rest is not sent.</param>
internal sealed class UploadContent(PipeReader bytes, TimeSpan bound, CancellationToken answered) : HttpContent
{
    private const int BufferBytes = 256 << 10;

    protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context) => SerializeToStreamAsync(stream, context, CancellationToken.None);

    /// <summary>When this has ended, nothing more is read from the client.</summary>
    public Task Sending { get; private set; } = Task.CompletedTask;

    protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context, CancellationToken cancellationToken) => Sending = Copy(stream, cancellationToken);

    /// <summary>In chunks: with an announced length, all bytes would have to be sent even after the answer.</summary>
    protected override bool TryComputeLength(out long length)
    {
        length = 0;
        return false;
    }

    private async Task Copy(Stream stream, CancellationToken cancellationToken)
    {
        // A read that is cancelled by a token leaves the body in a state in which the web server cannot read the rest of it.
        using var registration = answered.UnsafeRegister(_ => bytes.CancelPendingRead(), null);
        var buffer = ArrayPool<byte>.Shared.Rent(BufferBytes);
        try
        {
            while (await Read(buffer) is > 0 and var read)
            {
                using var patience = CancellationTokenSource.CreateLinkedTokenSource(cancellationToken);
                patience.CancelAfter(bound);
                await stream.WriteAsync(buffer.AsMemory(0, read), patience.Token);
                await stream.FlushAsync(patience.Token);
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    /// <returns>0 at the end, and once the answer has arrived.</returns>
    private async Task<int> Read(byte[] buffer)
    {
        try
        {
            while (true)
            {
                var result = await bytes.ReadAsync(CancellationToken.None);
                var read = (int)Math.Min(buffer.Length, result.Buffer.Length);
                var piece = result.Buffer.Slice(0, read);
                piece.CopyTo(buffer);
                bytes.AdvanceTo(piece.End);
                if (answered.IsCancellationRequested) return 0;
                if (read > 0 || result.IsCompleted) return read;
            }
        }
        catch (IOException exception) when (exception is not BadHttpRequestException)
        {
            throw new BadHttpRequestException("The body ended early.", exception);
        }
    }
}
