namespace Instances.Library;

/// <summary>A connection for one HTTP/1.1 request that reports when the answer begins. HttpClient itself reports it only after it has sent everything.</summary>
/// <remarks>Interim answers (1xx) come before it, each ended by an empty line.</remarks>
internal sealed class AnswerWatch(Stream connection, Action answered) : Stream
{
    private static readonly byte[] InterimStart = "HTTP/1.1 1"u8.ToArray();
    private static readonly byte[] HeadEnd = "\r\n\r\n"u8.ToArray();

    /// <summary>How much of the answer's start, and of the empty line, has arrived.</summary>
    private int _startBytes;
    private int _endBytes;
    private bool _isAnswered;

    public override bool CanRead => true;

    public override bool CanSeek => false;

    public override bool CanWrite => true;

    public override long Length => throw new NotSupportedException();

    public override long Position
    {
        get => throw new NotSupportedException();
        set => throw new NotSupportedException();
    }

    public override async ValueTask<int> ReadAsync(Memory<byte> buffer, CancellationToken cancellationToken = default)
    {
        var read = await connection.ReadAsync(buffer, cancellationToken);
        Watch(buffer.Span[..read]);
        return read;
    }

    public override ValueTask WriteAsync(ReadOnlyMemory<byte> buffer, CancellationToken cancellationToken = default) => connection.WriteAsync(buffer, cancellationToken);

    public override Task FlushAsync(CancellationToken cancellationToken) => connection.FlushAsync(cancellationToken);

    public override void Flush() => connection.Flush();

    public override int Read(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override void Write(byte[] buffer, int offset, int count) => throw new NotSupportedException();

    public override long Seek(long offset, SeekOrigin origin) => throw new NotSupportedException();

    public override void SetLength(long value) => throw new NotSupportedException();

    protected override void Dispose(bool disposing)
    {
        if (disposing) connection.Dispose();
        base.Dispose(disposing);
    }

    private void Watch(ReadOnlySpan<byte> bytes)
    {
        foreach (var next in bytes)
        {
            if (_isAnswered) return;
            if (_startBytes < InterimStart.Length)
            {
                if (next == InterimStart[_startBytes])
                {
                    _startBytes++;
                    continue;
                }

                _isAnswered = true;
                answered();
                return;
            }

            _endBytes = next == HeadEnd[_endBytes] ? _endBytes + 1 : next == HeadEnd[0] ? 1 : 0;
            if (_endBytes == HeadEnd.Length) (_startBytes, _endBytes) = (0, 0);
        }
    }
}
