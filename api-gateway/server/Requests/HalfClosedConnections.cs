using System.Buffers;
using System.IO.Pipelines;
using Microsoft.AspNetCore.Connections;
using Microsoft.AspNetCore.Server.Kestrel.Core;

namespace Instances.Requests;

/// <summary>Lets a sender that has closed its half of the connection behind the last byte of an upload have its answer. The web server takes that for an abort, and closes the connection.</summary>
/// <remarks>Only while an upload runs: any other request of a client that has gone is to end. A connection that is reset fails the next read or write in any case.</remarks>
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

    /// <summary>Says that the input has ended only after its last bytes were taken: the web server drops a body whose last bytes come together with the end.</summary>
    private sealed class LastBytesFirst(PipeReader input) : PipeReader
    {
        private ReadOnlySequence<byte> _bytes;

        /// <summary>How many of the bytes that were left have been looked at: their reader waits for more.</summary>
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

    /// <summary>Between requests there is nothing to end: the web server finds no further one.</summary>
    /// <param name="isUpload">Its client may wait for the answer with its half closed.</param>
    public void Begin(bool isUpload) => _endsRequest = !isUpload;

    public void End() => _endsRequest = false;

    public void Dispose()
    {
        _registration.Dispose();
        _closed.Dispose();
    }
}
