using System.Buffers;
using System.Net;
using System.Net.Http.Headers;

namespace Instances.Client;

/// <summary>A number of bytes of a stream, from its current position.</summary>
internal sealed class PartContent : HttpContent
{
    private const int BufferBytes = 128 << 10;

    private readonly Stream _bytes;
    private readonly long _length;
    private readonly Action _sent;

    public PartContent(Stream bytes, long length, Action sent)
    {
        (_bytes, _length, _sent) = (bytes, length, sent);
        Headers.ContentType = new MediaTypeHeaderValue("application/offset+octet-stream");
    }

    protected override Task SerializeToStreamAsync(Stream stream, TransportContext? context) => SerializeToStreamAsync(stream, context, CancellationToken.None);

    protected override async Task SerializeToStreamAsync(Stream stream, TransportContext? context, CancellationToken cancellationToken)
    {
        var buffer = ArrayPool<byte>.Shared.Rent(BufferBytes);
        try
        {
            for (var left = _length; left > 0;)
            {
                var read = await _bytes.ReadAsync(buffer.AsMemory(0, (int)Math.Min(BufferBytes, left)), cancellationToken);
                if (read == 0) throw new EndOfStreamException("The stream is shorter than it was.");
                await stream.WriteAsync(buffer.AsMemory(0, read), cancellationToken);
                left -= read;
                _sent();
            }
        }
        finally
        {
            ArrayPool<byte>.Shared.Return(buffer);
        }
    }

    protected override bool TryComputeLength(out long length)
    {
        length = _length;
        return true;
    }
}
