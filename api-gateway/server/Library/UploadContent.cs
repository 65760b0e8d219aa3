using System.Buffers;
using System.IO.Pipelines;
using System.Net;

namespace Instances.Library;

/// <summary>Bytes that a sender sends, passed on piece by piece: what has come from it is on its way to the data plane at once, however little it is.</summary>
/// <param name="bound">How long the data plane may take to accept a piece.</param>
/// <param name="answered">Cancelled when the answer has come: the rest is not sent.</param>
internal sealed class UploadContent(PipeReader bytes, TimeSpan bound, CancellationToken answered) : HttpContent
{
    private const int BufferBytes = 256 << 10;

    protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context) => SerializeToStreamAsync(stream, context, CancellationToken.None);

    /// <summary>Nothing is read from the sender any more when this has ended.</summary>
    public Task Sending { get; private set; } = Task.CompletedTask;

    protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context, CancellationToken cancellationToken) => Sending = Copy(stream, cancellationToken);

    /// <summary>In chunks: a length that was announced would have to be kept, after the answer too.</summary>
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

    /// <returns>0 at the end, and once the answer has come.</returns>
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
            throw new BadHttpRequestException("The body ended before all of it had come.", exception);
        }
    }
}
