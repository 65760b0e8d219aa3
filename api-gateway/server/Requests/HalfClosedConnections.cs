using System.Buffers;
using System.IO.Pipelines;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace Instances.Requests;

/// <summary>Lets a client that closes its half of the connection after the last byte of an upload get its answer. The web server would treat that as an abort, and close the connection.</summary>
/// <remarks>Only during uploads: other requests end when their client disconnects. A connection that is reset always fails the next read or write.</remarks>
internal static class HalfClosedConnections
{
    public static void Watch(KestrelServerOptions options) => options.ConfigureEndpointDefaults(endpoint => endpoint.Use(next => async connection =>
    {
        using var state = new HalfClosable(connection.ConnectionClosed);
        connection.Features.Set(state);
        connection.ConnectionClosed = state.Closed;
        connection.Transport = new Duplex(new LastBytesFirst(connection.Transport.Input), connection.Transport.Output);
        await next(connection);
    }));

    private sealed record Duplex(PipeReader Input, PipeWriter Output) : IDuplexPipe;

    /// <summary>Reports the end of the input only after its last bytes were read: the web server drops a body whose last bytes arrive together with the end.</summary>
    private sealed class LastBytesFirst(PipeReader input) : PipeReader
    {
        private ReadOnlySequence<byte> _bytes;

        /// <summary>How many of the remaining bytes the reader has examined before it waits for more.</summary>
        private long _examinedBytes;

        public override async ValueTask<ReadResult> ReadAsync(CancellationToken cancellationToken = default) => Shown(await input.ReadAsync(cancellationToken));

        public override bool TryRead(out ReadResult result)
        {
            if (!input.TryRead(out result)) return false;
            result = Shown(result);
            return true;
        }

        public override void AdvanceTo(SequencePosition consumed) => AdvanceTo(consumed, consumed);

        public override void AdvanceTo(SequencePosition consumed, SequencePosition examined)
        {
            _examinedBytes = _bytes.Slice(consumed, examined).Length;
            input.AdvanceTo(consumed, examined);
        }

        public override void CancelPendingRead() => input.CancelPendingRead();

        public override void Complete(Exception? exception = null) => input.Complete(exception);

        private ReadResult Shown(ReadResult result)
        {
            _bytes = result.Buffer;
            return result.IsCompleted && result.Buffer.Length > _examinedBytes ? new(result.Buffer, result.IsCanceled, isCompleted: false) : result;
        }
    }
}

/// <summary>Whether a connection counts as closed.</summary>
internal sealed class HalfClosable : IDisposable
{
    private readonly CancellationTokenSource _closed = new();
    private readonly CancellationTokenRegistration _registration;
    private volatile bool _endsRequest;

    /// <param name="closed">Cancelled when the client has closed its half, or all of it.</param>
    public HalfClosable(CancellationToken closed) => _registration = closed.Register(() =>
    {
        if (_endsRequest) _closed.Cancel();
    });

    public CancellationToken Closed => _closed.Token;

    /// <summary>Between requests nothing needs to end: the web server sees that no further request comes.</summary>
    /// <param name="isUpload">The client may wait for the answer with its half of the connection closed.</param>
    public void Begin(bool isUpload) => _endsRequest = !isUpload;

    public void End() => _endsRequest = false;

    public void Dispose()
    {
        _registration.Dispose();
        _closed.Dispose();
    }
}
